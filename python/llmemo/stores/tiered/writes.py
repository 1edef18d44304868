"""Writes and removals of a tiered store: to both stores, and later to one that was away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.errors import StoreError
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.tiered.leases import leases_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from llmemo.stores.records import Record, Selection
    from llmemo.stores.tiered.state import TieredState

    Fenced = Sequence[tuple[Record, int | None]]

RECORDS_AT_ONCE = 256
"""Most records of one belated write."""

UNCONFIRMED = "one of the two stores did not confirm the removal, which goes on by itself"


class TieredWrites:
    """Writes to the far store first, which has the last word on leases; then to the near one."""

    def __init__(self, state: TieredState) -> None:
        """Begin."""
        self._state = state
        self._near, self._far, self._trust = state.near, state.far, state.trust
        self.dropped = 0
        """Records that the far store was never given: there were too many while it was away."""
        self._sweeps: dict[int, tuple[Selection, list[int | None]]] = {}
        """By the identity of a selection: how many the near and the far store have removed."""

    def start(self) -> None:
        """Begin again: the callers that drove removals are gone."""
        for selection, _ in self._sweeps.values():
            self._leave(selection)
        self._sweeps = {}

    def _leave(self, selection: Selection) -> None:
        for due in (self._state.near_removals, self._state.far_removals):
            due.leave(selection)

    async def store(self, records: Fenced) -> Collection[int]:
        """Store records in both, with the fences of leases. Returns the fences refused.

        Raises:
            StoreUnavailableError: Neither store has them, but one may have them later.
            Exception: What the near store raised: neither has them.
        """
        since = self._state.doubt(record.key for record, _ in records)
        refused: Collection[int] = ()
        far_error: Exception | None = None
        try:
            await self._state.far_removals.begin()
            refused = await self._to_far(records)
        except Exception as error:  # noqa: BLE001 (it counts if the near store fails, too)
            far_error = error
        kept = [one for one, fence in records if fence is None or fence not in refused]
        is_late = isinstance(far_error, StoreUnavailableError)
        if is_late:
            # Before the near store shows them to reads.
            self._postpone(kept)
        near_error = await self._to_near(kept, since)
        if near_error is None or far_error is None:
            return refused
        if is_late:
            for one in kept:
                self._state.backlog.drop(one.key)  # the caller tries again
            raise far_error
        raise near_error

    async def _to_far(self, records: Fenced) -> Collection[int]:
        plain = self._far.accepted((record for record, _ in records))
        if self._far.store.leases is None or all(fence is None for _, fence in records):
            await self._far.write(lambda store: store.set(plain))
            return ()
        fenced = [(one, fence) for one, (_, fence) in zip(plain, records, strict=True)]
        return await self._far.write(lambda store: leases_of(store).set(fenced))

    async def _to_near(self, records: Sequence[Record], since: int) -> Exception | None:
        """Store records in the near store; where it fails, its older ones are not believed."""
        try:
            await self._state.near_removals.begin()
            if records:
                plain = self._near.accepted(records)
                await self._near.write(lambda store: store.set(plain))
        except Exception as error:  # noqa: BLE001 (it counts if the far store failed, too)
            self._state.near_removals.add_keys((one.key for one in records), self._trust.now)
            return error
        for one in records:
            self._stored(one, since)
        return None

    def _stored(self, record: Record, since: int) -> None:
        """Prove what both have now, unless another process has changed it meanwhile."""
        key = record.key
        self._state.fills.drop(key)
        if self._trust.is_unchanged(key, since) and self._state.near_removals.spare(key, since):
            # A read that began meanwhile may have the record before: it proves nothing.
            self._trust.prove(key, record, self._trust.changed(key))

    def _postpone(self, records: Iterable[Record]) -> None:
        self.dropped += sum(self._state.backlog.put(one, self._trust.now) for one in records)

    async def add(self, records: Sequence[Record]) -> int:
        """See `Store.add`: counted by the far store; while that is away, by the near one."""
        self._state.doubt(record.key for record in records)
        plain = self._near.accepted(records)
        try:
            await self._state.far_removals.begin()
            theirs = self._far.accepted(records)
            count = await self._far.write(lambda store: store.add(theirs))
        except StoreUnavailableError:
            await self._state.near_removals.begin()
            count = await self._near.write(lambda store: store.add(plain))
            self._postpone(records)
        else:
            # Which of them the far store had is seen when they are read.
            try:
                await self._state.near_removals.begin()
                await self._near.write(lambda store: store.add(plain))
            except Exception:  # noqa: BLE001, S110 (noted by the tier: the far one has them)
                pass
        self._state.doubt(record.key for record in records)
        return count

    # Removals.

    async def delete(self, keys: Sequence[bytes] | None) -> int:
        """See `Store.delete`. What is not confirmed stays due.

        Raises:
            StoreUnavailableError: One of them is unavailable: try again.
            StoreError: One of them is away for longer.
        """
        removals = self._state.near_removals, self._state.far_removals
        if keys is None:
            at = self._trust.all_changed()
            self._state.fills.forget(None)
            self._state.backlog.forget(None)
            for due in removals:
                due.add_everything(at)
        else:
            at = self._state.doubt(keys)
            self._state.backlog.forget(keys)
            for due in removals:
                due.add_keys(keys, at)
        near = far = 0
        error: Exception | None = None
        try:
            near = await self._state.near_removals.remove_keys(keys)
        except Exception as failed:  # noqa: BLE001 (raised below)
            error = failed
        try:
            far = await self._state.far_removals.remove_keys(keys)
        except StoreUnavailableError as failed:
            error = failed
        if error is not None:
            raise self._unconfirmed(error) from error
        return max(near, far)

    def _unconfirmed(self, error: Exception) -> Exception:
        """What to raise: an error that is tried again keeps the other writes waiting."""
        is_away = self._far.breaker.is_open or self._near.breaker.is_open
        is_late = isinstance(error, StoreUnavailableError)
        return StoreError(UNCONFIRMED) if is_late and is_away else error

    async def invalidate(self, selection: Selection) -> int | None:
        """See `Store.invalidate`. Raises what `delete` raises."""
        removals = self._state.near_removals, self._state.far_removals
        _, counts = self._sweeps.get(id(selection), (selection, []))
        if not counts:
            counts += [None, None]
            self._sweeps[id(selection)] = selection, counts
            self._trust.all_changed()
            for queue in (self._state.fills, self._state.backlog):
                queue.forget([selection])
            for due in removals:
                due.add_sweep(selection, is_driven=True)
        try:
            for place, due in enumerate(removals):
                if counts[place] is None:
                    counts[place] = await due.step(selection)
        except StoreUnavailableError as error:
            unconfirmed = self._unconfirmed(error)
            if unconfirmed is not error:
                del self._sweeps[id(selection)]
                self._leave(selection)
            raise unconfirmed from error
        except BaseException:
            del self._sweeps[id(selection)]
            self._leave(selection)
            raise
        if None in counts:
            return None
        del self._sweeps[id(selection)]
        return max(one for one in counts if one is not None)

    async def discard(self, records: Sequence[Record]) -> None:
        """See `Store.discard`."""
        self._state.doubt(record.key for record in records)
        for tier in (self._near, self._far):
            try:
                await tier.write(lambda store: store.discard(records))
            except Exception:  # noqa: BLE001, S112 (noted by the tier; they are met again)
                continue

    # What was put off.

    async def catch_up(self) -> None:
        """Give the far store what it missed: removals first, so that none is undone."""
        await self._state.far_removals.go_on()
        while due := self._state.backlog.oldest(RECORDS_AT_ONCE):
            await self._give(due)

    async def _give(self, due: Sequence[tuple[Record, int]]) -> None:
        records = self._far.accepted(one for one, _ in due)
        # What another machine has stored meanwhile is newer, and stays.
        count = await self._far.write(lambda store: store.add(records))
        self._state.backlog.done(due)
        if count < len(due):
            self._state.doubt(one.key for one in records)

    async def fill(self) -> None:
        """Remove from the near store what has changed, and write there what was read elsewhere."""
        await self._state.near_removals.go_on()
        due = self._state.fills.oldest(RECORDS_AT_ONCE)
        fresh = [(one, at) for one, at in due if self._trust.is_unchanged(one.key, at)]
        if fresh:
            records = [one for one, _ in fresh]
            await self._near.write(lambda store: store.set(records))
        for one, at in fresh:
            if self._trust.is_unchanged(one.key, at):
                self._trust.prove(one.key, one, at)
            else:
                # It has changed meanwhile: now the near store has the one before.
                self._state.near_removals.add_keys([one.key], self._trust.now)
        self._state.fills.done(due)

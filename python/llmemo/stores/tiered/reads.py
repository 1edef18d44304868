"""Reads of a tiered store: the near store first; the far one for what is missing or not proven."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.stores.lease_store import Grant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmemo.stores.lease_store import LeaseState
    from llmemo.stores.records import Record
    from llmemo.stores.tiered.state import TieredState

    Answer = tuple[Mapping[bytes, Record], Mapping[bytes, Grant | LeaseState]]


class TieredReads:
    """Finds records, and has the near store filled with those that only the far one had."""

    def __init__(self, state: TieredState, clock: Callable[[], float]) -> None:
        """Begin. `clock`: see `Store.clock`."""
        self._state = state
        self._near, self._far, self._trust = state.near, state.far, state.trust
        self._clock = clock

    def at_once(self, found: Mapping[bytes, Record] | None, keys: Sequence[bytes]) -> bool:
        """Whether all of these are answered by what the near store has."""
        if found is None or not all(key in found for key in keys):
            return False
        if not (self._trust.is_watching() or self._far.breaker.is_open):
            return False
        now, is_alone = self._clock(), self._far.breaker.is_open
        if not all(self._is_answer(key, one, now, is_alone) for key, one in found.items()):
            return False
        if is_alone:
            self._state.serve_unproven(found)
        return True

    def _is_answer(self, key: bytes, record: Record, now: float, is_alone: bool) -> bool:
        """Whether a record of the near store is served. `is_alone`: the far store is away."""
        if not record.is_live(now):
            return False  # the far store may have another one
        if self._state.near_removals and self._state.near_removals.covers(key, record):
            return False
        return is_alone or self._is_proven(key, record)

    def _is_proven(self, key: bytes, record: Record) -> bool:
        return self._trust.is_proven(key, record) or self._state.backlog.get(key) == record

    async def get(self, keys: Sequence[bytes], wanted: Mapping[bytes, float]) -> Answer:
        """See `Store.get_or_acquire`."""
        near, near_error = await self._from_near(keys)
        now = self._clock()
        answered: dict[bytes, Record] = {}
        if self._trust.is_watching():
            answered = {k: it for k, it in near.items() if self._is_answer(k, it, now, False)}
        rest = [key for key in dict.fromkeys(keys) if key not in answered]
        wanted = {key: seconds for key, seconds in wanted.items() if key not in answered}
        if not (rest or wanted):
            return answered, {}
        try:
            found, leases = await self._from_far(rest, wanted, near)
        except Exception:  # noqa: BLE001 (noted by the tier: the near one answers)
            if near_error is not None and not answered:
                raise near_error from None
            # Without the far one: what is not known to be removed.
            kept = {key: near[key] for key in rest if self._may_stay(key, near.get(key))}
            self._state.serve_unproven(kept)
            return {**answered, **kept}, {}
        return {**answered, **found}, leases

    def _may_stay(self, key: bytes, record: Record | None) -> bool:
        return record is not None and not self._state.near_removals.covers(key, record)

    async def _from_near(
        self, keys: Sequence[bytes]
    ) -> tuple[Mapping[bytes, Record], Exception | None]:
        if not keys:
            return {}, None
        try:
            return await self._near.read(lambda store: store.get(keys)), None
        except Exception as error:  # noqa: BLE001 (noted by the tier: the far one is asked)
            return {}, error

    async def _from_far(
        self, keys: Sequence[bytes], wanted: Mapping[bytes, float], near: Mapping[bytes, Record]
    ) -> Answer:
        since = self._trust.now
        leases: Mapping[bytes, Grant | LeaseState] = {}
        if wanted and self._far.store.leases is not None:
            asked = await self._far.read(
                lambda store: store.get_or_acquire(keys, wanted), lambda it: self.came_late(it[1])
            )
            records, leases = asked
        else:
            records = await self._far.read(lambda store: store.get(keys))
        found = {key: one for key, one in records.items() if not self.is_removed(one)}
        now = self._clock()
        for key in keys:
            mine, theirs = near.get(key), found.get(key)
            if theirs is not None:
                self.learn(theirs, since, mine, is_alone=mine is None)
            elif mine is not None and self._is_left(key, mine, now):
                found[key] = mine
            elif mine is not None and self._trust.is_unchanged(key, since):
                # It was removed while this process did not watch, or has gone by itself.
                self._state.near_removals.add_keys([key], self._trust.changed(key))
        return found, leases

    def _is_left(self, key: bytes, mine: Record, now: float) -> bool:
        """Whether the near store's record counts although the far store has none."""
        if not self._may_stay(key, mine):
            return False
        # A server may have forgotten it once it had expired; see `stale_if_error`.
        has_expired = not mine.is_live(now)
        return self._state.backlog.get(key) == mine or (has_expired and self._is_proven(key, mine))

    def learn(
        self, record: Record, since: int, known: Record | None = None, *, is_alone: bool = False
    ) -> None:
        """Have a record of the far store, read then, kept in the near one, where it is not.

        `known`: what the near store has. `is_alone`: it is known to have none.
        """
        key = record.key
        if known is not None and (known.value, known.created, known.expires) == (
            record.value,
            record.created,
            record.expires,
        ):
            if self._may_stay(key, known):
                self._trust.prove(key, record, since)
            return
        if not is_alone:
            self._state.near_removals.add_keys([key], since)
        self._state.fills.put(record, since)

    def is_removed(self, record: Record) -> bool:
        """Whether the far store has a record only because it was not reached to remove it."""
        removals = self._state.far_removals
        return bool(removals) and removals.covers(record.key, record)

    def came_late(self, leases: Mapping[bytes, object]) -> None:
        """Have leases given back whose callers have left."""
        for key, lease in leases.items():
            if isinstance(lease, Grant):
                self._state.unclaimed[key] = lease.fence

"""Two stores as one: answers of this machine's keep their place when the shared one is away."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from llmemo.errors import ConfigurationError
from llmemo.stores.base import Store, StoreUnavailableError
from llmemo.stores.tiered.leases import TieredLeaseStore
from llmemo.stores.tiered.reads import TieredReads
from llmemo.stores.tiered.state import TieredState
from llmemo.stores.tiered.watch import Watch
from llmemo.stores.tiered.writes import TieredWrites

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from llmemo.stores.lease_store import Grant, LeaseState
    from llmemo.stores.records import NamespaceSizes, Record, Selection

    Changes = Collection[bytes | Selection] | None


class TieredStore(Store):
    """A near store, such as a file of this machine, in front of one that machines share.

    `LLMCache([near, far])` makes one. Writes and removals go to both, reads to the near store
    first, leases are the far one's. What only the far store has is written to the near one about a
    second later. Each has a circuit breaker: while the far store is away, the near one answers.

    An answer of the near store is served without a look at the far one only while the far store
    tells what changes, and has had just this answer. Otherwise the far store is asked, too, and
    counts. While it is away, an answer is served unless this process knows that it was removed or
    replaced: docs/decisions/tiered-stores.md.

    Args:
        stores: The near store and the far one. (In a list that is given to `LLMCache`, a path or a
            URL will do.)

    Raises:
        ConfigurationError: They are not two, or one of them is read-only, or tiered itself.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        """Check the stores; nothing is opened before first use."""
        self.stores = _checked(stores)
        near, far = self.stores
        self._state = TieredState(near, far)
        self._near, self._far = self._state.near, self._state.far
        self._watch = Watch(self._state)
        self._clock: Callable[[], float] = Store.clock
        self._grace, self._timeout = Store.grace, Store.timeout
        self._reads = TieredReads(self._state, self._now)
        self._writes = TieredWrites(self._state)
        self._dropped = 0
        self.vectors = near.vectors
        self.leases = None
        if far.leases is not None:
            self.leases = TieredLeaseStore(self._state, self._reads, self._writes.store)
        self.store_requests = near.store_requests or far.store_requests
        self.counts_uses = near.counts_uses or far.counts_uses
        self.keeps_clock = near.keeps_clock and far.keeps_clock
        self.forgets = near.forgets or far.forgets
        self.lists_recent = near.lists_recent or far.lists_recent
        self.reads_at_once = far.reads_at_once

    def __repr__(self) -> str:
        """Both stores. Never raises."""
        try:
            return f"TieredStore([{self.stores[0]!r}, {self.stores[1]!r}])"
        except Exception:  # noqa: BLE001 (half-made, or a store's own repr)
            return "<TieredStore>"

    @property
    def clock(self) -> Callable[[], float]:
        """See `Store.clock`."""
        return self._clock

    @clock.setter
    def clock(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        for store in self.stores:
            store.clock = clock

    @property
    def grace(self) -> float:
        """See `Store.grace`."""
        return self._grace

    @grace.setter
    def grace(self, grace: float) -> None:
        self._grace = grace
        for store in self.stores:
            store.grace = grace

    @property
    def timeout(self) -> float:
        """See `Store.timeout`."""
        return self._timeout

    @timeout.setter
    def timeout(self, timeout: float) -> None:
        self._timeout = timeout
        for store in self.stores:
            store.timeout = timeout

    def _now(self) -> float:
        # The cache sets its clock after the store was made.
        return self._clock()

    async def open(self) -> None:
        """See `Store.open`: the near store; the far one is opened when it is first needed.

        If the near store cannot be opened, the far one has to be there.
        """
        for tier in (self._near, self._far):
            tier.start()
        self._watch.start()
        self._writes.start()
        try:
            await self._near.beside(_nothing)
        except Exception:
            with contextlib.suppress(Exception):
                await self._far.beside(_nothing)
                return
            raise

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        """See `Store.get`."""
        return (await self._reads.get(keys, {}))[0]

    async def get_or_acquire(
        self, keys: Sequence[bytes], wanted: Mapping[bytes, float]
    ) -> tuple[Mapping[bytes, Record], Mapping[bytes, Grant | LeaseState]]:
        """See `Store.get_or_acquire`."""
        return await self._reads.get(keys, wanted)

    def get_at_once(self, keys: Sequence[bytes]) -> Mapping[bytes, Record] | None:
        """See `Store.get_at_once`: where the near store has an answer to each."""
        if not self._near.is_open:
            return None
        found = self.stores[0].get_at_once(keys)
        return found if self._reads.at_once(found, keys) else None

    def get_in_thread(self, keys: Sequence[bytes]) -> Mapping[bytes, Record] | None:
        """See `Store.get_in_thread`: likewise."""
        found = self.stores[0].get_in_thread(keys)
        return found if self._reads.at_once(found, keys) else None

    async def recent(self, limit: int) -> Sequence[Record]:
        """See `Store.recent`: of the far store, if that lists any; else of the near one."""
        if self.stores[1].lists_recent:
            try:
                return await self._far.beside(lambda store: store.recent(limit))
            except Exception:
                if not self.stores[0].lists_recent:
                    raise
        return await self._near.beside(lambda store: store.recent(limit))

    async def namespace_sizes(self, seconds: float) -> NamespaceSizes | None:
        """See `Store.namespace_sizes`: of the far store, if that can tell; else of the near one."""
        with contextlib.suppress(Exception):  # it may be away
            found = await self._far.beside(lambda store: store.namespace_sizes(seconds))
            if found is not None:
                return found
        return await self._near.beside(lambda store: store.namespace_sizes(seconds))

    async def set(self, records: Sequence[Record]) -> None:
        """See `Store.set`: once this returns, at least one of the two has them."""
        await self._writes.store([(record, None) for record in records])

    async def add(self, records: Sequence[Record]) -> int:
        """See `Store.add`."""
        return await self._writes.add(records)

    async def delete(self, keys: Sequence[bytes] | None) -> int:
        """See `Store.delete`."""
        return await self._writes.delete(keys)

    async def invalidate(self, selection: Selection) -> int | None:
        """See `Store.invalidate`."""
        return await self._writes.invalidate(selection)

    async def discard(self, records: Sequence[Record]) -> None:
        """See `Store.discard`."""
        await self._writes.discard(records)

    async def changes(self) -> Changes:
        """See `Store.changes`: of both. The far store's trouble is raised here, and counted so."""
        await self._watch.look()
        await self._look_near()
        untold = self._watch.take()
        if untold is None or untold:
            return untold
        self._tell_trouble()
        return ()

    async def _look_near(self) -> None:
        try:
            changed = await self._near.beside(lambda store: store.changes())
        except Exception:  # noqa: BLE001 (noted by the tier)
            return
        # What the near store has now is known by its contents: nothing else is to be forgotten.
        self._watch.note(changed)

    def _tell_trouble(self) -> None:
        """Raise what went wrong in one of the stores since the last time."""
        for tier in (self._near, self._far):
            trouble, tier.trouble = tier.trouble, None
            if trouble is not None:
                raise trouble
        dropped, self._dropped = self._dropped, self._writes.dropped
        if dropped != self._dropped:
            msg = f"{self._dropped - dropped} answers never reached {self.stores[1]!r}"
            raise StoreUnavailableError(msg)

    def stored_bytes(self) -> int | None:
        """See `Store.stored_bytes`: of those that can tell."""
        known = [size for store in self.stores if (size := store.stored_bytes()) is not None]
        return sum(known) if known else None

    def troubles(self) -> Sequence[tuple[str | None, float]]:
        """See `Store.troubles`: one for each store."""
        return self._near.state, self._far.state

    async def upkeep(self) -> None:
        """See `Store.upkeep`; besides, each store gets what it has missed."""
        await self._watch.look()
        await self._settle()
        for tier in (self._near, self._far):
            try:
                await tier.write(lambda store: store.upkeep())
            except Exception:  # noqa: BLE001, S112 (noted by the tier)
                continue
        self._tell_trouble()

    async def _settle(self) -> None:
        """Do what was put off."""
        for work in (self._writes.fill, self._catch_up):
            try:
                await work()
            except Exception:  # noqa: BLE001, S112 (noted by the tier; it is still due)
                continue

    async def _catch_up(self) -> None:
        # What was removed while the far store was away is not to come back.
        if self._state.trust.is_watching():
            await self._writes.catch_up()
            leases, self._state.unclaimed = self._state.unclaimed, {}
            if leases and self.leases is not None:
                await self.leases.release({key: (fence, 0) for key, fence in leases.items()})

    def saw(self, keys: Collection[bytes]) -> None:
        """See `Store.saw`."""
        for store in self.stores:
            if store.counts_uses:
                store.saw(keys)

    async def close(self) -> None:
        """See `Store.close`: what waits is written first, if the far store answers."""
        if self._far.is_open and len(self._state.backlog):
            await self._watch.look()
        await self._settle()
        try:
            await self._near.close()
        finally:
            await self._far.close()

    def left_open(self) -> None:
        """See `Store.left_open`."""
        for store in self.stores:
            store.left_open()


async def _nothing(_: Store) -> None:
    """What a tier is asked for that is only to be opened."""


def _checked(stores: Sequence[Store]) -> tuple[Store, Store]:
    if (
        not isinstance(stores, (list, tuple))
        or len(stores) != 2
        or not all(isinstance(store, Store) for store in stores)
    ):
        msg = "TieredStore needs two stores, the near one and the far one: [near, far]"
        raise ConfigurationError(msg)
    near, far = stores
    if near is far:
        msg = f"TieredStore([near, far]): both are {near!r}, give two"
        raise ConfigurationError(msg)
    for store in (near, far):
        if store.read_only or isinstance(store, TieredStore):
            what = "read-only" if store.read_only else "tiered itself"
            msg = f"TieredStore([near, far]): {store!r} is {what}, which cannot work as one of two"
            raise ConfigurationError(msg)
    return near, far

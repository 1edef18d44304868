"""Leases of a tiered store: those of the far store, which all machines share."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from llmemo.stores.lease_store import LeaseStore
from llmemo.stores.records import Record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from llmemo.stores.base import Store
    from llmemo.stores.lease_store import Grant, LeaseState
    from llmemo.stores.tiered.reads import TieredReads
    from llmemo.stores.tiered.state import TieredState

    Fenced = Sequence[tuple[Record, int | None]]
    Write = Callable[[Fenced], Awaitable[Collection[int]]]


T = TypeVar("T")


def leases_of(store: Store) -> LeaseStore:
    """The leases of a store that has them."""
    assert store.leases is not None  # noqa: S101 (it is asked before)
    return store.leases


class TieredLeaseStore(LeaseStore):
    """See `LeaseStore`. While the far store is away, callers go on without leases."""

    def __init__(self, state: TieredState, reads: TieredReads, write: Write) -> None:
        """Leases of the far store. `write` stores records in both."""
        self._far, self._trust = state.far, state.trust
        self._reads = reads
        self._write = write
        self.tells_moves = leases_of(self._far.store).tells_moves

    async def acquire(
        self, wanted: Mapping[bytes, float]
    ) -> Mapping[bytes, Grant | Record | LeaseState]:
        """See `LeaseStore.acquire`."""
        if not self._far.breaker.is_well:
            return {}  # one that has just failed to answer is not waited for once more
        since = self._trust.now
        found = await self._far.write(
            lambda store: leases_of(store).acquire(wanted), self._reads.came_late
        )
        return self._learned(found, since)

    async def renew(self, leases: Mapping[bytes, tuple[int, float]]) -> Collection[bytes]:
        """See `LeaseStore.renew`."""
        return await self._far.write(lambda store: leases_of(store).renew(leases))

    async def release(self, leases: Mapping[bytes, tuple[int, int]]) -> None:
        """See `LeaseStore.release`."""
        await self._far.write(lambda store: leases_of(store).release(leases))

    async def set(self, records: Fenced) -> Collection[int]:
        """See `LeaseStore.set`."""
        return await self._write(records)

    async def moved(self) -> bool:
        """See `LeaseStore.moved`."""
        return await self._far.beside(lambda store: leases_of(store).moved())

    async def peek(self, keys: Collection[bytes]) -> Mapping[bytes, Record | LeaseState]:
        """See `LeaseStore.peek`."""
        since = self._trust.now
        found = await self._far.beside(lambda store: leases_of(store).peek(keys))
        return self._learned(found, since)

    def _learned(self, found: Mapping[bytes, T], since: int) -> Mapping[bytes, T]:
        """Without the records that are to be removed; the others are kept in the near store."""
        kept = {}
        for key, one in found.items():
            if isinstance(one, Record):
                if self._reads.is_removed(one):
                    continue
                self._reads.learn(one, since)
            kept[key] = one
        return kept

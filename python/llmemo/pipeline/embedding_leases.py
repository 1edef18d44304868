"""Which call computes which vectors: the leases of one call, and its waits for other calls.

A call that waits holds no lease, and waits for a single text. So two calls never wait for each
other, whatever texts they share.
"""

from __future__ import annotations

import time
import weakref
from contextvars import ContextVar
from threading import get_ident
from typing import TYPE_CHECKING, Any

from llmemo._core import Insisting
from llmemo.langchain.model_runs import Run
from llmemo.pipeline.coordinate import HOLDER_STUCK, coalesced, discard, wait, would_block_a_loop
from llmemo.single_flight.holding import current_task, holds_anything
from llmemo.single_flight.watchdog import Watch, unless_crowded
from llmemo.store_io.calls import Call
from llmemo.stores.lease_store import Grant, LeaseState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmemo.pipeline.embedding_lookup import EmbeddingLookup
    from llmemo.single_flight.flights import Flights
    from llmemo.single_flight.lease import Lease
    from llmemo.store_io.client import StoreClient
    from llmemo.store_io.time_budget import TimeBudget
    from llmemo.stores import Record


class Turn:
    """A stretch of a call in which it may hold leases: no call within it waits for another."""

    __slots__ = ("_leases", "is_over", "outer")

    def __init__(self, leases: EmbeddingLeases) -> None:
        """Begin, in this context."""
        self.outer = _open_turn()
        self.is_over = False
        """Set at its end, which may come in another context."""
        # If a signal handler ends it before its end is looked after, it is over with its call.
        self._leases = weakref.ref(leases)
        _turn.set(self)

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return not self.is_over and self._leases() is not None


_turn: ContextVar[Turn | None] = ContextVar("llmemo_embedding_turn", default=None)


def _open_turn() -> Turn | None:
    """The turn that this context is in."""
    turn = _turn.get()
    while turn is not None and not turn.is_open:
        turn = turn.outer
    return turn


class EmbeddingLeases:
    """The leases of one call."""

    def __init__(self, lookup: EmbeddingLookup) -> None:
        """Begin with none."""
        tiers = lookup.tiers
        self._lookup = lookup
        self._tiers = tiers
        self._flights: Flights | None = None
        if lookup.options.mode not in {"only", "refresh"}:
            self._flights = tiers.flights
        self._deadline = time.monotonic() + tiers.settings.lease_timeout
        self._by_text: dict[str, Lease] = {}
        self._alone: set[str] = set()
        """Texts that this call computes whether or not another one does."""
        self._elsewhere: dict[str, LeaseState] = {}
        """Texts that another process computes."""
        # It stands behind the leases, which are trusted until this call ends.
        self._run = Run(None)

    def _end_all(self, *, failed: bool) -> None:
        """End the leases that are left. Without effect the second time."""
        for lease in self._by_text.values():
            lease.end(failed=failed)
        self._run.end()

    end = Insisting(_end_all)

    async def may_wait(self, text: str) -> bool:
        """Whether this call may wait for others now: see `single_flight.holding`."""
        if _open_turn() is not None or holds_anything() or time.monotonic() >= self._deadline:
            return False
        return not would_block_a_loop(await self._lookup.lookup(text))

    # Within the process.

    async def lead(self, text: str, *, may_wait: bool) -> bool:
        """Whether this call is to find or compute a vector: it takes the lease, if that is free."""
        key = (await self._lookup.lookup(text)).key
        if self._flights is None or text in self._alone:
            return True
        lease = self._held(text)
        if lease is None:
            lease = self._flights.lead(key)
            if lease is None and (not may_wait or self._flights.lease(key) is None):
                # (There is none where an answer could not be handed on, a moment ago.)
                self._alone.add(text)
                return True
            if lease is None:
                return False
            self._hold(text, lease)
        # It may have come between this call's look at memory and its lease.
        if await self._lookup.ask_memory_again(text):
            lease.end(failed=False)
            return False
        return True

    def _hold(self, text: str, lease: Lease) -> None:
        self._by_text[text] = lease
        self._run.stand_behind(lease)
        task = current_task() if self._lookup.is_awaited else None
        lease.holder = get_ident() if task is None else weakref.ref(task)
        if lease.takeovers:
            self._tiers.tally.note("errors", "holder_stuck", HOLDER_STUCK)

    def _held(self, text: str) -> Lease | None:
        lease = self._by_text.get(text)
        return None if lease is None or lease.has_ended else lease

    async def wait(self, text: str, budget: TimeBudget | None) -> None:
        """Wait until another call, or another process, has this vector, or passes its lease on."""
        state = self._elsewhere.get(text)
        for other, lease in self._by_text.items():
            if state is None or other != text:
                lease.end(failed=False)
        if state is None:
            await self._join(text)
        elif self._tiers.durable is not None and budget is not None:
            await self._follow(text, self._tiers.durable, budget, state)

    async def _join(self, text: str) -> None:
        lookup, flights = self._lookup.lookups[text], self._flights
        found: Any = None
        try:
            if flights is not None:
                found = flights.enter(lookup.key, lookup.make_call)
                watch = Watch(flights, lookup.key)
                while isinstance(found, Call):
                    found = await wait(lookup, flights, found, self._deadline, watch)
            if isinstance(found, bytes):
                await self._lookup.take(text, await coalesced(lookup, found))
            elif found is None:
                # Two attempts have failed, or the time is over.
                self._alone.add(text)
            else:
                self._hold(text, found)
        except GeneratorExit:
            raise  # the coroutine is garbage of a closed loop: see `store_io.leases.client`
        except BaseException:
            discard(found)
            raise

    # Among processes.

    def begin_read(self) -> None:
        """Forget what other processes computed when the store was asked last."""
        self._elsewhere = {}

    def wanted(self, texts: Sequence[str]) -> list[str]:
        """Those of the texts whose leases are to come with a read of the store."""
        leases = ((text, self._held(text)) for text in texts if text not in self._alone)
        return [text for text, lease in leases if lease is not None and lease.fence is None]

    def note(
        self,
        wanted: Sequence[str],
        states: Mapping[bytes, Grant | LeaseState],
        durable: StoreClient,
        *,
        may_wait: bool,
    ) -> None:
        """Take what the store says of the leases that were wanted."""
        for text in wanted:
            state = states.get(self._lookup.lookups[text].key)
            if isinstance(state, Grant):
                self._claim(text, durable, state)
            elif state is not None and may_wait:
                self._elsewhere[text] = state

    def is_elsewhere(self, text: str) -> bool:
        """Whether another process computes a vector, and this call waits for it."""
        return text in self._elsewhere

    def _claim(self, text: str, durable: StoreClient, grant: Grant) -> None:
        """Have the store's lease go with the one within this process."""
        lease = self._held(text)
        if lease is None:
            durable.release(self._lookup.lookups[text].key, grant.fence, 0)
        else:
            lease.fence = grant.fence
            lease.keep_alive()

    def serve(self, text: str, durable: StoreClient, record: Record) -> None:
        """Give what the store has to the calls that wait for this one."""
        self._elsewhere.pop(text, None)
        lease, key = self._held(text), self._lookup.lookups[text].key
        if lease is not None and self._flights is not None:
            self._flights.serve(key, self._tiers.envelope.open(record.value, key))
            if lease.fence is not None:
                durable.release(key, lease.fence, 0)

    async def _follow(
        self, text: str, durable: StoreClient, budget: TimeBudget, state: LeaseState
    ) -> None:
        lookup = self._lookup.lookups[text]
        lookup.epoch = self._tiers.memory.epoch(lookup.key)
        try:
            found = await durable.acquire(
                lookup.key,
                lookup.make_call,
                budget,
                unless_crowded,
                lease_timeout=max(0.0, self._deadline - time.monotonic()),
                known=state,
            )
            if isinstance(found, Grant):
                self._claim(text, durable, found)
            elif found is not None and await self._lookup.accept(text, found):
                self.serve(text, durable, found)
            else:
                # As in `_join`; and not one text after the other.
                self._alone.update(self._elsewhere)
        except GeneratorExit:
            raise  # as above
        except BaseException:
            lease = self._by_text.get(text)
            if lease is None or lease.fence is None:
                # It may have been granted all the same.
                durable.release_held(lookup.key)
            raise

"""The durable tier: a store, behind the thread that runs it and two circuit breakers.

A model call waits for no longer than `store_timeout` in all, and not at all while a breaker is
open. Trouble is counted, logged once a minute, and survived.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.store_io.calls import Call
from llmemo.store_io.executor import Executor
from llmemo.store_io.leases.client import acquire, release
from llmemo.store_io.operations import Get, Set
from llmemo.store_io.read_batcher import ReadBatcher
from llmemo.store_io.store_health import StoreHealth
from llmemo.store_io.time_budget import WAITED, TimeBudget
from llmemo.stores.lease_store import Grant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llmemo._core import Memory
    from llmemo.store_io.leases.client import Follower
    from llmemo.store_io.operations import Operation
    from llmemo.store_io.read_batcher import Found
    from llmemo.stores import Record, Store
    from llmemo.telemetry.stats import Tally

    MakeCall = Callable[[Operation], Call[Any]]


LEASE = 5.0
"""Seconds for which a lease lasts that no model run stands behind; a killed process keeps the
others waiting for no longer."""


class StoreClient:
    """Reads and writes records, and fails open."""

    def __init__(self, store: Store, tally: Tally, memory: Memory, timeout: float) -> None:
        """Open nothing yet. `timeout`: longest time that a caller waits, in seconds."""
        self.store = store
        self.executor = Executor(store, tally, memory, timeout)
        self.held = self.executor.held
        """The leases that this process holds."""
        self.health = StoreHealth(self.executor, tally, timeout)
        self.waited = WAITED * timeout
        """Seconds that one model call may wait for the store."""
        self._batcher = ReadBatcher(self.executor, self.health, self.waited)

    def time_budget(self, left: float | None = None) -> TimeBudget:
        """The time budget of one model call's writes: `left` seconds; None for all."""
        return TimeBudget(self.waited if left is None else left, self.health.waiting_writes)

    def read(self, key: bytes, make_call: MakeCall) -> Awaitable[Found]:
        """Read a record; None if there is none, or the store does not tell in time.

        Besides, the seconds that are left of the model call's time budget.
        """
        if self.health.reads.is_open:
            self.health.reads_refused(1)
            self._probe(key)
            return self._unread()
        if make_call == Call.awaited:
            return self._batcher.read(key)
        return self._read_alone(key)

    async def _read_alone(self, key: bytes) -> Found:
        """The same, for a thread that blocks."""
        budget = TimeBudget(self.waited, self.health.waiting_reads)
        try:
            call: Call[Any] = Call.blocking(Get([key]))
            self.executor.submit(call)
            found = await budget.outcome(call)
        except Exception as error:
            if is_interrupt(error):
                raise
            self.health.reads_done(1, error)
            return None, budget.left
        self.health.reads_done(1, None)
        return found.get(key), budget.left

    async def _unread(self) -> Found:
        return None, self.waited

    def begin_write(
        self, operation: Set, make_call: MakeCall, budget: TimeBudget, *, at_once: bool = False
    ) -> Call[Any] | None:
        """Send a record. The call is for `written`; None if it is not waited for, but stays queued.

        `at_once`: from another thread than that of the event loop that the call is for.
        """
        health = self.health
        if health.reads.is_open or health.writes.is_open or not budget.left:
            # It gets there when the store does, without a wait.
            self._try("write", operation)
            # A caller that writes without reading would otherwise never be waited for again.
            self._probe(operation.record.key)
            return None
        try:
            call = make_call(operation)
            self.executor.submit(call, at_once=at_once)
        except Exception as error:  # it may be closed, or find no thread
            if is_interrupt(error):
                raise
            health.failed("write", error)
            return None
        return call

    async def written(self, call: Call[Any] | None, budget: TimeBudget) -> bool | None:
        """Wait for a record to be written. Returns whether it is known to be there.

        None, if it was refused: another process was given the lease meanwhile.
        """
        if call is None:
            return False
        try:
            is_refused = await budget.outcome(call)
        except NotYetError as error:
            self.health.failed("write", error)
            return False
        except Exception as error:  # as above; the worker has counted it
            if is_interrupt(error):
                raise
            self.health.trip(self.health.writes)
            return False
        self.health.write_ended()
        return None if is_refused else True

    async def acquire(
        self,
        key: bytes,
        make_call: MakeCall,
        budget: TimeBudget,
        follow: Follower,
        lease_timeout: float,
    ) -> Grant | Record | None:
        """The right to compute an answer among all processes, or the answer; see `leases.client`.

        Waits by `follow` for another process that computes it, for `lease_timeout` seconds at
        most. None: go on without.
        """
        health = self.health
        # A store that has just failed to answer is not asked to coordinate.
        if not (health.reads.is_well and budget.left) or health.writes.is_open:
            return None
        if self.store.leases is None:
            return None
        try:
            found = await acquire(
                self.executor.submit,
                make_call,
                key,
                seconds=LEASE,
                outcome=budget.outcome,
                follow=follow,
                lease_timeout=lease_timeout,
            )
        except Exception as error:  # as above
            if is_interrupt(error):
                raise
            if not self.executor.is_closed:  # meanwhile, which is no trouble
                health.failed("coordinate", error)
            return None
        if isinstance(found, Grant):
            # A write, too.
            health.write_ended()
        elif found is None and not budget.left and not self.executor.is_closed:
            health.failed("coordinate", NotYetError())
        return found

    def release(self, key: bytes, fence: int, failures: int) -> None:
        """End a lease without an answer: see `leases.client.release`. Waits for nothing."""
        release(self.executor.submit, key, fence, failures)

    def release_held(self, key: bytes) -> None:
        """End the lease of this key if this process has it. Waits for nothing."""
        fence = self.held.fence(key)
        if fence is not None:
            self.release(key, fence, 0)

    def _try(self, verb: str, operation: Operation) -> None:
        """Send an operation that no caller waits for, and see whether the store is well again."""
        call: Call[Any] = Call.blocking(operation)
        call.when_over(self.health.read_ended if verb == "read" else self.health.write_ended)
        try:
            self.executor.submit(call)
        except Exception as error:  # as in `begin_write`
            if is_interrupt(error):
                raise
            self.health.note(verb, error)

    def _probe(self, key: bytes) -> None:
        """Now and then, ask a store that is in trouble, without waiting."""
        if self.health.reads.may_try():
            self._try("read", Get([key]))

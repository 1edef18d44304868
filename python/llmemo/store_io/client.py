"""The durable tier: a store, behind the thread that runs it and two circuit breakers.

A model call waits for no longer than `store_timeout` in all, and not at all for reads while theirs
is open, nor for writes while either is: a file that another process keeps locked can be read.
Trouble is counted, said once a minute, and nothing else; an update that the store refuses, by the
worker, since its caller may not wait for it any more.
"""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.store_io.calls import Call, Submission, settle
from llmemo.store_io.circuit_breaker import CircuitBreaker
from llmemo.store_io.executor import Executor
from llmemo.store_io.leases.client import acquire, release
from llmemo.store_io.operations import Get, Set
from llmemo.store_io.read_batcher import ReadBatcher
from llmemo.stores.lease_store import Grant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llmemo._core import Memory
    from llmemo.store_io.leases.client import Follower
    from llmemo.store_io.operations import Operation
    from llmemo.store_io.read_batcher import Batch, Found
    from llmemo.stores import Record, Store
    from llmemo.telemetry.stats import Tally

    MakeCall = Callable[[Operation], Call[Any]]


LEASE = 5.0
"""Seconds for which a lease lasts that no model run stands behind; a killed process keeps the
others waiting for no longer."""


WAITED = 0.8
"""Part of `store_timeout` that is waited for: the rest is for a busy loop to get there."""


class TimeBudget:
    """What is left of the seconds that one model call may wait for the store: lookup and update."""

    __slots__ = ("_waiting", "left")

    def __init__(self, seconds: float, waiting: set[Call[Any]]) -> None:
        """None of them is used. `waiting`: where to find who waits."""
        self.left = seconds
        self._waiting = waiting

    async def outcome(self, call: Call[Any]) -> Any:
        """Wait for the store.

        Raises:
            NotYetError: There is no outcome yet, and no patience any more.
            Exception: What the store raised.
        """
        begun = time.monotonic()
        try:
            self._waiting.add(call)
            return await call.wait(self.left)
        except NotYetError:
            # It may come early, and what is left then is not worth another wait.
            self.left = 0.0
            raise
        finally:
            self._waiting.discard(call)
            self.left = max(0.0, self.left - (time.monotonic() - begun))


class _ShutError(Exception):
    """The breaker of reads is open."""


class StoreClient:
    """Reads and writes records, and fails open."""

    def __init__(self, store: Store, tally: Tally, memory: Memory, timeout: float) -> None:
        """See `Executor`; `timeout`: seconds that a caller waits, at most."""
        self.store = store
        self.timeout = timeout
        self.engine = Executor(store, tally, memory, timeout)
        self.reads, self.writes = CircuitBreaker(), CircuitBreaker()
        self._tally = tally
        self._reading: set[Call[Any]] = set()
        self._writing: set[Call[Any]] = set()
        """Those who wait, for the breakers to release them."""
        self.waited = WAITED * timeout
        """Seconds that one model call may wait for the store."""
        self._gathering = ReadBatcher(self.waited)
        self._passes: set[weakref.ref[Batch]] = set()
        """As `_reading`, and weak: a loop may close before there is an outcome, and has to go."""

    def patience(self, left: float | None = None) -> TimeBudget:
        """For what one model call writes, of which so many seconds are left; None for all."""
        return TimeBudget(self.waited if left is None else left, self._writing)

    def read(self, key: bytes, make_call: MakeCall) -> Awaitable[Found]:
        """The record of a key; None if there is none, or it cannot be had in time.

        And how many seconds are left of the model call's patience.
        """
        if self.reads.is_open:
            self._is_shut(1)
            self._probe(key)
            return self._unread()
        if make_call == Call.awaited:
            return self._gathering.read(key, self)
        return self._read_alone(key)

    def send(self, reads: Batch) -> None:
        """See `gathering.Reader`."""
        self._passes.add(weakref.ref(reads, self._passes.discard))
        if self.reads.is_open:
            # It was not when they began. (Should it open now, they are among those who wait.)
            raise _ShutError
        self.engine.submit(reads, at_once=True)

    async def _read_alone(self, key: bytes) -> Found:
        """The same, for a thread that waits."""
        patience = TimeBudget(self.waited, self._reading)
        try:
            call: Call[Any] = Call.blocking(Get([key]))
            self.engine.submit(call)
            found = await patience.outcome(call)
        except Exception as error:
            if is_interrupt(error):
                raise
            self.are_over(1, error)
            return None, patience.left
        self.are_over(1, None)
        return found.get(key), patience.left

    async def _unread(self) -> Found:
        return None, self.waited

    def are_over(self, reads: int, error: Exception | None) -> None:
        """See `gathering.Reader`."""
        if isinstance(error, _ShutError):
            self._is_shut(reads)
        elif error is None:
            self._has_read()
        elif not self.engine.is_closed:  # meanwhile, which is nobody's trouble
            self._failed("read", error, reads)

    def begin_write(
        self, operation: Set, make_call: MakeCall, patience: TimeBudget, *, at_once: bool = False
    ) -> Call[Any] | None:
        """Send a record. The call is for `written`; None if it is not waited for, but stays queued.

        `at_once`: from another thread than that of the event loop that the call is for.
        """
        if self.reads.is_open or self.writes.is_open or not patience.left:
            # It gets there when the store does, and nobody waits for that.
            self._try("write", operation)
            # Whoever writes without reading would otherwise never be waited for again.
            self._probe(operation.record.key)
            return None
        try:
            call = make_call(operation)
            self.engine.submit(call, at_once=at_once)
        except Exception as error:  # it may be closed, or find no thread
            if is_interrupt(error):
                raise
            self._failed("write", error)
            return None
        return call

    async def written(self, call: Call[Any] | None, patience: TimeBudget) -> bool | None:
        """Wait for a record to be written. Returns whether it is known to be there.

        None, if it was refused: another process was given the lease meanwhile.
        """
        if call is None:
            return False
        try:
            is_refused = await patience.outcome(call)
        except NotYetError as error:
            self._failed("write", error)
            return False
        except Exception as error:  # as above; the worker has counted it
            if is_interrupt(error):
                raise
            self._trip(self.writes, 1)
            return False
        self._has_written()
        return None if is_refused else True

    async def acquire(
        self,
        key: bytes,
        make_call: MakeCall,
        patience: TimeBudget,
        follow: Follower,
        lease_timeout: float,
    ) -> Grant | Record | None:
        """The right to compute an answer among all processes, or the answer; see `leases`.

        Waits by `follow` for another process that computes it, for `lease_timeout` seconds at
        most. None: go on without.
        """
        # A store that has just failed to answer is not asked to coordinate.
        if not (self.reads.is_well and patience.left) or self.writes.is_open:
            return None
        try:
            found = await acquire(
                self.engine,
                make_call,
                key,
                seconds=LEASE,
                outcome=patience.outcome,
                follow=follow,
                lease_timeout=lease_timeout,
            )
        except Exception as error:  # as above
            if is_interrupt(error):
                raise
            if not self.engine.is_closed:  # meanwhile, which is nobody's trouble
                self._failed("coordinate", error)
            return None
        if isinstance(found, Grant):
            # A write, too.
            self._has_written()
        elif found is None and not patience.left and not self.engine.is_closed:
            self._failed("coordinate", NotYetError())
        return found

    def keep_alive(self, key: bytes, fence: int, *, is_kept: bool) -> None:
        """Have a lease last for longer than `LEASE`, or no more."""
        if is_kept:
            self.engine.keep_alive(key, fence)
        else:
            self.engine.let_lapse(key, fence)

    def let_go(self, key: bytes, fence: int, failures: int) -> None:
        """End a lease without an answer: see `leases.release`. Waits for nothing."""
        release(self.engine, key, fence, failures)

    def give_back(self, key: bytes) -> None:
        """End what lease of this key this process has, if it has one. Waits for nothing."""
        fence = self.engine.fence(key)
        if fence is not None:
            self.let_go(key, fence, 0)

    def _try(self, verb: str, operation: Operation) -> None:
        """Have something done that nobody waits for, and see whether the store is well again."""
        call: Call[Any] = Call.blocking(operation)
        call.when_over(self._has_read if verb == "read" else self._has_written)
        try:
            self.engine.submit(call)
        except Exception as error:  # as in `write`
            if is_interrupt(error):
                raise
            self.survive(verb, error)

    def _is_shut(self, reads: int) -> None:
        text = "llmemo: the store is not asked for a while: it is in trouble"
        self._tally.note("errors", "store_shut", text, count=reads)

    def _probe(self, key: bytes) -> None:
        """Now and then, have a store asked that is in trouble, without waiting."""
        if self.reads.may_try():
            self._try("read", Get([key]))

    def _failed(self, verb: str, error: Exception, calls: int = 1) -> None:
        self.survive(verb, error, calls)
        self._trip(self.reads if verb == "read" else self.writes, calls)

    def _trip(self, breaker: CircuitBreaker, calls: int) -> None:
        """Tell a breaker of failures; should that open it, nobody waits who it is for."""
        if not breaker.failed(calls):
            return
        released: list[Submission[Any]] = list(self._writing)
        if breaker is self.reads:
            passes = [reference() for reference in list(self._passes)]
            released += [*self._reading, *(one for one in passes if one is not None)]
        settle([(call, None, NotYetError()) for call in released])

    def _has_read(self, error: Exception | None = None) -> None:
        if error is None:
            self.reads.succeeded()

    def _has_written(self, error: Exception | None = None) -> None:
        if error is None:
            self.writes.succeeded()
            if self.reads.is_open:
                # Maybe that is over, too. But reads may hang where writes do not.
                self.reads.hurry()

    def survive(self, verb: str, error: Exception, calls: int = 1) -> None:
        """Count that the store has failed so many calls, say it once, go on.

        Called by plain handlers: a context manager took a twentieth of a batched lookup's time.
        """
        if isinstance(error, NotYetError):
            text = "llmemo: the store took longer than %.3g s to %s"
            reason = f"store_{verb}_timeout"
            self._tally.note("errors", reason, text, self.timeout, verb, count=calls)
        else:
            self._tally.store_failed(verb, error, calls)

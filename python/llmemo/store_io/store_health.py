"""What is known of a store's health: two circuit breakers, the waiting calls, counts of trouble.

While a breaker is open no model call waits for the store. Reads have one of their own: a file that
another process keeps locked can be read.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.circuit_breaker import CircuitBreaker
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.store_io.calls import Call, settle
from llmemo.store_io.operations import Get
from llmemo.store_io.store_check import StoreCheck
from llmemo.stores.base import StoreRefusedError
from llmemo.stores.reasons import reason_of
from llmemo.telemetry.health import Spell

if TYPE_CHECKING:
    from llmemo.store_io.calls import Submission
    from llmemo.store_io.executor import Executor
    from llmemo.store_io.operations import Operation
    from llmemo.telemetry.stats import Tally


class StoreHealth:
    """Counts what succeeds and fails, and releases the waiting calls when a breaker opens."""

    def __init__(self, executor: Executor, tally: Tally, timeout: float) -> None:
        """Both breakers are closed. `timeout`: what the log names as the store's, in seconds."""
        self.reads, self.writes = CircuitBreaker(), CircuitBreaker()
        self.waiting_reads: set[Call[Any]] = set()
        self.waiting_writes: set[Call[Any]] = set()
        self._batches: set[weakref.ref[Submission[Any]]] = set()
        """Batches of reads. Weak: a loop may close before there is an outcome, and has to go."""
        self.check = StoreCheck(executor, self.read_ended, timeout)
        """For those that ask how the store is."""
        self._refusals = Spell()
        self._last_errors: dict[str, str] = {}
        """What went wrong last, by what failed: `read`, `write`, `coordinate`."""
        self._executor = executor
        self._tally = tally
        self._timeout = timeout

    def batch_begins(self, batch: Submission[Any]) -> None:
        """Have a batch of reads released when their breaker opens."""
        self._batches.add(weakref.ref(batch, self._batches.discard))

    def reads_done(self, count: int, error: Exception | None) -> None:
        """Note the outcome of `count` reads whose callers still wait."""
        if error is None:
            self.reads.succeeded()
        elif not self._executor.is_closed:  # meanwhile, which is no trouble
            self.failed("read", error, count)

    def reads_refused(self, count: int) -> None:
        """Count reads that were not sent since the breaker is open."""
        text = "llmemo: the store is not asked for a while: it is in trouble"
        self._tally.note("errors", "store_shut", text, count=count)

    def read_ended(self, error: Exception | None = None) -> None:
        """Note the outcome of a read that no caller waits for: success counts."""
        if error is None:
            self.reads.succeeded()

    def write_ended(self, error: Exception | None = None) -> None:
        """Note the outcome of a write: that the store has answered counts, even if it refused."""
        if error is None or isinstance(error, StoreRefusedError):
            self.writes.succeeded()
            if error is None:
                self._refusals.end()
            else:
                self._refusals.begin(f"the store refuses to write: {reason_of(error)}")
            if self.reads.is_open:
                # Maybe that is over, too. But reads may hang where writes do not.
                self.reads.hurry()

    def write_failed(self, error: Exception) -> None:
        """Tell the breaker of a failure that the private thread has counted."""
        self._last_errors["write"] = reason_of(error)
        self.trip(self.writes)

    def attempt(self, operation: Operation) -> None:
        """Send an operation that no caller waits for, and see whether the store is well again."""
        is_read = isinstance(operation, Get)
        call: Call[Any] = Call.blocking(operation)
        ended = self.read_ended if is_read else self.write_ended
        call.when_over(lambda _, error: ended(error))
        try:
            self._executor.submit(call)
        except Exception as error:  # it may be closed, or find no thread
            if is_interrupt(error):
                raise
            self.note("read" if is_read else "write", error)

    def probe(self, key: bytes) -> None:
        """Now and then, ask a store that is in trouble, without waiting."""
        if self.reads.may_try():
            self.attempt(Get([key]))

    def failed(self, verb: str, error: Exception, calls: int = 1) -> None:
        """Count and log a failure of N calls, and tell the breaker."""
        self.note(verb, error, calls)
        self.trip(self.reads if verb == "read" else self.writes, calls)

    def trip(self, breaker: CircuitBreaker, calls: int = 1) -> None:
        """Tell a breaker of failures. If that opens it, no call that it is for waits any longer."""
        if not breaker.failed(calls):
            return
        released: list[Submission[Any]] = list(self.waiting_writes)
        if breaker is self.reads:
            batches = [reference() for reference in list(self._batches)]
            released += [*self.waiting_reads, *(one for one in batches if one is not None)]
        settle([(call, None, NotYetError()) for call in released])

    def note(self, verb: str, error: Exception, calls: int = 1) -> None:
        """Count a failure of N calls, and log it once a minute.

        Called by plain handlers: a context manager took a twentieth of a batched lookup's time.
        """
        if isinstance(error, NotYetError):
            text = "llmemo: the store took longer than %.3g s to %s"
            self._last_errors[verb] = f"it took longer than {self._timeout:.3g} s"
            reason = f"store_{verb}_timeout"
            self._tally.note("errors", reason, text, self._timeout, verb, count=calls)
        else:
            self._last_errors[verb] = reason_of(error)
            if verb == "write":
                self._tally.writing.begin(f"the store fails to write: {reason_of(error)}")
            self._tally.store_failed(verb, error, calls)

    def troubles(self) -> list[tuple[str | None, float]]:
        """What is wrong, or None, for each thing that may be; and when that began or ended."""
        store = self._executor.store
        last = self._last_errors
        lost = last.get("write") or last.get("coordinate")
        return [
            _of(self.reads, "reads go past the store", "a read failed", last.get("read")),
            _of(self.writes, "writes wait for the store", None, lost),
            self._tally.writing.state_within(self.check.timeout),
            self.check.state,
            self._refusals.state,
            *store.troubles(),
        ]


def _of(
    breaker: CircuitBreaker, opened: str, failed: str | None, last: str | None
) -> tuple[str | None, float]:
    """What a breaker tells: `opened` if it is open; `failed` after a failure that opens none."""
    what = opened if breaker.is_open else failed
    if breaker.is_well:
        return None, breaker.since
    if what is None:
        return None, 0.0
    return what if last is None else f"{what}: {last}", breaker.since

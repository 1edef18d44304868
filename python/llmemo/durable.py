"""The durable tier: a store, behind the thread that runs it and a circuit breaker.

A caller waits for no longer than `store_timeout`, and not at all while the breaker is open. Trouble
is counted, said once a minute, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo.breaker import Breaker
from llmemo.calls import Call, Get, NotYetError, Set
from llmemo.engine import Engine
from llmemo.errors import text_of
from llmemo.leases import acquire, release

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo._core import Memory
    from llmemo.calls import Operation
    from llmemo.stats import Tally
    from llmemo.stores import Record, Store
    from llmemo.stores.leases import Grant

    MakeCall = Callable[[Operation], Call[Any]]


LEASE = 5.0
"""Seconds for which a lease lasts that no model run stands behind; a killed process keeps the
others waiting for no longer."""


class Durable:
    """Reads and writes records, and fails open."""

    def __init__(self, store: Store, tally: Tally, memory: Memory, timeout: float) -> None:
        """See `Engine`; `timeout`: seconds that a caller waits, at most."""
        self.store = store
        self.timeout = timeout
        self.engine = Engine(store, tally, memory, timeout)
        self.breaker = Breaker()
        self._tally = tally

    async def read(self, key: bytes, make_call: MakeCall) -> Record | None:
        """The record of a key; None if there is none, or it cannot be had in time."""
        if self._is_shut(key):
            return None
        try:
            call = make_call(Get(key))
            self.engine.submit(call)
            record: Record | None = await call.wait(self.timeout)
        except Exception as error:  # noqa: BLE001 (a store may fail in any way)
            self.breaker.failed()
            self.survive("read", error)
            return None
        self.breaker.succeeded()
        return record

    async def write(self, operation: Set, make_call: MakeCall) -> bool | None:
        """Write a record. Returns whether it is known to be there; otherwise it stays queued.

        None, if it was refused: another process was given the lease meanwhile.
        """
        if self.breaker.is_open:
            # It gets there when the store does, and nobody waits for that.
            self._send("write", Call.blocking(operation))
            return False
        try:
            call = make_call(operation)
            self.engine.submit(call)
            is_refused = await call.wait(self.timeout)
        except Exception as error:  # noqa: BLE001 (as above)
            self.breaker.failed()
            self.survive("write", error)
            return False
        self.breaker.succeeded()
        return None if is_refused else True

    async def acquire(
        self, key: bytes, make_call: MakeCall, patience: float
    ) -> Grant | Record | None:
        """The right to compute an answer among all processes, or the answer; see `leases`.

        Waits for who computes it elsewhere, for `patience` seconds at most. None: go on without.
        """
        # A store that has just failed to answer is not asked to coordinate.
        if not self.breaker.is_well:
            return None
        try:
            return await acquire(
                self.engine,
                make_call,
                key,
                seconds=LEASE,
                store_timeout=self.timeout,
                patience=patience,
            )
        except Exception as error:  # noqa: BLE001 (as above)
            self.survive("coordinate", error)
            return None

    def keep_alive(self, key: bytes, fence: int, *, is_kept: bool) -> None:
        """Have a lease last for longer than `LEASE`, or no more."""
        if is_kept:
            self.engine.keep_alive(key, fence)
        else:
            self.engine.let_lapse(key, fence)

    def let_go(self, key: bytes, fence: int, failures: int) -> None:
        """End a lease without an answer: see `leases.release`. Waits for nothing."""
        release(self.engine, key, fence, failures)

    def _send(self, verb: str, call: Call[Any]) -> None:
        """Have something done that nobody waits for."""
        try:
            self.engine.submit(call)
        except Exception as error:  # noqa: BLE001 (it may be closed, or find no thread)
            self.survive(verb, error)

    def _is_shut(self, key: bytes) -> bool:
        """Whether to do without the store. Now and then has it asked, without waiting."""
        if not self.breaker.is_open:
            return False
        self._tally.note(
            "errors", "store_shut", "llmemo: the store is not asked for a while: it is in trouble"
        )
        if self.breaker.may_try():
            attempt: Call[Record | None] = Call.blocking(Get(key))
            attempt.when_over(self._tried)
            self._send("read", attempt)
        return True

    def _tried(self, error: Exception | None) -> None:
        if error is None:
            self.breaker.succeeded()

    def survive(self, verb: str, error: Exception) -> None:
        """Count that the store has failed, say it once, go on.

        Called by plain handlers: a context manager took a twentieth of a batched lookup's time.
        """
        if isinstance(error, NotYetError):
            text = "llmemo: the store took longer than %.3g s to %s"
            self._tally.note("errors", f"store_{verb}_timeout", text, self.timeout, verb)
        else:
            text = "llmemo: the store failed to %s: %s"
            self._tally.note("errors", f"store_{verb}", text, verb, text_of(error))

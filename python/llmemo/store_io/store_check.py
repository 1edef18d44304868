"""Asks a store how it is, though no model call needs it: a service may be idle when it breaks."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any

from llmemo import lifecycle
from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.store_io.calls import Call, run_inline
from llmemo.store_io.operations import Get
from llmemo.stores.reasons import reason_of
from llmemo.telemetry.health import Spell

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.store_io.executor import Executor

INTERVAL = 1.0
"""Seconds between two questions, at least, however often `health` is called."""

PATIENCE = 0.025
"""Seconds that `health` waits for the answer, at most: it answers within 50 ms in all."""

SILENCE = 1.0
"""Seconds after which a store without an answer is in trouble, however long calls wait for it."""

STEP = 0.002
"""Seconds between two looks of a task that waits."""


class StoreCheck:
    """Reads a key that no record has, one at a time, and keeps how that went.

    A failure is told by `health` alone: it is no model call's, so it neither counts in `stats` nor
    opens a circuit breaker. An answer closes the breaker of reads.
    """

    def __init__(
        self,
        executor: Executor,
        answered: Callable[[], object],
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask nothing yet. `timeout`: seconds that a model call waits for the store."""
        self._executor = executor
        self._answered = answered
        self.timeout = min(max(timeout, PATIENCE), SILENCE)
        """Seconds after which a store without an answer is in trouble."""
        self._clock = clock
        self._spell = Spell(clock)
        self._asked: tuple[Call[Any], float] | None = None
        """The question that has no answer yet, and when it was asked."""
        self._next = 0.0
        self._key = secrets.token_bytes(32)
        lifecycle.has_lock(self)

    def after_fork_in_child(self) -> None:
        """Wait for no answer to the parent's question."""
        self._asked, self._next = None, 0.0

    @property
    def state(self) -> tuple[str | None, float]:
        """What is wrong, or None; and when that began, by the clock."""
        asked, now = self._asked, self._clock()
        if asked is not None and now - asked[1] > self.timeout:
            self._spell.begin(f"the store does not answer within {self.timeout:.3g} s", asked[1])
        return self._spell.state

    def begin(self) -> bool:
        """Ask, unless that was done just now. Returns whether there is an answer to wait for."""
        now = self._clock()
        if self._asked is not None or now < self._next or self._executor.is_closed:
            return False
        self._next = now + INTERVAL
        call: Call[Any] = Call.blocking(Get([self._key], is_check=True))
        self._asked = call, now
        call.when_over(lambda _, error: self._ended(call, error))
        try:
            self._executor.submit(call, at_once=True)
        except Exception as error:
            if is_interrupt(error):
                raise
            self._ended(call, error)
        return self._asked is not None

    def wait(self) -> None:
        """Wait for the answer, for `PATIENCE` at most, blocking the thread."""
        asked = self._asked
        if asked is None:
            return
        try:
            run_inline(asked[0].wait(PATIENCE))
        except NotYetError:
            return
        except Exception as error:
            if is_interrupt(error):
                raise
            self._ended(asked[0], error)
        else:
            self._ended(asked[0], None)

    async def wait_async(self) -> None:
        """The same for a task. It looks every few ms: the answer comes in another thread."""
        end = self._clock() + PATIENCE
        for _ in range(round(PATIENCE / STEP)):
            if self._asked is None or self._clock() >= end:
                return
            await asyncio.sleep(STEP)

    def _ended(self, call: Call[Any], error: Exception | None) -> None:
        """Note an outcome, in whichever thread it is seen first."""
        asked = self._asked
        if asked is None or asked[0] is not call:
            return
        if error is None:
            self._spell.end()
            self._answered()
        elif not self._executor.is_closed:  # meanwhile, which is no trouble
            self._spell.begin(f"the store fails to answer: {reason_of(error)}")
        self._asked = None

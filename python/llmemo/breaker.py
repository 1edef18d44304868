"""When a store is in trouble nobody waits for it: a circuit breaker.

The pattern is Michael Nygard's ("Release It!", 2007): closed, everything goes through; open, after
some failures in a row, nothing does; half-open, one call at a time tries whether it is well again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llmemo import process
from llmemo.native import RLock

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURES = 5
"""Failures in a row after which it opens."""

FIRST_PAUSE = 0.5
"""Seconds from there to the first attempt; each pause is twice the one before."""

LONGEST_PAUSE = 4.0
"""Seconds between two attempts, at most: a store that is well again is used in less than 10."""


class Breaker:
    """Says whether to ask a store, and is told how it went. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """It is closed. `clock`: seconds that never go back."""
        self._clock = clock
        self._lock = RLock()
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._next = 0.0
        process.has_lock(self)

    def after_fork_in_child(self) -> None:
        """See `process.has_lock`."""
        self._lock = RLock()

    @property
    def is_open(self) -> bool:
        """Whether the store is not to be waited for."""
        return self._failures >= FAILURES

    @property
    def is_well(self) -> bool:
        """Whether the last call was answered."""
        return not self._failures

    def may_try(self) -> bool:
        """While it is open: whether the caller shall see how the store is now, without waiting."""
        with self._lock:
            now = self._clock()
            if not self.is_open or now < self._next:
                return False
            self._next = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            return True

    def hurry(self) -> None:
        """Something speaks for the store: an attempt is due in `FIRST_PAUSE`, at the latest."""
        with self._lock:
            self._next = min(self._next, self._clock() + FIRST_PAUSE)

    def succeeded(self) -> None:
        """The store has answered."""
        if self._failures:
            with self._lock:
                self._failures, self._pause = 0, FIRST_PAUSE

    def failed(self, calls: int = 1) -> bool:
        """So many calls have failed, or waited for too long. Returns whether that opens it."""
        with self._lock:
            was_open = self.is_open
            self._failures += calls
            opens = self.is_open and not was_open
            if opens:
                self._next = self._clock() + self._pause
            return opens

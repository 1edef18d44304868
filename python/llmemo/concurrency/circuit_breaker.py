"""A circuit breaker: while a store is in trouble no caller waits for it.

The pattern is Michael Nygard's ("Release It!", 2007): closed, everything goes through; open, after
some failures in a row, nothing does; half-open, one call at a time tries whether it is well again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURES_TO_OPEN = 5
"""Failures in a row after which it opens."""

FIRST_PAUSE = 0.5
"""Seconds from there to the first attempt; each pause is twice the one before."""

LONGEST_PAUSE = 2.0
"""Seconds between two attempts, at most: a store that is well again is used within 5, by programs
with a lookup a second or more (the attempt is one lookup's, and the next one has its use)."""


class CircuitBreaker:
    """Decides whether a store is asked, by how it went before. From any thread, without a lock.

    What two threads do at once may cost one attempt, or one failure, more or less. A lock could
    stay held, by an exception that a signal handler raises.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin closed. `clock`: monotonic time in seconds."""
        self._clock = clock
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._next = 0.0
        self.since = clock()
        """When the failures began that there are, or the last ones ended, by its clock."""

    @property
    def is_open(self) -> bool:
        """Whether the store is not to be waited for."""
        return self._failures >= FAILURES_TO_OPEN

    @property
    def is_well(self) -> bool:
        """Whether the last call was answered."""
        return not self._failures

    def may_try(self) -> bool:
        """While it is open: whether the caller is to try the store now, without waiting."""
        now, pause, is_open = self._clock(), self._pause, self.is_open
        longer = min(2 * pause, LONGEST_PAUSE)
        # No call from here on, so that no other thread comes in between.
        if not is_open or now < self._next:
            return False
        self._next, self._pause = now + pause, longer
        return True

    def hurry(self) -> None:
        """Make an attempt due in `FIRST_PAUSE` at the latest: something speaks for the store."""
        self._next = min(self._next, self._clock() + FIRST_PAUSE)

    def succeeded(self) -> None:
        """Note that the store has answered."""
        if self._failures:
            self._failures, self._pause = 0, FIRST_PAUSE
            self.since = self._clock()

    def failed(self, calls: int = 1) -> bool:
        """Note that N calls have failed, or timed out. Returns whether that opens it."""
        now = self._clock()
        soonest = now + self._pause
        before = self._failures
        opens = before < FAILURES_TO_OPEN <= before + calls
        if not before:
            self.since = now
        if opens:
            self._next = soonest
        self._failures = before + calls
        return opens

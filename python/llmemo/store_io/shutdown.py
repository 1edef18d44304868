"""How a worker is to end, and the wait of its loops for work until then."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LAST_LOOK = 1.0
"""Least time that a look at the store has when the worker ends, in seconds: the store may be one
that waits for a disk, and ends better by itself."""


class Shutdown:
    """The end of a worker, as other threads ask for it."""

    def __init__(self, collect: Callable[[], None]) -> None:
        """Go on for now. `collect` sorts what was submitted into the queues of the loops."""
        self.is_stopping = False
        """Finish what is queued, then end."""
        self.has_given_up = False
        """End now."""
        self.steps = 0
        """Goes up with each step done: the exit of the process waits while it does."""
        self._hands_over_at = math.inf
        self._collect = collect

    def hand_over(self, seconds: float) -> None:
        """At the end, leave to the next worker what is not written in `seconds`."""
        self._hands_over_at = time.monotonic() + seconds

    @property
    def hands_over(self) -> bool:
        """Whether the next worker goes on with what fails here."""
        return self._hands_over_at < math.inf

    @property
    def is_time_over(self) -> bool:
        """Whether the next worker gets what is left."""
        return time.monotonic() > self._hands_over_at

    @property
    def is_urgent(self) -> bool:
        """Whether an operation that failed is not tried again here."""
        return self.has_given_up or self.hands_over

    async def has_next(self, ready: asyncio.Event, has_work: Callable[[], bool]) -> bool:
        """Wait until there is work. Returns False when there will be none any more."""
        while not self.has_given_up:
            if self.is_stopping:
                # What was queued before the end counts, whether we were woken for it or not.
                self._collect()
            if has_work():
                return True
            if self.is_stopping:
                break
            await ready.wait()
            ready.clear()
        return False


async def end_look(look: asyncio.Task[None], timeout: float) -> None:
    """Wait for a look at the store that is under way when the worker ends.

    After `timeout` seconds, or `LAST_LOOK` if that is longer, it is cancelled.
    """
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(look, max(timeout, LAST_LOOK))

"""Turns: one thread at a time takes a step that others wait for.

A module of its own, so that a look at a thread that waits here tells what it waits for: see
`liveness`.
"""

from __future__ import annotations

import threading
from typing import Any

from llmemo._core import Insisting

PAUSE = 0.1
"""Seconds between two looks at the thread whose turn it is."""


class Turns:
    """A lock, of which it is known which thread has it. A thread never waits for itself."""

    __slots__ = ("_lock", "give_back", "thread")

    def __init__(self) -> None:
        """It is no thread's turn."""
        # One that knows its owner by itself: an exception of a signal handler may come as soon as
        # it is taken.
        self._lock: Any = threading.RLock()
        self.thread = 0
        """The thread whose turn it is, by its number; 0 if it is none's."""
        self.give_back = Insisting(self._give_back)
        """Let others have their turn. Without effect if this thread has none."""

    def take(self) -> bool:
        """Take the next turn, if it is no thread's now. `give_back` has to follow in any case."""
        return not self._lock._is_owned() and self._taken(is_taken=self._lock.acquire(False))  # noqa: SLF001

    def wait(self) -> bool:
        """As `take`, but wait for `PAUSE` seconds at most.

        Raises:
            RuntimeError: This thread has the turn, and would wait for itself.
        """
        if self._lock._is_owned():  # noqa: SLF001 (as `Condition` does)
            msg = "a stream was read by the code that makes it"
            raise RuntimeError(msg)
        return self._taken(is_taken=self._lock.acquire(timeout=PAUSE))

    def _taken(self, *, is_taken: bool) -> bool:
        if is_taken:
            self.thread = threading.get_ident()
        return is_taken

    def _give_back(self) -> None:
        if self._lock._is_owned():  # noqa: SLF001
            self.thread = 0
            self._lock.release()

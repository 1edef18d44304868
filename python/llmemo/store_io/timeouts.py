"""One timer for many who wait: all calls of an event loop that began at about the same time.

A timer for each call, made and cancelled, took a twentieth of a batched lookup's time.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Protocol

from llmemo._core import Insisting

if TYPE_CHECKING:
    import asyncio

SHARED = 0.01
"""Part of its time by which a call may be given up early, since it shares a timer. Never late."""


class Expirable(Protocol):
    """Something with an end to its patience."""

    def expire(self) -> None:
        """It is there. Called in the loop's thread; it may be over already."""


class Deadline:
    """The end of the patience of those in `waiting`, of whom each leaves when it is over."""

    __slots__ = ("__weakref__", "_joinable", "_loop", "_timeout", "_timer", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        """In `timeout` seconds."""
        self._loop = loop
        self._timeout = timeout
        self._joinable = loop.time() + timeout * SHARED
        self.waiting: set[Expirable] = set()
        self._timer = loop.call_later(timeout, Insisting(self._expire))

    def is_for(self, loop: asyncio.AbstractEventLoop, timeout: float) -> bool:
        """Whether another may join who has this patience."""
        return (
            self._loop is loop
            and self._timeout == timeout
            and bool(self.waiting)
            and loop.time() <= self._joinable
        )

    def leave(self, one: Expirable) -> None:
        """It waits no more."""
        waiting = self.waiting
        waiting.discard(one)
        if not waiting:
            self._timer.cancel()

    def _expire(self) -> None:
        # Behind the outcomes that are there: uvloop has timers that are due before these.
        self._loop.call_soon(Insisting(self._give_up))

    def _give_up(self) -> None:
        for one in list(self.waiting):
            one.expire()


class _Last(threading.local):
    deadline: weakref.ref[Deadline] | None = None
    """Of this thread. Weak: its timer keeps it alive, and a loop that is closed must go."""


_last = _Last()


def deadline(loop: asyncio.AbstractEventLoop, timeout: float) -> Deadline:
    """One in `timeout` seconds (1 % less, at most), for who waits in this thread's running loop."""
    reference = _last.deadline
    last = None if reference is None else reference()
    if last is None or not last.is_for(loop, timeout):
        last = Deadline(loop, timeout)
        _last.deadline = weakref.ref(last)
    return last

"""Timers of event loops: one for all calls of a loop that began at about the same time.

A timer for each call, made and cancelled, took a twentieth of a batched lookup's time.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Protocol

from llmemo._core import Insisting

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

SHARED = 0.01
"""Part of its time by which a call may be given up early, since it shares a timer. Never late."""


class Expirable(Protocol):
    """Something that waits for a limited time."""

    def expire(self) -> None:
        """The time is over. Called in the loop's thread; the wait may be over already."""


class Deadline:
    """The time at which all in `waiting` expire. Each leaves when its wait is over."""

    __slots__ = ("__weakref__", "_joinable", "_loop", "_timeout", "_timer", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        """End in `timeout` seconds."""
        self._loop = loop
        self._timeout = timeout
        self._joinable = loop.time() + timeout * SHARED
        self.waiting: set[Expirable] = set()
        self._timer = loop.call_later(timeout, Insisting(self._expire))

    def is_for(self, loop: asyncio.AbstractEventLoop, timeout: float) -> bool:
        """Whether another wait of `timeout` seconds may join."""
        return (
            self._loop is loop
            and self._timeout == timeout
            and bool(self.waiting)
            and loop.time() <= self._joinable
        )

    def leave(self, one: Expirable) -> None:
        """Take one out that waits no more."""
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
    """The last of this thread. Weak: its timer keeps it alive, and a closed loop must go."""


_last = _Last()


def deadline(loop: asyncio.AbstractEventLoop, timeout: float) -> Deadline:
    """A deadline in `timeout` seconds (at most 1 % less) on this thread's running loop."""
    reference = _last.deadline
    last = None if reference is None else reference()
    if last is None or not last.is_for(loop, timeout):
        last = Deadline(loop, timeout)
        _last.deadline = weakref.ref(last)
    return last


class Timer:
    """Calls a function once, at the earliest of the times asked for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, then: Callable[[], None]) -> None:
        """Do nothing until `within`."""
        self._loop = loop
        self._then = then
        self._handle: asyncio.TimerHandle | None = None
        self._is_cancelled = False

    def within(self, seconds: float) -> None:
        """Call the function in `seconds`, or earlier if that was asked for before."""
        handle = self._handle
        if self._is_cancelled or (handle and handle.when() <= self._loop.time() + seconds):
            return
        if handle:
            handle.cancel()
        self._handle = self._loop.call_later(seconds, self._fire)

    def _fire(self) -> None:
        self._handle = None
        self._then()

    def cancel(self) -> None:
        """Never call it again."""
        self._is_cancelled = True
        if self._handle:
            self._handle.cancel()

"""Calls on their way to the private thread, and what wakes it."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from llmemo.store_io.calls import Submission


class Mailbox:
    """Filled from any thread, emptied by one loop. No locks: what it relies on is atomic.

    A signal handler's exception may come between any two instructions. A wake-up that it costs is
    found by the next look of that loop (`is_stale`).
    """

    def __init__(self, woken: Callable[[], object]) -> None:
        """`woken` is called in the `loop` that empties it, when there may be calls."""
        self.calls: deque[Submission[Any]] = deque()
        self.loop: asyncio.AbstractEventLoop | None = None
        """None before it runs, and after."""
        self._woken = woken
        # Loops that will wake ours when their pass is done. Weak: one may close before.
        self._waking: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self._is_woken = False

    def put(self, call: Submission[Any], *, at_once: bool) -> None:
        """Add a call, and see that the loop is woken: at the end of this pass of the caller's loop.

        `at_once`: now, since that pass may bring no other.
        """
        self.calls.append(call)
        if at_once or call.loop is None:
            self._wake_once()
        elif call.loop not in self._waking:
            # One wake-up for all calls of a pass of an event loop: each hands our thread the GIL,
            # which its caller then waits to get back.
            call.loop.call_soon(self._wake_for, call.loop)
            # Afterwards: an exception in between may cost a wake-up for nothing, but not the only.
            self._waking.add(call.loop)

    def take(self) -> list[Submission[Any]]:
        """Empty it."""
        self._is_woken = False
        taken, calls = [], self.calls
        # Near the end two threads may be emptying it.
        with contextlib.suppress(IndexError):
            while calls:
                taken.append(calls.popleft())
        return taken

    def is_stale(self) -> bool:
        """Whether there are calls, whose wake-up may be lost. Asked by the loop now and then."""
        if self.calls:
            self._waking.clear()
        return bool(self.calls)

    def wake(self) -> None:
        """Wake the loop, if there is one."""
        loop = self.loop
        if loop is not None:
            # If it has closed just now, `Worker.submit` takes back what came too late.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._woken)

    def _wake_for(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waking.discard(loop)
        self._wake_once()

    def _wake_once(self) -> None:
        # Our loop clears the flag before it empties the inbox, and appending came first: either
        # that pass sees the call, or the flag is found cleared. Two threads that both find it
        # cleared cost one wake-up for nothing.
        if not self._is_woken:
            try:
                self._is_woken = True
                self.wake()
            except BaseException:
                # A signal handler's. Other threads may rely on this wake-up already.
                self.wake()
                raise

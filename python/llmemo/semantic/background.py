"""A private thread for work that no caller waits for without limit: an embedder's, a judge's."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
import weakref
from typing import TYPE_CHECKING, Protocol, TypeVar

from llmemo.concurrency import private_loop, unpatched
from llmemo.concurrency.monkey_patching import original

if TYPE_CHECKING:
    import _thread
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

STUCK_MAX = 4
"""Threads that may hang in a user's code at the same time. After that no new one takes over."""


class Note(Protocol):
    """Counts an error by reason, and logs it."""

    def __call__(self, reason: str, message: str, *args: object) -> None:
        """`message` and `args` go to the log: they must hold no prompt and no answer."""


class Loop:
    """An event loop that a thread makes when it first needs one, and keeps.

    Async clients keep their connections in the loop that made them: each call needs the same one.
    """

    def __init__(self) -> None:
        """Make no loop yet."""
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, awaitable: Awaitable[T], timeout: float) -> T:
        """Run something async to its end in this thread, for `timeout` seconds at most.

        Raises:
            TimeoutError: It takes longer; it is cancelled.
            Exception: What it raises.
        """
        if self._loop is None:
            self._loop = private_loop.new()
        try:
            return self._loop.run_until_complete(_within(awaitable, timeout))
        except asyncio.TimeoutError as error:  # the built-in one since Python 3.11 only
            raise TimeoutError from error

    def close(self) -> None:
        """Close the loop, if there is one."""
        if self._loop is not None:
            private_loop.close(self._loop)


async def _within(awaitable: Awaitable[T], timeout: float) -> T:
    return await asyncio.wait_for(awaitable, timeout)


class _Shift:
    """One thread: how it is woken, and since when it works."""

    def __init__(self) -> None:
        self.has_thread: _thread.LockType = original("_thread", "allocate_lock")()
        """Held by the thread."""
        # A lock in C, as a binary semaphore: no exception of a signal handler leaves it half done.
        self._wake: _thread.LockType = original("_thread", "allocate_lock")()
        self._wake.acquire()
        self.begun: float | None = None
        """When its present step began, in seconds of the clock."""
        self.is_over = False
        self._next: dict[None, _Shift] = {}

    def wake(self) -> None:
        """Have the thread look for work."""
        with contextlib.suppress(RuntimeError):  # it was told already
            self._wake.release()

    def wait(self) -> None:
        """Until it is woken."""
        self._wake.acquire()

    def successor(self) -> _Shift:
        """The shift after this one: the same for all who ask."""
        return self._next.setdefault(None, _Shift())

    def end(self) -> None:
        """End the thread after its present step."""
        self.is_over = True
        self.wake()


class Background:
    """Does steps of work on a private daemon thread, which the first wake-up starts.

    The thread never keeps the process alive. While idle it holds no reference to the owner of the
    work, and ends with it. A step that hangs for `patience` seconds loses its place: the next
    wake-up starts another thread. No lock is held over Python code, since an exception of a signal
    handler could leave it held.
    """

    def __init__(
        self,
        step: Callable[[Loop], bool],
        patience: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start no thread yet.

        Args:
            step: A bound method that does some of the work, and returns whether there is more. It
                raises nothing.
            patience: Seconds after which a step counts as stuck.
            clock: Monotonic time in seconds.
        """
        self._step = weakref.WeakMethod(step)
        self._patience = patience
        self._clock = clock
        self._is_closed = False
        self._begin()
        owner: object = step.__self__  # type: ignore[attr-defined]
        weakref.finalize(owner, self.close).atexit = False

    def _begin(self) -> None:
        self._shift = _Shift()
        self._stuck: set[_Shift] = set()

    def after_fork_in_child(self) -> None:
        """Forget the parent's threads: a fork does not copy them."""
        self._begin()

    @property
    def is_working(self) -> bool:
        """Whether a step is under way."""
        return self._shift.begun is not None

    @property
    def is_stuck(self) -> bool:
        """Whether the present step hangs."""
        begun = self._shift.begun
        return begun is not None and self._clock() - begun > self._patience

    def wake(self) -> bool:
        """Have the thread do what there is to do. Returns whether there is a thread for it.

        There is none once it is closed, at the interpreter's end, or where too many are stuck.
        """
        if self._is_closed or sys.is_finalizing():
            return False
        if self.is_stuck and not self._replace():
            return False
        shift = self._shift
        if shift.is_over:  # what replaced it was interrupted
            self._shift = shift = shift.successor()
        if not shift.has_thread.locked():
            try:
                unpatched.RealThread(_Work(self._step, shift, self._stuck, self._clock)).start()
            except RuntimeError:  # at the interpreter's end
                return False
        shift.wake()
        return True

    def _replace(self) -> bool:
        """Leave a stuck thread to itself. Returns whether another may take its place."""
        old = self._shift
        if len(self._stuck) >= STUCK_MAX:
            return False
        self._stuck.add(old)
        old.end()
        self._shift = old.successor()
        if old.begun is None:
            self._stuck.discard(old)  # it has just ended
        return True

    def close(self) -> None:
        """End the thread after its present step, without waiting for it."""
        self._is_closed = True
        self._shift.end()


class _Work:
    """What the thread runs. Apart from `Background`, which must not be kept alive by it."""

    def __init__(
        self,
        step: weakref.WeakMethod[Callable[[Loop], bool]],
        shift: _Shift,
        stuck: set[_Shift],
        clock: Callable[[], float],
    ) -> None:
        self._step, self._shift, self._stuck, self._clock = step, shift, stuck, clock

    def __call__(self) -> None:
        # Two may have been started at once.
        if not self._shift.has_thread.acquire(False):
            return
        loop = Loop()
        try:
            if not self._shift.is_over:  # one that was started late would wait for ever
                self._shift.wait()
            while not self._shift.is_over and self._do(loop):
                pass
        finally:
            self._stuck.discard(self._shift)
            self._shift.has_thread.release()
            loop.close()

    def _do(self, loop: Loop) -> bool:
        """One step, then wait unless there is more. Returns whether the owner is there."""
        step = self._step()
        if step is None:
            return False
        self._shift.begun = self._clock()
        try:
            has_more = step(loop)
        finally:
            self._shift.begun = None
        # The owner must be free to go.
        del step
        if not has_more:
            self._shift.wait()
        return True

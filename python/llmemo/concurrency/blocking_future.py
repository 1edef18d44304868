"""Where a blocking caller waits for an outcome: what an `asyncio.Future` is for a task."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any

from llmemo.concurrency import unpatched
from llmemo.concurrency.monkey_patching import patched_by

if TYPE_CHECKING:
    from collections.abc import Callable


class NotYetError(TimeoutError):
    """A caller's patience is at its end; the operation goes on."""


_LEFT: Any = ()
"""Stands for an outcome where the caller has left."""


class BlockingFuture:
    """Where a thread waits for an outcome: what an `asyncio.Future` is for a task.

    Not a `concurrent.futures.Future`: an exception that a signal handler raises may leave the lock
    of its condition held, and the setter of its outcome then waits for ever. Here there is
    nothing to hold: the outcome is the first one to be put down, and then the lock is opened.
    """

    __slots__ = ("_callbacks", "_lock", "_outcomes")

    def __init__(self) -> None:
        """There is no outcome."""
        self._outcomes: dict[None, Any] = {}
        self._callbacks: list[Callable[[Any], object]] = []
        self._lock = threading.Lock()
        self._lock.acquire()

    def done(self) -> bool:
        """Whether there is an outcome, or no caller waits for one."""
        return bool(self._outcomes)

    def set_result(self, outcome: Any) -> None:
        """Put the outcome down, unless there is one; should that be this, it is told again."""
        if self._outcomes.setdefault(None, outcome) is not outcome:
            raise asyncio.InvalidStateError
        try:  # noqa: SIM105 (which would take longer than the rest)
            self._lock.release()
        except RuntimeError:
            pass  # it is open
        while self._callbacks:
            self._callbacks.pop()(outcome)

    def cancel(self) -> bool:
        """Leave. Returns whether there was no outcome yet."""
        return self._outcomes.setdefault(None, _LEFT) is _LEFT

    def cancelled(self) -> bool:
        """Whether the caller has left."""
        return self._outcomes.get(None) is _LEFT

    def result(self) -> Any:
        """The outcome."""
        return self._outcomes[None]

    def wait(self, timeout: float) -> Any:
        """The outcome, within `timeout` seconds.

        Raises:
            NotYetError: There is none yet.
        """
        if not self._outcomes:
            self._lock.acquire(timeout=max(0.0, min(timeout, threading.TIMEOUT_MAX)))
            # Not what that returned: the outcome may have come just now.
            if not self._outcomes:
                raise NotYetError
        return self._outcomes[None]

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Have it called with the outcome, before there is one."""
        self._callbacks.append(callback)


class GreenletFuture:
    """The same, for a greenlet as well as a thread: by a future that parks the waiter.

    gevent's own rules decide how it survives an exception from a signal handler, not those of
    `BlockingFuture`.
    """

    __slots__ = ("_future",)

    def __init__(self) -> None:
        """There is no outcome."""
        self._future = unpatched.future()

    def done(self) -> bool:
        """See `BlockingFuture.done`."""
        return self._future.done()

    def set_result(self, outcome: Any) -> None:
        """See `BlockingFuture.set_result`."""
        try:
            self._future.set_result(outcome)
        except concurrent.futures.InvalidStateError:
            if self._future.cancelled() or self._future.result() is not outcome:
                raise asyncio.InvalidStateError from None

    def cancel(self) -> bool:
        """See `BlockingFuture.cancel`."""
        return self._future.cancel()

    def cancelled(self) -> bool:
        """See `BlockingFuture.cancelled`."""
        return self._future.cancelled()

    def result(self) -> Any:
        """See `BlockingFuture.result`."""
        return self._future.result()

    def wait(self, timeout: float) -> Any:
        """See `BlockingFuture.wait`."""
        try:
            return self._future.result(min(timeout, threading.TIMEOUT_MAX))
        except concurrent.futures.TimeoutError:
            raise NotYetError from None

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """See `BlockingFuture.add_done_callback`."""

        def tell(done: concurrent.futures.Future[Any]) -> None:
            if not done.cancelled():
                callback(done.result())

        self._future.add_done_callback(tell)


def blocking_future() -> BlockingFuture | GreenletFuture:
    """As the calling thread has to wait."""
    return BlockingFuture() if patched_by() is None else GreenletFuture()

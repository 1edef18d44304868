"""Waits of callers: a greenlet parks itself, a thread blocks.

A real lock would stop the hub, and with it every other greenlet of the system thread.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from typing import Any, Protocol

from llmemo.concurrency.monkey_patching import original, patched_by


class Waker(Protocol):
    """One wait. Made, waited with and closed by the waiter; woken from any thread, under a lock."""

    def wait(self, timeout: float | None) -> None:
        """Until it is woken, or for `timeout` seconds."""

    def wake(self) -> None:
        """End the wait, or the one to come."""

    def close(self) -> None:
        """Free what it holds: nothing wakes it any more."""


class _LockWaker:
    """Blocks the system thread."""

    def __init__(self) -> None:
        self._lock = original("_thread", "allocate_lock")()
        self._lock.acquire()

    def wait(self, timeout: float | None) -> None:
        self._lock.acquire(True, -1 if timeout is None else timeout)

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # woken already
            self._lock.release()

    def close(self) -> None:
        pass


class _GeventWaker:
    """Parks the greenlet; the hub goes on. By the one thing of gevent's that is thread-safe."""

    def __init__(self) -> None:
        gevent = sys.modules["gevent"]
        hub = gevent.get_hub()
        self._timeout = gevent.Timeout
        self._waiter = sys.modules["gevent.hub"].Waiter(hub)
        self._watcher = hub.loop.async_()
        # Before the lock is let go of: one that is not started yet is not woken.
        self._watcher.start(self._waiter.switch, None)

    def wait(self, timeout: float | None) -> None:
        timer = self._timeout.start_new(timeout)
        try:
            self._waiter.get()
        except self._timeout as late:
            if late is not timer:
                raise
        finally:
            timer.close()

    def wake(self) -> None:
        self._watcher.send()

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()


class _EventletWaker:
    """Parks the greenlet until a byte arrives: eventlet has nothing that is thread-safe."""

    def __init__(self) -> None:
        # `_socket`: never green.
        pair = importlib.import_module("_socket").socketpair
        self._awaited, self._woken = pair()

    def wait(self, timeout: float | None) -> None:
        late = type("Late", (BaseException,), {})
        with contextlib.suppress(late):
            sys.modules["eventlet.hubs"].trampoline(
                self._awaited.fileno(), read=True, timeout=timeout, timeout_exc=late
            )

    def wake(self) -> None:
        self._woken.send(b"\0")

    def close(self) -> None:
        self._awaited.close()
        self._woken.close()


def waker() -> Waker:
    """As the calling thread has to wait."""
    library = patched_by()
    if library == "gevent" and not _is_hub(sys.modules["gevent"].get_hub()):
        return _GeventWaker()
    if library == "eventlet" and not _is_hub(sys.modules["eventlet.hubs"].get_hub().greenlet):
        return _EventletWaker()
    return _LockWaker()


def _is_hub(hub: Any) -> bool:
    """Whether a hub runs its own callbacks: it has nowhere to switch to."""
    return bool(sys.modules["greenlet"].getcurrent() is hub)

"""What must be real where gevent or eventlet has patched the standard library.

    patched threads (greenlets of one system thread)        the private thread, a real one
    ────────────────────────────────────────────────        ──────────────────────────────
    Call.wait ── parks the greenlet, the hub runs on        an event loop with a real selector
      ▲                                                       │
      └──── async watcher (gevent), socket (eventlet) ◄───────┘ notify_all

After `gevent.monkey.patch_all()` a `threading.Thread` is a greenlet, and an event loop in it would
be the running loop of its whole system thread: no other `asyncio.run` could start there. So the
private thread and those of its connections are started by the functions that were there before the
patch. Whatever waits for them must park its greenlet: a real lock would stop the hub, and every
other greenlet with it.

`patching` says whether there is a patch, `wakers` how to wait, `private_loop` has the loop.
"""

from __future__ import annotations

import _queue
import _thread
import concurrent.futures
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, cast

from llmemo.concurrency.monkey_patching import original, patched_by
from llmemo.concurrency.wakers import Waker, waker

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiosqlite

RLock = _thread.RLock
"""Neither library patches the class in C. Owned by a system thread: hold it for no switch."""


class _Thread(Protocol):
    """What the private thread has to be able to do: a `threading.Thread`, or a `RealThread`."""

    def start(self) -> None:
        """Begin."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended."""

    def is_alive(self) -> bool:
        """Whether it runs."""


class Condition:
    """As much of `threading.Condition` as a `Future` uses, for greenlets and real threads."""

    def __init__(self) -> None:
        """Begin without waiters."""
        self._lock = RLock()
        self._wakers: list[Waker] = []

    def __enter__(self) -> bool:
        """Take the lock, which is held for a moment only."""
        return self._lock.__enter__()

    def __exit__(self, *_: object) -> None:
        """Let go of it."""
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait to be notified, under the lock, which is let go of meanwhile. Whether it was."""
        mine = waker()
        self._wakers.append(mine)
        self._lock.release()
        try:
            mine.wait(timeout)
        finally:
            self._lock.acquire()
            is_late = mine in self._wakers
            if is_late:
                self._wakers.remove(mine)
            mine.close()
        return not is_late

    def notify_all(self) -> None:
        """Wake all that wait, under the lock."""
        wakers, self._wakers = self._wakers, []
        for one in wakers:
            one.wake()


def future() -> concurrent.futures.Future[Any]:
    """A future for which a greenlet waits as well as a thread, and that any real thread sets."""
    made: concurrent.futures.Future[Any] = concurrent.futures.Future()
    if patched_by() is not None:
        # A patched lock may not be contended for by two system threads, on every version.
        made._condition = cast("threading.Condition", Condition())  # noqa: SLF001
    return made


class RealThread:
    """A thread of the system's, whatever `threading.Thread` is now. Ends with the process."""

    def __init__(self, target: Callable[[], object]) -> None:
        """To run `target`."""
        self._target = target
        self._over = Condition()
        self._is_alive = False
        self._ident: int | None = None

    def start(self) -> None:
        """See `threading.Thread.start`."""
        self._is_alive = True
        try:
            original("_thread", "start_new_thread")(self._run, ())
        except BaseException:
            self._is_alive = False
            raise

    def is_alive(self) -> bool:
        """See `threading.Thread.is_alive`."""
        return self._is_alive

    def join(self, timeout: float | None = None) -> None:
        """See `threading.Thread.join`: a greenlet that waits holds up no other."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._over:
            while self._is_alive:
                rest = None if end is None else end - time.monotonic()
                if rest is not None and rest <= 0:
                    return
                self._over.wait(rest)

    def is_current(self) -> bool:
        """Whether this code runs in it."""
        return bool(original("_thread", "get_ident")() == self._ident)

    def _run(self) -> None:
        self._ident = original("_thread", "get_ident")()
        try:
            self._target()
        finally:
            if patched_by() == "gevent":
                # Patched sockets have made one for this thread, with a file of its own.
                sys.modules["gevent"].get_hub().destroy(destroy_loop=True)
            with self._over:
                self._is_alive = False
                self._over.notify_all()


def thread(target: Callable[[], object], name: str) -> _Thread:
    """A daemon thread that is real."""
    if patched_by() is None:
        return threading.Thread(target=target, name=name, daemon=True)
    return RealThread(target)


def is_current(thread: _Thread) -> bool:
    """Whether this code runs in that thread."""
    if isinstance(thread, RealThread):
        return thread.is_current()
    return thread is threading.current_thread()


def with_real_thread(connection: aiosqlite.Connection) -> aiosqlite.Connection:
    """A connection that was not awaited yet, with a thread and a queue that are real.

    By private names, of aiosqlite 0.22 and of those before: it has no other way.
    """
    if patched_by() is None:
        return connection
    queue: Any = _queue.SimpleQueue()
    opened: Any = connection
    opened._tx = queue  # noqa: SLF001
    work = getattr(sys.modules["aiosqlite.core"], "_connection_worker_thread", None)
    if work is None:
        opened.start = RealThread(opened.run).start
    else:
        opened._thread = RealThread(lambda: work(queue))  # noqa: SLF001
    return connection

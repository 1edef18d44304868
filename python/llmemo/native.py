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

Which library has patched what is looked up at each use: a process may patch before it imports
llmemo, after it, or after it made a cache. A library that the process has not imported is never
imported here.
"""

from __future__ import annotations

import _queue
import _thread
import asyncio
import concurrent.futures
import contextlib
import importlib
import math
import selectors
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Coroutine

    import aiosqlite
    from _typeshed import FileDescriptorLike

T = TypeVar("T")

POLLIN, POLLOUT = 1, 4
"""Not in `select` where it is patched; the same on every system (poll.h)."""

RLock = _thread.RLock
"""Neither library patches the class in C. Owned by a system thread: hold it for no switch."""

PATCHED = {"gevent": "gevent.monkey", "eventlet": "eventlet.patcher"}
"""Libraries that patch the standard library, and the module that does it."""


class _Thread(Protocol):
    """What the private thread has to be able to do: a `threading.Thread`, or a `RealThread`."""

    def start(self) -> None:
        """Begin."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended."""

    def is_alive(self) -> bool:
        """Whether it runs."""


def patched_by() -> str | None:
    """The library that has patched threads in this process: "gevent", "eventlet", or None."""
    monkey = sys.modules.get("gevent.monkey")
    # Half-imported, it has patched nothing yet.
    is_patched = getattr(monkey, "is_module_patched", None)
    if is_patched is not None and (is_patched("threading") or is_patched("selectors")):
        return "gevent"
    patcher = sys.modules.get("eventlet.patcher")
    is_patched = getattr(patcher, "is_monkey_patched", None)
    if is_patched is not None and (is_patched("thread") or is_patched("select")):
        return "eventlet"
    return None


def _original(module: str, name: str) -> Any:
    """A name of the standard library as it was before the patch."""
    library = patched_by()
    if library == "gevent":
        return sys.modules[PATCHED[library]].get_original(module, name)
    if library == "eventlet":
        return getattr(sys.modules[PATCHED[library]].original(module), name)
    return getattr(importlib.import_module(module), name)


class _Waker(Protocol):
    """One wait. Made, waited with and closed by the waiter; woken from any thread, under a lock."""

    def wait(self, timeout: float | None) -> None:
        """Until it is woken, or for `timeout` seconds."""

    def wake(self) -> None:
        """End the wait, or the one to come."""

    def close(self) -> None:
        """Nothing wakes it any more."""


class _LockWaker:
    """Blocks the system thread."""

    def __init__(self) -> None:
        self._lock = _original("_thread", "allocate_lock")()
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


def _waker() -> _Waker:
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


class Condition:
    """As much of `threading.Condition` as a `Future` uses, for greenlets and real threads."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._lock = RLock()
        self._wakers: list[_Waker] = []

    def __enter__(self) -> bool:
        """Take the lock, which is held for a moment only."""
        return self._lock.__enter__()

    def __exit__(self, *_: object) -> None:
        """Let go of it."""
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait to be notified, under the lock, which is let go of meanwhile. Whether it was."""
        waker = _waker()
        self._wakers.append(waker)
        self._lock.release()
        try:
            waker.wait(timeout)
        finally:
            self._lock.acquire()
            is_late = waker in self._wakers
            if is_late:
                self._wakers.remove(waker)
            waker.close()
        return not is_late

    def notify_all(self) -> None:
        """Wake all that wait, under the lock."""
        wakers, self._wakers = self._wakers, []
        for waker in wakers:
            waker.wake()


def future() -> concurrent.futures.Future[Any]:
    """A future for which a greenlet waits as well as a thread, and that any real thread sets."""
    made: concurrent.futures.Future[Any] = concurrent.futures.Future()
    if patched_by() is not None:
        # A patched lock may not be contended for by two system threads, on every version.
        made._condition = cast("threading.Condition", Condition())  # noqa: SLF001
    return made


class Event:
    """As much of `threading.Event` as a worker uses; `wait` blocks the system thread."""

    def __init__(self) -> None:
        """Not set."""
        self._is_set = False
        self._unset = _original("_thread", "allocate_lock")()
        self._unset.acquire()

    def is_set(self) -> bool:
        """See `threading.Event.is_set`."""
        return self._is_set

    def set(self) -> None:
        """See `threading.Event.set`. Without effect the second time."""
        self._is_set = True
        with contextlib.suppress(RuntimeError):
            self._unset.release()

    def wait(self, timeout: float | None = None) -> bool:
        """See `threading.Event.wait`."""
        if not self._is_set and self._unset.acquire(True, -1 if timeout is None else timeout):
            # For the next who waits.
            self._unset.release()
        return self._is_set


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
            _original("_thread", "start_new_thread")(self._run, ())
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
        return bool(_original("_thread", "get_ident")() == self._ident)

    def _run(self) -> None:
        self._ident = _original("_thread", "get_ident")()
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


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in a real thread: with a selector that waits for the system, not a hub."""
    if patched_by() is None:
        return asyncio.run(main)
    loop = asyncio.SelectorEventLoop(_selector())
    try:
        return loop.run_until_complete(main)
    finally:
        try:
            for task in asyncio.all_tasks(loop):
                task.cancel()
                with contextlib.suppress(BaseException):
                    loop.run_until_complete(task)
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


def _selector() -> selectors.BaseSelector:
    if patched_by() == "eventlet":
        # Its original `selectors` is one that was imported with its own `select`.
        return PollSelector(_original("select", "poll")())
    return cast("selectors.BaseSelector", _original("selectors", "DefaultSelector")())


class PollSelector(selectors.BaseSelector):
    """As `selectors.PollSelector`, which eventlet removes."""

    def __init__(self, poll: select.poll) -> None:
        """Of a real `select.poll()`."""
        self._poll = poll
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        """See `selectors.BaseSelector.register`."""
        file = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = selectors.SelectorKey(fileobj, file, events, data)
        wanted = [POLLIN] * bool(events & selectors.EVENT_READ)
        wanted += [POLLOUT] * bool(events & selectors.EVENT_WRITE)
        self._poll.register(file, sum(wanted))
        self._keys[file] = key
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """See `selectors.BaseSelector.unregister`."""
        file = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._poll.unregister(file)
        return self._keys.pop(file)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector.select`."""
        # Rounded up: a timer is not to be found too early again and again.
        wait = None if timeout is None else math.ceil(max(timeout, 0.0) * 1e3)
        ready = []
        for file, found in self._poll.poll(wait):
            key = self._keys[file]
            events = selectors.EVENT_READ * bool(found & ~POLLOUT)
            events |= selectors.EVENT_WRITE * bool(found & ~POLLIN)
            ready.append((key, events & key.events))
        return ready

    def get_map(self) -> dict[int, selectors.SelectorKey]:  # type: ignore[override]
        """See `selectors.BaseSelector.get_map`."""
        return self._keys


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

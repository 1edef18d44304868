"""Which threads, tasks and futures get on, and which stand still: read off frames and futures.

A caller that waits for another's answer may sit in what the holder needs: the last thread of a
pool, or the thread that the holder has asked and waits for. Nothing announces that, so this looks.
It follows what each one waits for, down to something that computes or waits for the network (it
gets on) or to a caller that waits at this cache, a job that waits for such a caller's thread, or an
event of unknown origin (it stands still).

Much of this is private to CPython, asyncio and anyio, and is only read. Where it is missing, a
thread or task is taken to get on if it shows no wait, and to stand still if it shows one that
cannot be followed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import concurrent.futures.thread
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from llmemo.single_flight.turns import Turns
from llmemo.store_io.calls import Call
from llmemo.store_io.operations import Follow, Join

if TYPE_CHECKING:
    import weakref
    from collections.abc import Iterable, Iterator
    from types import FrameType

Holder: TypeAlias = "int | weakref.ref[asyncio.Task[Any]] | Turns"
"""The holder of a lease: a thread, by its number, a task, or the turns of a stream's readers."""

_WAITING = frozenset(
    {
        "threading",
        "queue",
        "concurrent.futures._base",
        "llmemo.concurrency.blocking_future",
        "llmemo.single_flight.turns",
    }
)
"""Modules that have the functions in which Python threads wait for each other."""

_JOINS = frozenset({"join", "_wait_for_tstate_lock"})
_RESULTS = frozenset({"result", "exception"})

_LINKS = ("source", "inner")
"""What a callback of a future calls the future that this one is waiting for: those that
`asyncio.wrap_future` and `run_coroutine_threadsafe` add, and that of `asyncio.shield`."""

_GROUPS = (list, tuple, set, frozenset, dict)
"""Of futures, which can be looked at without using them up."""

_WAIT = Call.wait.__code__
_RUN = getattr(getattr(concurrent.futures.thread, "_WorkItem", None), "run", None)
_RUN_JOB = getattr(_RUN, "__code__", None)


class Tick:
    """A sign of life of an event loop."""

    __slots__ = ("is_answered", "sent")

    def __init__(self) -> None:
        """It is asked for."""
        self.sent = time.monotonic()
        self.is_answered = False

    def answer(self) -> None:
        """It is there. Called on the loop."""
        self.is_answered = True


class Look:
    """One look at the process. It is cheap, and for a few milliseconds only."""

    def __init__(self, *, is_follower_still: bool = False) -> None:
        """Look now.

        Args:
            is_follower_still: Whether a thread that waits for another process's answer stands
                still; otherwise it gets on, by that process.
        """
        self._frames = sys._current_frames()  # noqa: SLF001 (documented, for finding deadlocks)
        # The caller waits, though at the moment it looks. (Nor would its frame be free again.)
        self._me = threading.get_ident()
        self._frames.pop(self._me, None)
        self._is_follower_still = is_follower_still
        # By identity. What is entered again before it is known waits for itself.
        self._known: dict[int, bool] = {} if (task := _running()) is None else {id(task): False}
        # So that no identity is used a second time meanwhile.
        self._kept: list[object] = []

    def gets_on(self, one: object) -> bool:
        """Whether a thread (by its number), a task or a future gets on, or is done."""
        known = self._known.get(id(one))
        if known is None:
            self._kept.append(one)
            self._known[id(one)] = False
            known = self._known[id(one)] = self._gets_on(one)
        return known

    def is_crowded(self) -> bool:
        """Whether jobs wait for the threads of some pool while one of these stands still."""
        return any(queue.qsize() and not self.gets_on(one) for one, queue in _workers())

    def _gets_on(self, one: object) -> bool:
        if isinstance(one, threading.Thread):
            # The number of one that has ended may be another's now.
            return not one.is_alive() or self._thread(one.ident or 0)
        if isinstance(one, Turns):
            one = one.thread
        if isinstance(one, int):
            return self._thread(one)
        if isinstance(one, asyncio.Task):
            return one.done() or self._task(one)
        if asyncio.isfuture(one):
            return one.done() or self._all(_linked(one))
        if isinstance(one, concurrent.futures.Future):
            return one.done() or self._job(one)
        return True

    def _all(self, awaited: Iterable[object]) -> bool:
        return all(self.gets_on(one) for one in awaited)

    def _thread(self, number: int) -> bool:
        # Between two turns (0), those who take them do something else, for however long.
        if number in {0, self._me}:
            return False
        # One that is not among the frames has ended, or has not begun.
        frame = self._frames.get(number)
        awaited: list[object] | None = None
        is_waiting = False
        while frame is not None and frame.f_globals.get("__name__") in _WAITING:
            is_waiting = True
            if awaited is None:
                awaited = _awaited_by(frame)
            frame = frame.f_back
        if not is_waiting or frame is None:
            return True
        if frame.f_code is _WAIT:
            return self._call(frame)
        return awaited is not None and self._all(awaited)

    def _call(self, frame: FrameType) -> bool:
        """Whether a caller in `Call.wait` gets on. For a store it does: its thread is our own."""
        operation = getattr(frame.f_locals.get("self"), "operation", None)
        if isinstance(operation, Follow):
            return not self._is_follower_still
        return not isinstance(operation, Join)

    def _job(self, future: concurrent.futures.Future[Any]) -> bool:
        if _runs(sys._getframe(), future):  # noqa: SLF001 (documented)
            return False
        for number, frame in self._frames.items():
            if _runs(frame, future):
                return self._thread(number)
        linked = _linked(future)
        if linked:
            return self._all(linked)
        if future.running():
            return True  # by something else than a pool of threads
        # Its pool cannot be told. If no pool has a queue, this is of an unknown kind.
        return any(queue.qsize() for _, queue in _workers()) and not self.is_crowded()

    def _task(self, task: asyncio.Task[Any]) -> bool:
        for frame in _suspended(task.get_coro()):
            if frame.f_code is _WAIT and not self._call(frame):
                return False
            module = str(frame.f_globals.get("__name__"))
            if module.startswith("anyio.") and frame.f_code.co_name == "acquire_on_behalf_of":
                # For a thread of anyio's, whose number is limited.
                return not self._is_limited()
            if module.startswith(("asyncio.", "anyio.")) and not self._all(_gathered(frame)):
                return False
        return self.gets_on(getattr(task, "_fut_waiter", None))

    def _is_limited(self) -> bool:
        """Whether a thread of anyio's stands still."""
        threads = [one for one in threading.enumerate() if type(one).__module__.startswith("anyio")]
        return not self._all(threads)


def _running() -> asyncio.Task[Any] | None:
    """The task that looks: it shows no wait at the moment."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _workers() -> list[tuple[threading.Thread, Any]]:
    """The threads of all pools, and the queues of what they are to do."""
    return list(getattr(concurrent.futures.thread, "_threads_queues", {}).items())


def _awaited_by(frame: FrameType) -> list[object] | None:
    """What a function that blocks the thread waits for; None if this frame does not tell."""
    name, here = frame.f_code.co_name, frame.f_locals
    me = here.get("self")
    if isinstance(me, Turns):
        return [me]
    if isinstance(me, threading.Thread) and name in _JOINS:
        return [me]
    if isinstance(me, concurrent.futures.Future) and name in _RESULTS:
        return [me]
    if name in {"wait", "as_completed"} and isinstance(here.get("fs"), _GROUPS):
        return list(here["fs"])
    return None


def _runs(frame: FrameType | None, future: concurrent.futures.Future[Any]) -> bool:
    """Whether the thread of this frame runs a pool's job."""
    while frame is not None:
        if frame.f_code is _RUN_JOB:
            return getattr(frame.f_locals.get("self"), "future", None) is future
        frame = frame.f_back
    return False


def _linked(future: Any) -> list[object]:
    """The futures whose outcome this one is to have."""
    linked = list(getattr(future, "_children", ()))
    callbacks = getattr(future, "_done_callbacks", None) or getattr(future, "_callbacks", None)
    for callback in callbacks or ():
        function = callback[0] if isinstance(callback, tuple) else callback
        names = getattr(getattr(function, "__code__", None), "co_freevars", ())
        cells = dict(zip(names, getattr(function, "__closure__", None) or (), strict=False))
        # Any other function may have variables of these names: what is no future gets on.
        linked += [cells[name].cell_contents for name in _LINKS if name in cells]
    return linked


def _suspended(coroutine: Any) -> Iterator[FrameType]:
    """The frames of a coroutine and of those that it awaits, the outermost first."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None:
            yield frame
        coroutine = getattr(coroutine, "cr_await", None)


def _gathered(frame: FrameType) -> list[object]:
    """The tasks that a function of asyncio's or anyio's has begun and waits for."""
    here = frame.f_locals
    awaited = [here.get("fut")]
    for group in (here.get("fs"), getattr(here.get("self"), "_tasks", None)):
        if isinstance(group, _GROUPS):
            awaited += group
    return awaited

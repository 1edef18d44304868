"""Waits and steps that an exception of a signal handler cannot leave half done.

Python runs signal handlers on the main thread, between any two instructions of any Python code
there: the standard library's, too. `threading.Event` and `Thread.start` wait by a condition whose
lock stays held if that happens at a bad moment, and the thread at the other end stands still for
ever. So what two threads share here is made of steps in C, or done by a thread of its own.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import signal
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from llmemo.concurrency.monkey_patching import original

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

T = TypeVar("T")


class Latch:
    """Opened once, for all waiters. As a `threading.Event`, without a lock of its own."""

    def __init__(self) -> None:
        """Begin shut."""
        self._is_open = False
        self._waiting: deque[threading.Lock] = deque()

    def is_set(self) -> bool:
        """Whether it is open."""
        return self._is_open

    def set(self) -> None:
        """Open it."""
        self._is_open = True
        with contextlib.suppress(IndexError):
            while True:
                self._waiting.popleft().release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for `timeout` seconds, or for ever. Returns whether it is open."""
        if not self._is_open:
            # A real lock, even if a library has patched locks: a real thread releases it.
            mine = original("_thread", "allocate_lock")()
            mine.acquire()
            self._waiting.append(mine)
            # It may have been opened before that one was seen.
            if not self._is_open:
                longest = threading.TIMEOUT_MAX if timeout is None else max(0.0, timeout)
                mine.acquire(timeout=min(longest, threading.TIMEOUT_MAX))
        return self._is_open


def is_interrupt(error: BaseException) -> bool:
    """Whether a signal handler has raised this: such as Celery's soft time limit, an `Exception`.

    Its traceback tells: it came through a handler that is set now, or through a function that was
    called with a signal's number and the interrupted frame. Such an error is for the caller; the
    cache survives all others.
    """
    step, handlers = error.__traceback__, _handlers()
    while step is not None:
        frame = step.tb_frame
        if frame.f_code in handlers:
            return True
        given = _arguments(frame)
        # Any two arguments in a row: the handler may be a method.
        for number, interrupted in itertools.pairwise(given):
            # (By its type: an object of the caller's may raise when its `__class__` is read.)
            if issubclass(type(number), int) and interrupted is frame.f_back is not None:
                return True
        step = step.tb_next
    return False


def _handlers() -> set[object]:
    """The code of all signal handlers that are set."""
    found: set[object] = set()
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while isinstance(handler, functools.partial):
            handler = handler.func
        for one in (handler, vars(type(handler)).get("__call__")):
            found.add(getattr(getattr(one, "__func__", one), "__code__", None))
    return found - {None}


def _arguments(frame: FrameType) -> list[Any]:
    code, held = frame.f_code, frame.f_locals
    plain = code.co_argcount
    given = [held.get(name) for name in code.co_varnames[:plain]]
    if code.co_flags & inspect.CO_VARARGS:
        rest = held.get(code.co_varnames[plain + code.co_kwonlyargcount])
        given += rest if isinstance(rest, tuple) else ()
    return given


def aside(work: Callable[[], T], timeout: float) -> T:
    """Do something in a thread of its own, which no signal handler interrupts.

    Raises:
        TimeoutError: It is not done in time; it goes on.
        RuntimeError: There is no thread to be had.
        BaseException: What it raised.
    """
    outcomes: list[tuple[Any, BaseException | None]] = []
    done = Latch()

    def do() -> None:
        try:
            outcomes.append((work(), None))
        except BaseException as error:  # noqa: BLE001 (it is raised where it is waited for)
            outcomes.append((None, error))
        done.set()

    # Not a `Thread`, which is started in several steps. A real one, as the waiters expect.
    original("_thread", "start_new_thread")(do, ())
    if not done.wait(timeout):
        msg = f"it takes longer than {timeout:.3g} s"
        raise TimeoutError(msg)
    result, error = outcomes[0]
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]

"""Work on large requests and answers, in a thread beside the event loop.

The long part of it runs in Rust with the GIL released, or releases it every millisecond.
"""

from __future__ import annotations

import _queue
import asyncio
import contextlib
import contextvars
import functools
import sys
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

from llmemo import lifecycle
from llmemo._core import Insisting
from llmemo.concurrency import interrupts
from llmemo.concurrency.blocking_future import NotYetError, blocking_future
from llmemo.concurrency.monkey_patching import original

if TYPE_CHECKING:
    import _thread
    from collections.abc import Callable

T = TypeVar("T")


@final
class Large:
    """The type of `LARGE`."""

    def __bool__(self) -> bool:
        """False, as of what is not there."""
        return False


LARGE: Final = Large()
"""Returned in place of a result that takes too long for the thread of an event loop."""


class _Job(Generic[T]):
    """Work that is done once, by whichever thread comes first.

    Not a `concurrent.futures.Future`: an exception from a signal handler may leave its lock held,
    and the thread would wait for it. Here each step is atomic.
    """

    def __init__(self, worker: LargeWorker, work: Callable[[], T]) -> None:
        self._worker = weakref.ref(worker)
        # The options and the run of the caller.
        context = contextvars.copy_context()
        self._work: list[Callable[[], T]] = [functools.partial(context.run, work)]
        self._outcomes: list[tuple[T | None, BaseException | None]] = []
        self._callbacks: deque[Callable[[], object]] = deque()

    def do(self) -> None:
        try:
            work = self._work.pop()
        except IndexError:
            return
        worker = self._worker()
        if worker is not None:
            worker.doing = threading.get_ident()
        outcome: tuple[T | None, BaseException | None]
        try:
            outcome = work(), None
        except BaseException as error:  # noqa: BLE001 (raised in the caller)
            outcome = None, error
        if worker is not None:
            worker.doing = None
            worker.jobs.pop(self, None)
        self._outcomes.append(outcome)
        self._tell()

    def is_dropped(self) -> bool:
        """Drop it, unless a thread has begun it. Returns whether none has."""
        try:
            self._work.pop()
        except IndexError:
            return False
        return True

    def then(self, callback: Callable[[], object]) -> None:
        """Call something once it is done, in any thread."""
        self._callbacks.append(callback)
        # It may have been done before the callback was added.
        if self._outcomes:
            self._tell()

    def _tell(self) -> None:
        with contextlib.suppress(IndexError):
            while True:
                self._callbacks.popleft()()

    def result(self) -> T:
        """Its result, once it is done. Raises what the work raised, NotYetError before."""
        if not self._outcomes:
            raise NotYetError
        result, error = self._outcomes[0]
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def wait(self, timeout: float) -> None:
        """Wait until it is done, for `timeout` seconds at most."""
        done = blocking_future()
        self.then(functools.partial(done.set_result, None))
        with contextlib.suppress(NotYetError):
            done.wait(timeout)


class LargeWorker:
    """One thread of its own, started by the first job; jobs are done one after the other.

    Not the event loop's executor, whose threads may all be waiting for what a job brings. A job
    that was begun is finished: if its caller leaves, and at interpreter exit.
    """

    def __init__(self, *, lasts: bool) -> None:
        """Start no thread yet. `lasts`: whether the effect of the jobs outlives the process."""
        self._is_closed = False
        self._lasts = lasts
        self._begin()
        lifecycle.has_lock(self)
        if lasts:
            lifecycle.has_jobs(self)

    def _begin(self) -> None:
        # Made in C: no exception from a signal handler comes between its steps.
        self._queue: _queue.SimpleQueue[_Job[Any] | None] = _queue.SimpleQueue()
        # Held by the thread.
        self._has_thread: _thread.LockType = original("_thread", "allocate_lock")()
        self.jobs: dict[_Job[Any], bytes | None] = {}
        """Those that are not done, in order, with the keys of their requests."""
        self.doing: int | None = None
        """The thread that does a job, by its number."""
        weakref.finalize(self, self._queue.put, None).atexit = False

    def after_fork_in_child(self) -> None:
        """Leave the jobs to the parent."""
        self._begin()

    @property
    def is_started(self) -> bool:
        """Whether its thread runs."""
        return self._has_thread.locked()

    def has(self, key: bytes) -> bool:
        """Whether a job for this request is not done yet: another one must not overtake it."""
        return bool(self.jobs) and key in list(self.jobs.values())

    async def run(
        self,
        work: Callable[[], T],
        key: bytes | None = None,
        orphaned: Callable[[T], object] | None = None,
    ) -> T:
        """Do some work in the thread, and await it in the running event loop.

        Args:
            work: Runs in the context of the caller.
            key: Of the request, if it is known; see `has`.
            orphaned: Given the result, in any thread, if the caller has left.
        """
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        job = self._submit(work, key)
        job.then(functools.partial(_tell, loop, done))
        try:
            await done
        except BaseException:
            if orphaned is not None:
                job.then(functools.partial(_give, orphaned, job))
            raise
        return job.result()

    def wait(
        self,
        work: Callable[[], T],
        key: bytes | None = None,
        *,
        timeout: float = threading.TIMEOUT_MAX,
    ) -> T:
        """Do some work after the present jobs, and wait for it in this thread.

        Raises:
            NotYetError: It is not done after `timeout` seconds. It goes on.
        """
        if self.doing == threading.get_ident():
            # Of the job's own: it would wait for itself.
            return work()
        job = self._submit(work, key)
        job.wait(timeout)
        return job.result()

    def afterwards(self, work: Callable[[], object]) -> None:
        """Do something brief once the present jobs have ended. Finalizers may call this."""
        jobs = list(self.jobs)
        if jobs:
            jobs[-1].then(work)
        else:
            work()

    def finish(self, timeout: float) -> None:
        """Wait for the present jobs, for `timeout` seconds at most."""
        end = time.monotonic() + timeout
        if self.doing != threading.get_ident():
            for job in list(self.jobs):
                job.wait(max(0.0, end - time.monotonic()))

    def close(self, timeout: float) -> None:
        """Wait for the present jobs, for `timeout` seconds at most, and end the thread."""
        self.finish(timeout)
        self._is_closed = True
        self._queue.put(None)

    def _submit(self, work: Callable[[], T], key: bytes | None) -> _Job[T]:
        job = _Job(self, work)
        try:
            self.jobs[job] = key
            self._queue.put(job)
            if not self._can_do():
                job.do()
        except BaseException:
            if job.is_dropped():
                # No removal or exit is to wait for it.
                self.jobs.pop(job, None)
            raise
        return job

    def _can_do(self) -> bool:
        """Whether a thread does the jobs. At exit, or where no thread can be started, none does."""
        if self._is_closed or sys.is_finalizing():
            return False
        if self.is_started:
            return True
        if self._lasts:
            with contextlib.suppress(TimeoutError, RuntimeError):  # at the interpreter's end
                interrupts.aside(lifecycle.watch, lifecycle.EXIT_TIMEOUT)
        try:
            original("_thread", "start_new_thread")(_work, (self._queue, self._has_thread))
        except RuntimeError:
            return False
        return True


def _work(queue: _queue.SimpleQueue[_Job[Any] | None], has_thread: _thread.LockType) -> None:
    # Two may have been started at once.
    if has_thread.acquire(False):
        try:
            while (job := queue.get()) is not None:
                job.do()
                # While it waits for the next job it should not keep this one.
                del job
        finally:
            has_thread.release()


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
    # On a loop that was closed nothing waits.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_wake, done)


def _wake_up(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


_wake = Insisting(_wake_up)


def _give(orphaned: Callable[[T], object], job: _Job[T]) -> None:
    with contextlib.suppress(Exception):  # of the job
        orphaned(job.result())

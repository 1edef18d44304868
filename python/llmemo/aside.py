"""Work on large requests and answers, in a thread beside the event loop.

What takes long there is done in Rust with the GIL released, or lets go of it every millisecond.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import threading
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

from llmemo import process

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@final
class Large:
    """The type of `LARGE`."""

    def __bool__(self) -> bool:
        """False, as of what is not there."""
        return False


LARGE: Final = Large()
"""Returned in place of a result: it takes too long for the thread of an event loop."""


class _Job(Generic[T]):
    """Work that is done once, by whichever thread comes first."""

    def __init__(self, aside: Aside, work: Callable[[], T]) -> None:
        self.outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._aside = aside
        # The options and the run of the caller.
        context = contextvars.copy_context()
        self._work: list[Callable[[], T]] = [lambda: context.run(work)]

    def do(self) -> None:
        try:
            work = self._work.pop()
        except IndexError:
            return
        self._aside.doing = threading.get_ident()
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 (raised in the caller)
            self._over()
            self.outcome.set_exception(error)
        else:
            self._over()
            self.outcome.set_result(result)

    def _over(self) -> None:
        self._aside.doing = None
        self._aside.jobs.pop(self, None)


class Aside:
    """One thread of its own, started by the first job; jobs are done one after the other.

    Not the event loop's executor, whose threads may all be waiting for what a job brings. A job
    that was begun is finished: if its caller leaves, and at interpreter exit.
    """

    def __init__(self) -> None:
        """No thread is started yet."""
        self._begin()
        process.has_lock(self)

    def _begin(self) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(1, "llmemo-aside")
        self.jobs: dict[_Job[Any], bytes | None] = {}
        """Those that are not done, in order, with the keys of their requests."""
        self.doing: int | None = None
        """The thread that does one."""

    def after_fork_in_child(self) -> None:
        """The parent does its jobs."""
        self._begin()

    def has(self, key: bytes) -> bool:
        """Whether a job for this request is not done yet: another one must not overtake it."""
        return bool(self.jobs) and key in list(self.jobs.values())

    async def run(
        self,
        work: Callable[[], T],
        key: bytes | None = None,
        orphaned: Callable[[T], object] | None = None,
    ) -> T:
        """Have work done, for the running event loop.

        Args:
            work: Runs in the context of the caller.
            key: Of the request, if it is known; see `has`.
            orphaned: Given the result, in any thread, if the caller has left.
        """
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        outcome = self._submit(work, key)
        outcome.add_done_callback(functools.partial(_tell, loop, done))
        try:
            await done
        except BaseException:
            if orphaned is not None:
                outcome.add_done_callback(functools.partial(_give, orphaned))
            raise
        return outcome.result()

    def wait(self, work: Callable[[], T], key: bytes | None = None) -> T:
        """Have work done behind the jobs that there are, and wait for it in this thread."""
        if self.doing == threading.get_ident():
            # Of the job's own: it would wait for itself.
            return work()
        return self._submit(work, key).result()

    def afterwards(self, work: Callable[[], object]) -> None:
        """Do something brief once the jobs that there are have ended. Finalizers may call this."""
        jobs = list(self.jobs)
        if jobs:
            # Reentrant, unlike the queue of jobs.
            jobs[-1].outcome.add_done_callback(lambda _: work())
        else:
            work()

    def close(self, timeout: float) -> None:
        """Let the jobs that there are end, for so many seconds, and then the thread."""
        if self.doing != threading.get_ident():
            concurrent.futures.wait([job.outcome for job in list(self.jobs)], timeout)
        self._pool.shutdown(wait=False)

    def _submit(self, work: Callable[[], T], key: bytes | None) -> concurrent.futures.Future[T]:
        job = _Job(self, work)
        self.jobs[job] = key
        try:
            self._pool.submit(job.do)
        except RuntimeError:
            # It is closed, the interpreter ends, or there is no thread to be had.
            job.do()
        return job.outcome


def _tell(
    loop: asyncio.AbstractEventLoop, done: asyncio.Future[None], _: concurrent.futures.Future[Any]
) -> None:
    # A loop that was closed has nobody who waits.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_wake, done)


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _give(orphaned: Callable[[T], object], outcome: concurrent.futures.Future[T]) -> None:
    if outcome.exception() is None:
        orphaned(outcome.result())

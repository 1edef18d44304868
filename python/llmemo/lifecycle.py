"""What has to happen when the process ends, or forks, while stores are open."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import secrets
import threading
import time
import weakref
from typing import Protocol

from llmemo import _core
from llmemo._core import Insisting
from llmemo.concurrency import unpatched
from llmemo.concurrency.monkey_patching import patched_by

EXIT_TIMEOUT = 5.0
"""Seconds without progress after which the interpreter's exit gives up the writes that are left."""

FORK_TIMEOUT = 15.0
"""Seconds without progress after which a fork goes on with a store open.

Longer than SQLite waits for a lock of another process, twice: a child in which a store was left
open can never use that file (see `_after_fork_in_child`). Only a disk that hangs takes so long.
"""

CHECK_TIMEOUT = 1.0
"""The same for a worker that only waits to hear how its store is: `health` asked, and no call is
lost. A store that takes longer is in trouble. At a fork, the child cannot use that store."""

FORK_DRAIN = 2.0
"""Seconds for which a fork lets queued writes be written. The rest is for afterwards."""


class Forkable(Protocol):
    """Something that a fork copies in the middle of what another thread does: a lock, a queue."""

    def after_fork_in_child(self) -> None:
        """Replace the lock, and drop what is the parent's to do."""


class Finished(Protocol):
    """Set when a worker has let go of its store."""

    def is_set(self) -> bool:
        """Whether it is set."""

    def wait(self, timeout: float) -> bool:
        """Wait until it is set, for `timeout` seconds at most. Returns whether it is."""


class Worker(Protocol):
    """A thread that has a store open."""

    @property
    def steps(self) -> int:
        """Goes up with each step done."""

    @property
    def only_checks(self) -> bool:
        """Whether it only waits to hear how its store is."""

    @property
    def finished(self) -> Finished:
        """Set at its end."""

    def stop(self) -> None:
        """Finish what is queued, then end."""

    def hand_over(self, seconds: float) -> None:
        """End, and leave to the next worker what is not written in `seconds`."""

    def give_up(self) -> int:
        """End now. Returns how many writes stay undone."""

    def left_open(self) -> None:
        """In a child process: it was forked while the store could not be closed."""


class Executor(Protocol):
    """Starts workers; waits while the process forks."""

    def go_on(self) -> None:
        """Start what the fork held up."""


class Jobs(Protocol):
    """A thread with work that must be finished before the process ends."""

    def finish(self, timeout: float) -> None:
        """Wait for the jobs that there are, for `timeout` seconds at most."""


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()
_jobs: weakref.WeakSet[Jobs] = weakref.WeakSet()
_forkables: weakref.WeakSet[Forkable] = weakref.WeakSet()
_deferred: set[Executor] = set()
_watcher: threading.Thread | None = None
_is_ending = False
_is_forking = False

gate = unpatched.RLock()
"""Held while a worker is started, and through a fork: forks come one at a time, and none of them
with a store open. Reentrant, since a finalizer may run, and start a worker, anywhere."""


def has_gate() -> bool:
    """Whether the current thread holds the gate."""
    return bool(gate._is_owned())  # type: ignore[attr-defined] # noqa: SLF001 (as `Condition` does)


def has_lock(owner: Forkable) -> None:
    """Have the owner of a lock, or a queue, told of forks."""
    _forkables.add(owner)


def started(worker: Worker) -> None:
    """Have a worker stopped before a fork, and when only daemons are left. Under `gate`.

    `atexit` comes too late for the end: the interpreter first joins all threads that are not
    daemons. A thread of our own that waits for the main one is told in time, on every Python.
    """
    _workers.add(worker)
    watch()


def has_jobs(jobs: Jobs) -> None:
    """Have jobs that were begun finished before the end."""
    _jobs.add(jobs)


def watch() -> None:
    """Have the end of the process seen to; see `started`."""
    global _watcher  # noqa: PLW0603 (one per process)
    # A daemon thread that goes on using a cache at the end is not waited for again.
    if _is_ending:
        return
    if patched_by() is not None:
        # A real thread is not waited for at the end, and a patched one could hold up the hub.
        _watch_by_atexit()
        return
    if _watcher is None or not _watcher.is_alive():
        _watcher = threading.Thread(target=_wait_for_exit, name="llmemo-exit", daemon=False)
        _watcher.start()


def is_forking(executor: Executor) -> bool:
    """Whether a fork is under way. If so, `executor.go_on` is called when it is done."""
    if not _is_forking:
        return False
    _deferred.add(executor)
    # The fork may have ended before it could see this one.
    return _is_forking


def _finished(workers: list[Worker], timeout: float) -> list[Worker]:
    """Wait for workers to finish. Returns those left when none of them got on for `timeout`.

    What counts is progress: a busy machine, or a long queue, may take any time for it all.
    """
    while workers:
        steps = sum(worker.steps for worker in workers)
        start = time.monotonic()
        left = []
        for worker in workers:
            patience = min(timeout, CHECK_TIMEOUT) if worker.only_checks else timeout
            if not worker.finished.wait(max(0.0, start + patience - time.monotonic())):
                left.append(worker)
        if len(left) == len(workers) and sum(worker.steps for worker in left) == steps:
            break
        workers = left
    return workers


@functools.cache
def _watch_by_atexit() -> None:
    atexit.register(_end)


def _wait_for_exit() -> None:
    # Asked now: after a monkey patch this thread would get another object for itself.
    me = threading.current_thread()
    threading.main_thread().join()
    # Other threads may go on using a cache, as servers do whose main thread has nothing more to do;
    # and once stopped, a worker could not be started again: Python 3.12 refuses new threads then.
    while others := [
        t for t in threading.enumerate() if t.is_alive() and not (t.daemon or t is me)
    ]:
        others[0].join()
    _end()


def _end() -> None:
    global _watcher, _is_ending
    for jobs in list(_jobs):
        jobs.finish(EXIT_TIMEOUT)
    with gate:
        _watcher, _is_ending = None, True
        workers = list(_workers)
    for worker in workers:
        worker.stop()
    for worker in _finished(workers, EXIT_TIMEOUT):
        worker.give_up()


def _before_fork() -> None:
    """Close every store, and keep them closed until the fork is done.

    A child must not inherit open SQLite files: SQLite remembers, for each process and file, which
    locks it holds, but the system does not pass locks on. A connection opened in the child would
    rely on a lock that is not held, and the parent, closing as if it were the last, would take
    the WAL away under it.
    """
    global _is_forking  # noqa: PLW0603 (one per process)
    gate.acquire()
    _is_forking = True
    # Python forks even if this raises, as a signal handler may: it has to get done.
    Insisting(_close_stores)()


def _close_stores() -> None:
    workers = _running()
    for worker in workers:
        worker.hand_over(FORK_DRAIN)
    _finished(workers, FORK_TIMEOUT)


def _running() -> list[Worker]:
    return [worker for worker in _workers if not worker.finished.is_set()]


def _after_fork_in_parent() -> None:
    global _is_forking  # noqa: PLW0603 (one per process)
    _is_forking = False
    if has_gate():
        gate.release()
    with contextlib.suppress(KeyError):  # of a thread that forks at the same time
        while True:
            _deferred.pop().go_on()


def _after_fork_in_child() -> None:
    global gate, _watcher, _is_ending, _is_forking
    gate, _watcher, _is_ending, _is_forking = unpatched.RLock(), None, False, False
    _deferred.clear()
    _seed_ids()
    for worker in _running():
        # Closing what they have open would release the parent's locks, which belong to the file
        # (sqlite.org/howtocorrupt.html, 2.6): it stays open for ever.
        worker.left_open()
        _core.leak(worker)
    _workers.clear()
    for owner in list(_forkables):
        owner.after_fork_in_child()


def _seed_ids() -> None:
    """Let no two processes give a message the same id: a fork copies all that ids come from."""
    _core.seed_ids(secrets.token_bytes(16))


_seed_ids()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )

"""What has to happen when the process ends, or forks, while stores are open."""

from __future__ import annotations

import os
import secrets
import threading
import time
import weakref
from typing import TYPE_CHECKING, Protocol

from llmemo import _core
from llmemo._core import Insisting

if TYPE_CHECKING:
    from llmemo.worker import Worker

EXIT_TIMEOUT = 5.0
"""Seconds that caches which nobody closed may take to write their queues at interpreter exit."""

FORK_TIMEOUT = 2.0
"""Seconds that a fork waits for stores to be closed: one that is locked may not make it."""


class Forkable(Protocol):
    """Something with a lock, which a fork may copy while another thread holds it."""

    def after_fork_in_child(self) -> None:
        """Make the lock anew."""


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()
_forkables: weakref.WeakSet[Forkable] = weakref.WeakSet()
_watcher: threading.Thread | None = None
_is_ending = False

gate = threading.RLock()
"""Held while a worker is started, and through a fork: forks come one at a time, and none of them
with a store open. Reentrant, since a finalizer may run, and start a worker, anywhere."""


def has_gate() -> bool:
    """Whether the current thread holds the gate."""
    return bool(gate._is_owned())  # type: ignore[attr-defined] # noqa: SLF001 (as `Condition` does)


def has_lock(owner: Forkable) -> None:
    """Have the owner of a lock told of forks."""
    _forkables.add(owner)


def started(worker: Worker) -> None:
    """Have a worker stopped before a fork, and when only daemons are left. Under `gate`.

    `atexit` comes too late for the end: the interpreter first joins all threads that are not
    daemons. A thread of our own that waits for the main one is told in time, on every Python.
    """
    global _watcher  # noqa: PLW0603 (one per process)
    _workers.add(worker)
    # Who begins anew at the end (a daemon thread that goes on looking) is not waited for again.
    if _is_ending:
        return
    if _watcher is None or not _watcher.is_alive():
        _watcher = threading.Thread(target=_wait_for_exit, name="llmemo-exit", daemon=False)
        _watcher.start()


def _stop(workers: list[Worker], timeout: float) -> list[Worker]:
    """Stop workers, and wait for them. Returns those that are not finished in time."""
    deadline = time.monotonic() + timeout
    for worker in workers:
        worker.stop()
    return [w for w in workers if not w.finished.wait(max(0.0, deadline - time.monotonic()))]


def _wait_for_exit() -> None:
    global _watcher, _is_ending
    threading.main_thread().join()
    # The others may go on using a cache, as servers do whose main thread has nothing more to do;
    # and once stopped, a worker could not be started again: Python 3.12 refuses new threads then.
    me = threading.current_thread()
    while others := [
        t for t in threading.enumerate() if t.is_alive() and not (t.daemon or t is me)
    ]:
        others[0].join()
    with gate:
        _watcher, _is_ending = None, True
        workers = list(_workers)
    for worker in _stop(workers, EXIT_TIMEOUT):
        worker.give_up()


def _before_fork() -> None:
    """Close every store, and keep them closed until the fork is done.

    A child must not inherit open SQLite files: SQLite remembers, for each process and file, which
    locks it holds, but the system does not pass locks on. A connection opened in the child would
    rely on a lock that nobody holds, and the parent, closing as if it were the last, would take
    the WAL away under it.
    """
    gate.acquire()
    # Python forks even if this raises, as a signal handler may: it has to get done.
    Insisting(_close_stores)()


def _close_stores() -> None:
    _stop(_running(), FORK_TIMEOUT)


def _running() -> list[Worker]:
    return [worker for worker in _workers if not worker.finished.is_set()]


def _after_fork_in_parent() -> None:
    if has_gate():
        gate.release()


def _after_fork_in_child() -> None:
    global gate, _watcher, _is_ending
    gate, _watcher, _is_ending = threading.RLock(), None, False
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

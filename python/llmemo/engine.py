"""All store I/O, on one private thread with an event loop of its own.

    any thread, any loop                  the private loop
    ────────────────────                  ────────────────
    Call(…)  ── inbox, one wake-up ──►  reads:  all pending keys, one `store.get`
      │                                 writes: all pending records, one `store.set`
      ◄── one message per loop ───────  outcomes, by the caller's loop

A caller waits for its own `Call` and nothing else: cancelling it, closing its loop or running
out of patience abandons the wait, never the work. A store sees one loop for all its life, which
is what it takes to use aiosqlite safely from many (docs/decisions.md, "One private thread").
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from llmemo import _core, process
from llmemo.calls import CLOSED, Call, settle
from llmemo.errors import StoreError
from llmemo.worker import Worker

if TYPE_CHECKING:
    from llmemo.stats import Tally
    from llmemo.stores.base import Store

FORK_TIMEOUT = 2.0
"""Seconds that a fork waits for the store to be closed: a store that is locked may not make it."""


class Engine:
    """Runs a store; see the module's documentation. Starts its thread at first use."""

    def __init__(self, store: Store, tally: Tally) -> None:
        """Nothing is started or opened yet."""
        self._store = store
        self._tally = tally
        # Guards starting and closing; never held while anything waits.
        self._lock = threading.Lock()
        self._worker: Worker | None = None
        self._stuck: Worker | None = None
        self._closed = False
        process.register(self)

    def submit(self, call: Call[Any]) -> None:
        """Send an operation; never blocks.

        Raises:
            StoreError: The engine is closed.
        """
        worker = self._worker
        if worker is None or worker.finished.is_set():
            worker = self._start()
        worker.submit(call)

    def close(self, timeout: float) -> int:
        """Write what is queued, close the store, end the thread: `timeout` seconds at most.

        Returns the number of writes that had to be given up. Later calls return 0.
        """
        self._closed = True
        return self.rest(timeout)

    def close_soon(self) -> None:
        """Begin to close, without waiting."""
        self._closed = True
        if (worker := self._detach()) is not None:
            worker.stop()

    def rest(self, timeout: float) -> int:
        """As `close`, but a later call starts the thread again."""
        worker = self._detach()
        if worker is None:
            return 0
        worker.stop()
        worker.finished.wait(timeout)
        return worker.give_up()

    def before_fork(self) -> None:
        """Close the store, and keep it closed until the fork is done.

        A child must not inherit open SQLite files: SQLite remembers, for each process and file,
        which locks it holds, but the system does not pass locks on. A connection opened in the
        child would rely on a lock that nobody holds, and the parent, closing as if it were the
        last, would take the WAL away under it.
        """
        self._lock.acquire()
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
            if not worker.finished.wait(FORK_TIMEOUT):
                self._stuck = worker

    def after_fork_in_parent(self) -> None:
        """Go on; the next call opens the store again."""
        self._stuck = None
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Go on, without what was not copied: threads, and who held which lock."""
        self._lock = threading.Lock()
        self._tally.after_fork_in_child()
        if self._stuck is not None:
            # Its connections would release the parent's locks if they were closed here
            # (sqlite.org/howtocorrupt.html, 2.6): they stay open for ever.
            _core.leak(self._stuck)
            self._stuck = None

    def _take_back(self, calls: list[Call[Any]]) -> None:
        """Calls that reached a worker too late: for the next one, unless there is none."""
        for call in calls:
            try:
                self.submit(call)
            except StoreError as error:
                settle([(call, None, error)])

    def _detach(self) -> Worker | None:
        with self._lock:
            worker, self._worker = self._worker, None
        return worker

    def _start(self) -> Worker:
        with self._lock:
            if self._closed:
                raise StoreError(CLOSED)
            if self._worker is None or self._worker.finished.is_set():
                worker = Worker(self._store, self._tally, self._take_back)
                worker.thread.start()
                process.watch_exit()
                self._worker = worker
            return self._worker

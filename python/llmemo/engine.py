"""All store I/O, on one private thread with an event loop of its own.

    any thread, any loop                  the private loop
    ────────────────────                  ────────────────
    Call(…)  ── inbox, one wake-up ──►  reads:  all pending keys, one `store.get_at_once`, or `get`
      │                                 writes: all pending records, one `store.set`
      ◄── one message per loop ───────  outcomes, by the caller's loop

A caller waits for its own `Call` and nothing else: cancelling it, closing its loop or running
out of patience abandons the wait, never the work. A store sees one loop for all its life, which
is what it takes to use aiosqlite safely from many (docs/decisions.md, "One private thread").
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from llmemo import native, process
from llmemo.calls import CLOSED, Sent, Set, settle
from llmemo.errors import ConfigurationError, StoreError
from llmemo.leases import Holds
from llmemo.worker import Worker

if TYPE_CHECKING:
    from llmemo._core import Memory
    from llmemo.stats import Tally
    from llmemo.stores.base import Store


class Engine:
    """Runs a store; see the module's documentation. Starts its thread at first use.

    There may be one worker after another, since exit and fork stop them, but never two at a time:
    each waits for the one before it to let go of the store.

    Raises:
        ConfigurationError: Another engine runs this store.
    """

    def __init__(self, store: Store, tally: Tally, memory: Memory, patience: float) -> None:
        """Nothing is started or opened yet. `patience`: see `Leasing`."""
        other = None if store.engine is None else store.engine()
        if other is not None and not other.is_closed:
            msg = f"store={store!r} is in use by another cache: make a store for each cache"
            raise ConfigurationError(msg)
        store.engine = weakref.ref(self)
        self.is_closed: bool = False
        self.backlog: deque[Sent[Any]] = deque()
        """Operations that no worker takes yet, in order: it has to be started, after a fork."""
        self._worker: Worker | None = None
        self._closing: Worker | None = None
        self._store = store
        self._tally = tally
        self._memory = memory
        self._patience = min(patience, threading.TIMEOUT_MAX)
        self._holds = Holds()
        process.has_lock(self)

    def after_fork_in_child(self) -> None:
        """Leave to the parent what its callers sent."""
        self.backlog.clear()

    @property
    def has_leases(self) -> bool:
        """Whether the store lets processes agree on who computes an answer."""
        return self._store.leases is not None

    def keep_alive(self, key: bytes, fence: int) -> None:
        """Renew a lease until it is ended: a model runs for it. Waits for nothing.

        Without it a lease lasts for the time that it was asked for.
        """
        self._holds.keep(key, fence, is_kept=True)

    def let_lapse(self, key: bytes, fence: int) -> None:
        """Renew it no more."""
        self._holds.keep(key, fence, is_kept=False)

    def submit(self, call: Sent[Any], *, at_once: bool = False) -> None:
        """Send an operation; never waits for the store, or a fork. `at_once`: see `Worker.submit`.

        Raises:
            StoreError: The engine is closed, or the interpreter ends.
        """
        worker = self._worker
        if worker is not None and not (worker.is_stopping or self.backlog):
            worker.submit(call, at_once=at_once)
            return
        # A thread that is started when the interpreter ends never runs, and who starts it waits.
        if self.is_closed or sys.is_finalizing():
            raise StoreError(CLOSED)
        self.backlog.append(call)
        self.go_on()

    def go_on(self) -> None:
        """Have a worker take the backlog; if there is a fork under way, when that is done."""
        while self.backlog and not process.is_forking(self):
            with process.gate:
                worker: Worker | None = None
                error: Exception = StoreError(CLOSED)
                try:
                    worker = self._start()
                except (StoreError, RuntimeError) as failed:  # or no thread to be had
                    error = failed
                while self.backlog:
                    call = self.backlog.popleft()
                    if worker is None:
                        if isinstance(call.operation, Set):
                            self._tally.store_failed("write", error, 1)
                        settle([(call, None, error)])
                    else:
                        worker.submit(call, at_once=True)

    def close(self, timeout: float) -> int:
        """Write what is queued, close the store, end the thread: `timeout` seconds at most.

        Returns the number of writes that had to be given up. Later calls return 0; they wait, too,
        for one that is under way.
        """
        with process.gate:
            self.go_on()  # what came during a fork
            worker, self._worker = self._worker, None
            closing = self._closing = worker or self._closing
            self.is_closed = self._holds.is_closed = True
        if closing is None:
            return 0
        closing.stop()
        if not native.is_current(closing.thread):
            closing.thread.join(min(timeout, threading.TIMEOUT_MAX))
        if worker is None:
            return 0
        self._closing = None
        return worker.give_up()

    def close_soon(self) -> None:
        """Begin to close, without waiting, and without a lock: finalizers call this."""
        self.is_closed = self._holds.is_closed = True
        if self._worker is not None:
            self._worker.stop()

    def _start(self) -> Worker:
        """The worker, started if need be. Under the gate."""
        if self.is_closed:
            raise StoreError(CLOSED)
        if self._worker is None or self._worker.is_stopping:
            # The last one may be another engine's, which was closed and has yet to let go.
            previous = self._store.worker
            worker = Worker(
                self._store,
                self._tally,
                self._take_back,
                previous,
                self._memory,
                holds=self._holds,
                patience=self._patience,
            )
            worker.thread.start()
            self._store.worker = self._worker = worker
            process.started(worker)
            if self.is_closed:  # by `close_soon`, which takes no lock
                worker.stop()
        return self._worker

    def _take_back(self, calls: list[Sent[Any]]) -> None:
        """Calls that reached a worker too late: for the next one, unless there is none."""
        for call in calls:
            try:
                self.submit(call, at_once=True)
            except StoreError as error:
                settle([(call, None, error)])

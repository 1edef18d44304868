"""All store I/O, on one private thread with an event loop of its own.

    any thread, any loop                  the private loop
    ────────────────────                  ────────────────
    Call(…) ── mailbox, one wake-up ─►  reads:  all pending keys, one `store.get_at_once`, or `get`
      │                                 writes: all pending records, one `store.set`
      ◄── one message per loop ───────  outcomes, by the caller's loop

A caller waits for its own `Call` and nothing else. Cancelling it, closing its loop or a time-out
abandons the wait, never the work. A store sees one loop for all its life, as it takes to use
aiosqlite safely from many (docs/decisions/private-thread.md).
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from llmemo import lifecycle
from llmemo._core import Insisting
from llmemo.concurrency.interrupts import aside
from llmemo.concurrency.monkey_patching import patched_by
from llmemo.errors import ConfigurationError, StoreError
from llmemo.store_io.batches import shared_by
from llmemo.store_io.calls import CLOSED, Submission, settle
from llmemo.store_io.leases.held import HeldLeases
from llmemo.store_io.worker import Worker

if TYPE_CHECKING:
    from llmemo._core import Memory
    from llmemo.stores.base import Store
    from llmemo.telemetry.stats import Tally


_executors: weakref.WeakValueDictionary[int, Executor] = weakref.WeakValueDictionary()
"""What runs each store, by the store's `id`: one executor at a time. It keeps its store alive, so
no other store has that id meanwhile. (A user's store need not be hashable.)"""

_workers: weakref.WeakValueDictionary[int, Worker] = weakref.WeakValueDictionary()
"""The last thread that had each store open, likewise; the next one waits for it to close the store.
A thread that runs keeps its worker alive."""


class Executor:
    """Runs a store on a private thread, which it starts at first use.

    There may be one worker after another, since exit and fork stop them, but never two at a time:
    each waits for the one before it to close the store.

    Raises:
        ConfigurationError: Another executor runs this store.
    """

    def __init__(self, store: Store, tally: Tally, memory: Memory, timeout: float) -> None:
        """Start and open nothing yet. `timeout`: see `LeaseManager`."""
        other = _executors.get(id(store))
        if other is not None and not other.is_closed:
            msg = f"store={store!r} is in use by another cache: make a store for each cache"
            raise ConfigurationError(msg)
        _executors[id(store)] = self
        self.is_closed: bool = False
        self.backlog: deque[Submission[Any]] = deque()
        """Operations that no worker takes yet, in order: it has to be started, after a fork."""
        self._worker: Worker | None = None
        self._unreported: list[None] = [None]
        """Empty once a call of `close` reports how many writes were given up."""
        self.store = store
        self._tally = tally
        self._memory = memory
        self._timeout = min(timeout, threading.TIMEOUT_MAX)
        self.held = HeldLeases()
        """The leases that this process holds."""
        lifecycle.has_lock(self)

    def after_fork_in_child(self) -> None:
        """Leave the parent's operations to the parent."""
        self.backlog.clear()
        self._tally.store_bytes = None
        self._tally.writing.stopped()

    @property
    def is_running(self) -> bool:
        """Whether a worker has the store open, or is about to open it."""
        worker = self._worker
        return worker is not None and not worker.is_stopping

    def submit(self, call: Submission[Any], *, at_once: bool = False) -> None:
        """Send an operation; never waits for the store, or a fork. `at_once`: see `Worker.submit`.

        Raises:
            StoreError: The executor is closed, or the interpreter ends.
        """
        worker = self._worker
        if worker is not None and not (worker.is_stopping or self.backlog):
            worker.submit(call, at_once=at_once)
            return
        # A thread that is started when the interpreter ends never runs, and its starter waits.
        if self.is_closed or sys.is_finalizing():
            raise StoreError(CLOSED)
        self.backlog.append(call)
        self.go_on()

    def go_on(self) -> None:
        """Have a worker take the backlog; if there is a fork under way, when that is done."""
        if not self.backlog or lifecycle.is_forking(self):
            return
        if lifecycle.has_gate() or patched_by() is not None:
            # In a finalizer, or a fork's callback, where another thread would not get the gate; or
            # where a thread may be none.
            self._go_on()
            return
        try:
            # A signal handler's exception in the middle of it would leave a worker that nothing
            # knows, or the gate shut.
            aside(self._go_on, self._timeout)
        except TimeoutError:
            pass  # it goes on there
        except RuntimeError:
            self._go_on()  # which says that there is no thread to be had

    def _go_on(self) -> None:
        while self.backlog and not lifecycle.is_forking(self):
            with lifecycle.gate:
                worker: Worker | None = None
                error: Exception = StoreError(CLOSED)
                try:
                    worker = self._start()
                except (StoreError, RuntimeError) as failed:  # or no thread to be had
                    error = failed
                self._hand_over(worker, error)

    def _hand_over(self, worker: Worker | None, error: Exception) -> None:
        """Give the backlog to a worker; without one, say what is wrong."""
        while self.backlog:
            call = self.backlog.popleft()
            if worker is not None:
                worker.submit(call, at_once=True)
                continue
            if shared_by(call.operation) is not None:
                self._tally.store_failed("write", error, 1)
            settle([(call, None, error)])

    def close(self, timeout: float) -> int:
        """Write what is queued, close the store, end the thread: `timeout` seconds at most.

        Returns the number of writes that had to be given up. Later calls return 0; they wait, too,
        for one that is under way.
        """
        self.go_on()  # what came during a fork
        # A lock in C, held while nothing is called: no signal handler comes in between.
        with lifecycle.gate:
            self.is_closed = self.held.is_closed = True
            worker = self._worker
        if worker is None:
            return 0
        worker.stop()
        try:
            self._unreported.pop()
        except IndexError:
            worker.join(timeout)
            return 0
        try:
            worker.join(timeout)
            undone = worker.give_up()
            self._worker = None
        except BaseException:
            self._unreported.append(None)  # the next call goes on with it
            raise
        return undone

    def close_soon(self) -> None:
        """Begin to close, without waiting, and without a lock: finalizers call this."""
        self.is_closed = self.held.is_closed = True
        if self._worker is not None:
            self._worker.stop()

    def _start(self) -> Worker:
        """The worker, started if need be. Under the gate."""
        if self.is_closed:
            raise StoreError(CLOSED)
        if self._worker is None or self._worker.is_stopping:
            # The last one may be of another executor, which is closed but not done.
            previous = _workers.get(id(self.store))
            worker = Worker(
                self.store,
                self._tally,
                self._take_back,
                previous,
                self._memory,
                held=self.held,
                timeout=self._timeout,
            )
            worker.thread.start()
            _workers[id(self.store)] = self._worker = worker
            lifecycle.started(worker)
            if self.is_closed:  # by `close_soon`, which takes no lock
                worker.stop()
        return self._worker

    def _take_back(self, calls: deque[Submission[Any]]) -> None:
        """Calls that reached a worker too late: for the next one, unless there is none."""
        # Once more, should that be interrupted: they are those of other callers, too.
        Insisting(self._hand_back)(calls)

    def _hand_back(self, calls: deque[Submission[Any]]) -> None:
        while calls:
            try:
                call = calls.popleft()
            except IndexError:
                return  # another thread does the same
            try:
                self.submit(call, at_once=True)
            except StoreError as error:
                settle([(call, None, error)])
            except BaseException:
                calls.appendleft(call)
                raise

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
from typing import TYPE_CHECKING, Any

from llmemo import process
from llmemo._core import Insisting
from llmemo.calls import CLOSED, Sent, settle
from llmemo.errors import ConfigurationError, StoreError
from llmemo.leases import Holds
from llmemo.undisturbed import aside
from llmemo.worker import Worker

if TYPE_CHECKING:
    from collections import deque

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
        """Nothing is started or opened yet. `patience`: seconds that `submit` may take."""
        other = None if store.engine is None else store.engine()
        if other is not None and not other.is_closed:
            msg = f"store={store!r} is in use by another cache: make a store for each cache"
            raise ConfigurationError(msg)
        store.engine = weakref.ref(self)
        self.is_closed: bool = False
        self._worker: Worker | None = None
        self._untold: list[None] = [None]
        """Empty once a call of `close` is to say how many writes were given up."""
        self._store = store
        self._tally = tally
        self._memory = memory
        self._patience = min(patience, threading.TIMEOUT_MAX)
        self._holds = Holds()

    @property
    def has_leases(self) -> bool:
        """Whether the store lets processes agree on who computes an answer."""
        return self._store.leases is not None

    def keep_alive(self, key: bytes, fence: int) -> None:
        """Renew a lease until it is ended: a model runs for it. Waits for nothing.

        Without it a lease lasts for the time that it was asked for.
        """
        self._holds.keep(key, fence, is_kept=True)

    def fence(self, key: bytes) -> int | None:
        """Of the lease of a key, if this process has it."""
        hold = self._holds.by_key.get(key)
        return None if hold is None else hold.fence

    def let_lapse(self, key: bytes, fence: int) -> None:
        """Renew it no more."""
        self._holds.keep(key, fence, is_kept=False)

    def submit(self, call: Sent[Any], *, at_once: bool = False) -> None:
        """Send an operation; never waits for the store. `at_once`: see `Worker.submit`.

        Raises:
            StoreError: The engine is closed, a fork did not end in time, or the interpreter ends.
        """
        worker = self._worker
        if worker is None or worker.is_stopping:
            worker = self._start()
        worker.submit(call, at_once=at_once)

    def close(self, timeout: float) -> int:
        """Write what is queued, close the store, end the thread: `timeout` seconds at most.

        Returns the number of writes that had to be given up. Later calls return 0; they wait, too,
        for one that is under way.
        """
        # A lock in C, held while nothing is called: no signal handler comes in between.
        with process.gate:
            self.is_closed = self._holds.is_closed = True
            worker = self._worker
        if worker is None:
            return 0
        worker.stop()
        try:
            self._untold.pop()
        except IndexError:
            worker.join(timeout)
            return 0
        try:
            worker.join(timeout)
            undone = worker.give_up()
            self._worker = None
        except BaseException:
            self._untold.append(None)  # the next call goes on with it
            raise
        return undone

    def close_soon(self) -> None:
        """Begin to close, without waiting, and without a lock: finalizers call this."""
        self.is_closed = self._holds.is_closed = True
        if self._worker is not None:
            self._worker.stop()

    def _start(self) -> Worker:
        if sys.is_finalizing():
            # A thread that is started now never runs, and who starts it waits for that.
            raise StoreError(CLOSED)
        if process.has_gate():
            # In a finalizer, or a fork's callback, where another thread would not get it.
            return self._started()
        try:
            # An exception of a signal handler's in the midst of it would leave a worker that
            # nobody knows, or the gate shut.
            return aside(self._started, self._patience)
        except TimeoutError as error:
            msg = "a fork takes its time"
            raise StoreError(msg) from error

    def _started(self) -> Worker:
        # A fork holds the gate until the stores are closed: no longer than a caller would wait.
        if not process.gate.acquire(timeout=self._patience):
            msg = "a fork takes its time"
            raise StoreError(msg)
        try:
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
        finally:
            process.gate.release()

    def _take_back(self, calls: deque[Sent[Any]]) -> None:
        """Calls that reached a worker too late: for the next one, unless there is none."""
        # Once more, should that be interrupted: they are those of other callers, too.
        Insisting(self._hand_back)(calls)

    def _hand_back(self, calls: deque[Sent[Any]]) -> None:
        while calls:
            try:
                call = calls.popleft()
            except IndexError:
                return  # another thread does the same
            try:
                self.submit(call, at_once=True)
            except (StoreError, RuntimeError) as error:  # or no thread to be had
                settle([(call, None, error)])
            except BaseException:
                calls.appendleft(call)
                raise

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

import asyncio
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from llmemo import _core, process
from llmemo.calls import Call, Delete, Get, Set, settle
from llmemo.errors import StoreError
from llmemo.stores.base import StoreUnavailableError

if TYPE_CHECKING:
    from llmemo.stats import Tally
    from llmemo.stores.base import Record, Store

MAX_QUEUED_BYTES = 64 * 2**20
"""Memory that values waiting to be written may take; beyond it the oldest are dropped."""

MAX_RECORDS_PER_SET = 1024
"""Most records in one transaction, so that no write keeps other processes waiting for long."""

RETRY_DELAYS = (0.02, 0.1, 0.5, 1.0)
"""Seconds between attempts while the store is unavailable; the last one repeats."""

CLOSED = "the store is closed"


class Engine:
    """Runs a store; see the module's documentation. Starts its thread at first use."""

    def __init__(self, store: Store, tally: Tally) -> None:
        """Nothing is started or opened yet."""
        self._store = store
        self._tally = tally
        # Guards starting and closing; never held while anything waits.
        self._lock = threading.Lock()
        self._worker: Worker | None = None
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

    def after_fork(self) -> None:
        """In the child: forget the parent's thread, which was not copied, and its connections.

        Closing a copied connection would drop the parent's file locks (POSIX locks belong to the
        process and file: sqlite.org/howtocorrupt.html, 2.6), so all of it is kept open for ever.
        """
        self._lock = threading.Lock()
        self._tally.after_fork()
        if self._worker is not None:
            _core.leak(self._worker)
            self._worker = None

    def _detach(self) -> Worker | None:
        with self._lock:
            worker, self._worker = self._worker, None
        return worker

    def _start(self) -> Worker:
        with self._lock:
            if self._closed:
                raise StoreError(CLOSED)
            if self._worker is None or self._worker.finished.is_set():
                worker = Worker(self._store, self._tally)
                worker.thread.start()
                process.watch_exit()
                self._worker = worker
            return self._worker


class Worker:
    """One thread, one loop, one open store."""

    def __init__(self, store: Store, tally: Tally) -> None:
        """Start `thread` to begin."""
        self.finished = threading.Event()
        # A daemon: `process.watch_exit` ends it in order; should that fail, the process ends.
        self.thread = threading.Thread(target=self._main, name="llmemo-store", daemon=True)
        self._store = store
        self._tally = tally
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: deque[Call[Any]] = deque()
        self._is_woken = False
        self._is_stopping = False
        self._has_given_up = False
        self._opening: asyncio.Task[None] | None = None
        self._reads: dict[bytes, list[Call[Record | None]]] = {}
        self._writes: deque[Call[Any]] = deque()
        self._in_flight: list[Call[Any]] = []
        self._queued_bytes = 0

    # From any thread.

    def submit(self, call: Call[Any]) -> None:
        """Queue an operation."""
        self._inbox.append(call)
        # The loop clears the flag before it empties the inbox, and appending came first: either
        # that pass sees the call, or the flag is found cleared. Two threads that both find it
        # cleared cost one wake-up for nothing.
        if not self._is_woken:
            self._is_woken = True
            self._wake()
        if self.finished.is_set():
            self._refuse()

    def stop(self) -> None:
        """Finish what is queued, then end."""
        self._is_stopping = True
        self._wake()

    def give_up(self) -> int:
        """End now. Returns how many writes stay undone."""
        self._has_given_up = True
        self._wake()
        undone = [*self._inbox, *self._in_flight, *self._writes]
        return sum(isinstance(call.operation, Set) for call in undone)

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._sort)
            except RuntimeError:
                # It has closed just now; `submit` sees to what came too late.
                return

    def _refuse(self) -> None:
        late = [self._inbox.popleft() for _ in range(len(self._inbox))]
        settle([(call, None, StoreError(CLOSED)) for call in late])

    # On the private thread.

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._loop = None
            reads = [call for calls in self._reads.values() for call in calls]
            undone = [*self._in_flight, *self._writes, *reads]
            self.finished.set()
            self._refuse()
            settle([(call, None, StoreError(CLOSED)) for call in undone])

    async def _serve(self) -> None:
        self._readable, self._writable = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._sort()
        try:
            await asyncio.gather(self._read(), self._write())
        finally:
            if self._opening is not None:
                await self._store.close()

    def _sort(self) -> None:
        """Empty the inbox into the queues of the two workers."""
        self._is_woken = False
        while self._inbox:
            call = self._inbox.popleft()
            if isinstance(call.operation, Get):
                self._reads.setdefault(call.operation.key, []).append(call)
            else:
                self._writes.append(call)
                self._queued_bytes += _size(call)
        while self._queued_bytes > MAX_QUEUED_BYTES and len(self._writes) > 1:
            oldest = self._writes.popleft()
            self._queued_bytes -= _size(oldest)
            reason = "the queue of writes is full, the oldest is dropped"
            self._tally.note("errors", "write_dropped", "llmemo: %s", reason)
            settle([(oldest, None, StoreError(reason))])
        self._readable.set()
        self._writable.set()

    async def _open(self) -> Store:
        """The store, opened. Both workers may ask at once."""
        if self._opening is None or (self._opening.done() and self._opening.exception()):
            self._opening = asyncio.ensure_future(self._store.open())
        await self._opening
        return self._store

    async def _read(self) -> None:
        while not (self._is_stopping or self._has_given_up):
            await self._readable.wait()
            self._readable.clear()
            while self._reads:
                batch, self._reads = self._reads, {}
                try:
                    store = await self._open()
                    found = await store.get(list(batch))
                except Exception as error:  # noqa: BLE001 (whatever it is, the callers must hear)
                    settle([(call, None, error) for calls in batch.values() for call in calls])
                else:
                    settle(
                        [(call, found.get(k), None) for k, calls in batch.items() for call in calls]
                    )

    async def _write(self) -> None:
        while not self._has_given_up and not (self._is_stopping and not self._writes):
            await self._writable.wait()
            self._writable.clear()
            while self._writes and not self._has_given_up:
                self._in_flight = self._take_batch()
                result, error = await self._execute(self._in_flight)
                batch, self._in_flight = self._in_flight, []
                settle([(call, result, error) for call in batch])

    def _take_batch(self) -> list[Call[Any]]:
        """The oldest write, and with it all that can share its transaction."""
        batch = [self._writes.popleft()]
        while (
            self._writes
            and isinstance(batch[-1].operation, Set)
            and isinstance(self._writes[0].operation, Set)
            and len(batch) < MAX_RECORDS_PER_SET
        ):
            batch.append(self._writes.popleft())
        self._queued_bytes -= sum(map(_size, batch))
        return batch

    async def _execute(self, batch: list[Call[Any]]) -> tuple[Any, Exception | None]:
        """Carry a batch out, however long the store is unavailable."""
        attempt = 0
        while True:
            try:
                store = await self._open()
                if isinstance(operation := batch[0].operation, Delete):
                    return await store.delete(operation.keys), None
                # Of several records of one key the last counts.
                records = {call.operation.record.key: call.operation.record for call in batch}
                await store.set(list(records.values()))
            except StoreUnavailableError as error:
                self._tally.note("errors", "store_unavailable", "llmemo: store: %s", error)
                if self._has_given_up:
                    return None, error
                await asyncio.sleep(RETRY_DELAYS[min(attempt, len(RETRY_DELAYS) - 1)])
                attempt += 1
            except Exception as error:  # noqa: BLE001 (as above)
                return None, error
            else:
                return None, None


def _size(call: Call[Any]) -> int:
    return len(call.operation.record.value) if isinstance(call.operation, Set) else 0

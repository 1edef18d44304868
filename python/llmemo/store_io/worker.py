"""The private thread: one event loop, one open store, operations batched per wake-up."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from llmemo.concurrency import native
from llmemo.concurrency.interrupts import Latch
from llmemo.concurrency.private_loop import run
from llmemo.errors import StoreError, text_of
from llmemo.store_io.calls import CLOSED, Outcome, Submission, settle
from llmemo.store_io.leases.manager import LeaseManager
from llmemo.store_io.mailbox import Mailbox
from llmemo.store_io.maintenance import TROUBLE, Maintenance
from llmemo.store_io.operations import (
    Acquire,
    Add,
    Delete,
    Discard,
    Get,
    Invalidate,
    Recent,
    Release,
    Resume,
    Set,
    forget,
)
from llmemo.stores.base import StoreUnavailableError, StoreUnusableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmemo._core import Memory
    from llmemo.store_io.leases.client import HeldLeases
    from llmemo.stores.base import Record, Store
    from llmemo.telemetry.stats import Tally

MAX_QUEUED_BYTES = 64 * 2**20
"""Memory that updates waiting to be written may take; beyond it the oldest are dropped."""

AROUND = 2_048
"""Bytes that such an update takes beside its value, outline and request: measured with 200,000."""

MAX_RECORDS_PER_SET = 1024
"""Most records in one transaction, so that no write keeps other processes waiting for long."""

LOOK = 0.25
"""Seconds between two looks for calls that nobody woke the thread for, since an exception of a
signal handler's came in between."""

RETRY_DELAYS = (0.02, 0.1, 0.5, 1.0)
"""Seconds between attempts while the store is unavailable; the last one repeats."""


class Worker:
    """One thread, one loop, one open store."""

    def __init__(
        self,
        store: Store,
        tally: Tally,
        give_back: Callable[[deque[Submission[Any]]], None],
        previous: Worker | None,
        memory: Memory,
        *,
        holds: HeldLeases,
        patience: float,
    ) -> None:
        """Start `thread` to begin, which waits for the `previous` worker to finish.

        `give_back` is called with what came after the end. `memory` is told to forget what other
        processes change. `holds` are the leases of this process; `patience`: see `LeaseManager`.
        """
        self._memory = memory
        self._holds = holds
        self._patience = patience
        self._late: list[Submission[Any]] = []
        self.is_stopping = False
        self.steps = 0
        """Goes up with each step done, for those who wait for the end."""
        self._hands_over_at = math.inf
        self._pid = os.getpid()
        self._previous = previous
        self.finished = Latch()
        # A daemon: `process` ends it in order; should that fail, the process ends.
        self.thread = native.thread(self._main, "llmemo-store")
        self._store = store
        self._tally = tally
        self._give_back = give_back
        self._inbox = Mailbox(self._sort)
        self._has_given_up = False
        self._opening: asyncio.Task[None] | None = None
        self._reads: list[Submission[Mapping[bytes, Record]]] = []
        self._writes: deque[Submission[Any]] = deque()
        # What takes long, begun before the end came: the next worker goes on with it.
        self._left: list[Submission[Any]] = []
        self._in_flight: list[Submission[Any]] = []
        self._reading: list[Submission[Mapping[bytes, Record]]] = []
        self._listings: set[asyncio.Task[None]] = set()
        self._queued_bytes = 0

    # From any thread.

    def submit(self, call: Submission[Any], *, at_once: bool = False) -> None:
        """Queue an operation. Operations are carried out in the order of these calls.

        `at_once`: no other is to be waited for that the running pass of an event loop may bring.
        """
        self._inbox.put(call, at_once=at_once)
        if self.finished.is_set():
            self._give_back(self._inbox.calls)

    def stop(self) -> None:
        """Finish what is queued, then end."""
        self.is_stopping = True
        self._inbox.wake()

    def hand_over(self, seconds: float) -> None:
        """End, and leave to the next worker what is not written in so many seconds.

        At once, where the store is unavailable: an operation that failed is not tried again here.
        """
        self._hands_over_at = time.monotonic() + seconds
        self.stop()

    def join(self, timeout: float) -> None:
        """Wait for the end, for so many seconds at most."""
        if not native.is_current(self.thread):
            self.thread.join(min(timeout, threading.TIMEOUT_MAX))

    def give_up(self) -> int:
        """End now. Returns how many writes stay undone."""
        self._has_given_up = True
        self._inbox.wake()
        undone = [*self._inbox.calls, *self._in_flight, *self._writes]
        return sum(isinstance(call.operation, Set) for call in undone)

    def left_open(self) -> None:
        """In a child of this process, which was forked while the store could not be closed."""
        self._store.left_open()

    # On the private thread.

    def _main(self) -> None:
        previous, self._previous = self._previous, None
        # What a fork copied has no thread that could finish it.
        if previous is not None and previous._pid == self._pid:  # noqa: SLF001
            previous.finished.wait()
        try:
            run(self._serve())
        finally:
            self.is_stopping = True
            self._inbox.loop = None
            undone = [*self._in_flight, *self._reading]
            queued = [*self._left, *self._writes, *self._reads, *self._late]
            has_given_up = self._has_given_up
            self.finished.set()
            if has_given_up:
                undone += queued
            else:
                # They came between the last look at the queues and the end.
                self._give_back(deque(queued))
            settle([(call, None, StoreError(CLOSED)) for call in undone])
            self._give_back(self._inbox.calls)

    async def _serve(self) -> None:
        self._readable, self._writable = asyncio.Event(), asyncio.Event()
        self._caretaker = Maintenance(self._opened, self._open, self._memory, self._tally)
        self._leasing = LeaseManager(
            self._store,
            self._open,
            self._holds,
            self._tally,
            wake=self._writable.set,
            late=self._late,
            patience=self._patience,
        )
        self._inbox.loop = asyncio.get_running_loop()
        self._sort()
        self._look()
        try:
            watching = asyncio.ensure_future(self._caretaker.run(self._writable.set))
            await asyncio.gather(self._read(), self._write())
            self._caretaker.is_over.set()
            await asyncio.gather(watching, self._leasing.finish(), *self._listings)
        finally:
            self.steps += 1
            if self._opening is not None:
                try:
                    await self._store.close()
                except TROUBLE as error:
                    text = "llmemo: the store failed to close: %s"
                    self._tally.note("errors", "store_close", text, type(error).__name__)

    def _look(self) -> None:
        """See now and then whether a wake-up was lost."""
        if self._inbox.is_stale() or (self.is_stopping and not self.finished.is_set()):
            self._sort()
        asyncio.get_running_loop().call_later(LOOK, self._look)

    def _sort(self) -> None:
        """Empty the inbox into the queues of the two workers."""
        calls = self._inbox.take()
        # Woken for nothing, it is to see that the end has come.
        has_writes = not calls
        for call in calls:
            operation = call.operation
            if isinstance(operation, Get):
                self._reads.append(call)
                continue
            has_writes = True
            if isinstance(operation, Set):
                self._writes.append(call)
                self._queued_bytes += _size(call)
            elif isinstance(operation, Recent):
                # Beside the reads, which must not wait for as long as it takes.
                listing = asyncio.ensure_future(self._list(call, operation.limit))
                self._listings.add(listing)
                listing.add_done_callback(self._listings.discard)
            elif isinstance(operation, Discard):
                self._caretaker.note_damaged(operation.record)
            elif isinstance(operation, (Acquire, Release, Resume)):
                self._leasing.take(call)
            else:
                self._writes.append(call)
        if self._reads:
            self._answer_at_once()
        while self._queued_bytes > MAX_QUEUED_BYTES and len(self._writes) > 1:
            # Of updates, which nobody may be waiting for any more: whoever adds or deletes does.
            oldest = next(call for call in self._writes if _size(call))
            self._writes.remove(oldest)
            self._queued_bytes -= _size(oldest)
            reason = "the queue of writes is full, the oldest is dropped"
            self._tally.note("errors", "write_dropped", "llmemo: %s", reason)
            self._leasing.wrote([oldest], is_done=False)
            settle([(oldest, None, StoreError(reason))])
        if self._reads or not calls:
            self._readable.set()
        if has_writes:
            self._writable.set()

    def _answer_at_once(self) -> None:
        """Most reads wait for nothing: these are spared a turn of this loop."""
        store = self._opened()
        if store is None:
            return
        try:
            found = store.get_at_once(_keys_of(self._reads))
            # As in `_read`.
            found = None if found is None else dict(found)
        except TROUBLE:
            return  # `get` will say what is wrong
        if found is not None:
            reads, self._reads = self._reads, []
            settle([(call, found, None) for call in reads])

    async def _open(self) -> Store:
        """The store, opened. Both workers may ask at once."""
        opening = self._opening
        if opening is None or (
            opening.done() and (opening.cancelled() or opening.exception() is not None)
        ):
            self._opening = opening = asyncio.ensure_future(self._begin())
        await opening
        return self._store

    async def _begin(self) -> None:
        await self._store.open()
        self._tally.has_store()

    def _opened(self) -> Store | None:
        """The store, if it was opened before."""
        opening = self._opening
        if opening is None or not opening.done() or opening.cancelled() or opening.exception():
            return None
        return self._store

    def _told(self, error: BaseException) -> Exception:
        """As the callers are told it: a cancellation inside the store is not one of theirs."""
        if isinstance(error, StoreUnusableError):
            self._tally.has_store(problem=str(error))
        return error if isinstance(error, Exception) else StoreError("the store was cancelled")

    async def _is_next(self, ready: asyncio.Event, has_work: Callable[[], bool]) -> bool:
        """Wait until there is work, or until there will be none any more."""
        while not self._has_given_up:
            if self.is_stopping:
                # What was queued before the end counts, whether we were woken for it or not.
                self._sort()
            if has_work():
                return True
            if self.is_stopping:
                break
            await ready.wait()
            ready.clear()
        return False

    async def _read(self) -> None:
        while await self._is_next(self._readable, lambda: bool(self._reads)):
            while self._reads:
                self._reading, self._reads = self._reads, []
                outcome: tuple[Any, Exception | None]
                found: Any = None
                try:
                    store = await self._open()
                    found = await store.get(_keys_of(self._reading))
                    # A store may return anything, or what runs its code in the caller's thread.
                    outcome = dict(found), None
                except TROUBLE as error:
                    outcome = None, self._told(error)
                done, self._reading = self._reading, []
                settle([(call, *outcome) for call in done])
                # What waits for the next read should keep neither these answers nor their loops.
                del done, outcome, found

    async def _list(self, call: Submission[Sequence[Record]], limit: int) -> None:
        try:
            store = await self._open()
            outcome: Outcome = (call, await store.recent(limit), None)
        except TROUBLE as error:
            outcome = (call, None, self._told(error))
        settle([outcome])

    async def _write(self) -> None:
        while await self._is_next(self._writable, self._has_writes):
            if self._caretaker.has_work and not any(map(_is_brief, self._writes)):
                await self._caretaker.work()
            while self._writes and not self._has_given_up:
                if time.monotonic() > self._hands_over_at:
                    return
                self._in_flight = self._take_batch()
                results, error = await self._execute(self._in_flight)
                self.steps += 1
                batch, self._in_flight = self._in_flight, []
                if self._hands_over_at < math.inf and isinstance(error, StoreUnavailableError):
                    self._writes.extendleft(reversed(batch))
                    return
                self._leasing.is_in_trouble = False
                self._leasing.wrote(batch, is_done=error is None)
                if error is not None and isinstance(batch[0].operation, Set):
                    # Here, since who wrote them may not wait for the outcome any more.
                    self._tally.store_failed("write", error, len(batch))
                if not _is_brief(batch[0]) and error is None and results[0] is None:
                    # There is more to remove: after what came meanwhile, and the caretaker's work.
                    (self._left if self.is_stopping else self._writes).append(batch[0])
                    break
                forget(self._memory, batch[0].operation)
                settle([(call, result, error) for call, result in zip(batch, results, strict=True)])
                await self._leasing.work()
                if self._caretaker.is_due:
                    # Where writes never pause, the store has to be looked after all the more.
                    await self._caretaker.work()
            await self._leasing.work()

    def _has_writes(self) -> bool:
        return bool(self._writes) or self._leasing.has_work or self._caretaker.has_work

    def _take_batch(self) -> list[Submission[Any]]:
        """The oldest write, and with it all that can share its transaction."""
        writes = self._writes
        batch = [writes.popleft()]
        if not isinstance(batch[0].operation, Set):
            return batch
        while writes and len(batch) < MAX_RECORDS_PER_SET and isinstance(writes[0].operation, Set):
            batch.append(writes.popleft())
        self._queued_bytes -= sum(map(_size, batch))
        return batch

    @property
    def _is_urged(self) -> bool:
        """Whether what fails is not to be tried again here."""
        return self._has_given_up or self._hands_over_at < math.inf

    async def _execute(
        self, batch: list[Submission[Any]]
    ) -> tuple[Sequence[Any], Exception | None]:
        """Carry a batch out, however long the store is unavailable. Returns a result for each."""
        attempt, nothing = 0, [None] * len(batch)
        while True:
            try:
                store = await self._open()
                return await _carried_out(store, batch), None
            except StoreUnavailableError as error:
                text = "llmemo: the store is unavailable: %s"
                self._tally.note("errors", "store_unavailable", text, text_of(error))
                self._leasing.is_in_trouble = True
                self._leasing.let_go()
                if not self._is_urged:
                    await asyncio.sleep(RETRY_DELAYS[min(attempt, len(RETRY_DELAYS) - 1)])
                if self._is_urged:
                    return nothing, error
                attempt += 1
            except TROUBLE as error:
                return nothing, self._told(error)


async def _carried_out(store: Store, batch: list[Submission[Any]]) -> Sequence[Any]:
    """The results of a batch: several writes, or one of the other operations."""
    operation = batch[0].operation
    if isinstance(operation, Delete):
        return [await store.delete(operation.keys)]
    if isinstance(operation, Invalidate):
        return [await store.invalidate(operation.selection)]
    if isinstance(operation, Add):
        return [await store.add(operation.records)]
    # Of several records of one key the last counts, and that of each lease.
    sets = [call.operation for call in batch if isinstance(call.operation, Set)]
    if store.leases is not None and any(one.fence is not None for one in sets):
        last = {(one.record.key, one.fence): one for one in sets}.values()
        refused = await store.leases.set([(one.record, one.fence) for one in last])
        return [one.fence in refused for one in sets]
    await store.set(list({one.record.key: one.record for one in sets}.values()))
    return [None] * len(batch)


def _keys_of(reads: Sequence[Submission[Any]]) -> list[bytes]:
    """What they ask for, each key once."""
    gets = [call.operation for call in reads if isinstance(call.operation, Get)]
    return list(dict.fromkeys(key for get in gets for key in get.keys))


def _is_brief(call: Submission[Any]) -> bool:
    return not isinstance(call.operation, Invalidate)


def _size(call: Submission[Any]) -> int:
    return call.operation.record.size + AROUND if isinstance(call.operation, Set) else 0

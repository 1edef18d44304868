"""The private thread: one event loop, one open store, operations batched per wake-up."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from llmemo.concurrency import unpatched
from llmemo.concurrency.interrupts import Latch
from llmemo.concurrency.private_loop import run
from llmemo.errors import StoreError
from llmemo.store_io.calls import CLOSED, Submission, settle
from llmemo.store_io.leases.manager import LeaseManager
from llmemo.store_io.mailbox import Mailbox
from llmemo.store_io.maintenance import Maintenance
from llmemo.store_io.operations import (
    Acquire,
    Discard,
    Get,
    ListQuestions,
    ReadState,
    Recent,
    Release,
    Resume,
    Set,
    SumNamespaces,
)
from llmemo.store_io.read_loop import ReadLoop
from llmemo.store_io.shutdown import Shutdown
from llmemo.store_io.store_opener import StoreOpener
from llmemo.store_io.write_loop import WriteLoop

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo._core import Memory
    from llmemo.store_io.leases.held import HeldLeases
    from llmemo.stores.base import Store
    from llmemo.telemetry.stats import Tally

LOST_WAKE_UP_PAUSE = 0.25
"""Seconds between two looks for calls whose wake-up was lost to a signal handler's exception."""


class Worker:
    """One thread, one loop, one open store."""

    def __init__(
        self,
        store: Store,
        tally: Tally,
        take_back: Callable[[deque[Submission[Any]]], None],
        previous: Worker | None,
        memory: Memory,
        *,
        held: HeldLeases,
        timeout: float,
    ) -> None:
        """Make a worker. Its `thread`, once started, waits for the `previous` worker to finish.

        `take_back` gets the calls that came after the end. `memory` forgets what other processes
        change. `held` are the leases of this process; `timeout`: see `LeaseManager`.
        """
        self._shutdown = Shutdown(self._sort)
        self._late: list[Submission[Any]] = []
        self._pid = os.getpid()
        self._previous = previous
        self.finished = Latch()
        # A daemon: `lifecycle` ends it in order; should that fail, the process ends.
        self.thread = unpatched.thread(self._main, "llmemo-store")
        self._store = store
        self._take_back = take_back
        self._mailbox = Mailbox(self._sort)
        opener = self._opener = StoreOpener(store, tally)
        writable = asyncio.Event()
        self._maintenance = Maintenance(opener, memory, tally)
        self._leases = LeaseManager(
            opener, held, tally, wake=writable.set, late=self._late, timeout=timeout
        )
        self._reads = ReadLoop(opener, self._shutdown, self._leases)
        self._writes = WriteLoop(
            opener,
            self._shutdown,
            memory,
            tally,
            ready=writable,
            leases=self._leases,
            maintenance=self._maintenance,
        )

    # From any thread.

    @property
    def is_stopping(self) -> bool:
        """Whether it takes no more than what is queued."""
        return self._shutdown.is_stopping

    @property
    def steps(self) -> int:
        """Goes up with each step done."""
        return self._shutdown.steps

    @property
    def only_checks(self) -> bool:
        """Whether all that it waits for is how the store is: see `Get.is_check`."""
        reads, writes = self._reads, self._writes
        queued = [*self._mailbox.calls, *reads.in_flight, *reads.queue]
        queued += [*writes.in_flight, *writes.queue, *writes.unfinished]
        operations = [call.operation for call in queued]
        return bool(operations) and all(isinstance(o, Get) and o.is_check for o in operations)

    def submit(self, call: Submission[Any], *, at_once: bool = False) -> None:
        """Queue an operation. Operations are carried out in the order of these calls.

        `at_once`: wake the thread now, without waiting for more calls of the caller's loop.
        """
        self._mailbox.put(call, at_once=at_once)
        if self.finished.is_set():
            self._take_back(self._mailbox.calls)

    def stop(self) -> None:
        """Finish what is queued, then end."""
        self._shutdown.is_stopping = True
        self._mailbox.wake()

    def hand_over(self, seconds: float) -> None:
        """End, and leave to the next worker what is not written in `seconds`.

        If the store is unavailable, it ends at once, without another try.
        """
        self._shutdown.hand_over(seconds)
        self.stop()

    def join(self, timeout: float) -> None:
        """Wait for the end, for `timeout` seconds at most."""
        if not unpatched.is_current(self.thread):
            self.thread.join(min(timeout, threading.TIMEOUT_MAX))

    def give_up(self) -> int:
        """End now. Returns how many writes stay undone."""
        self._shutdown.has_given_up = True
        self._mailbox.wake()
        undone = [*self._mailbox.calls, *self._writes.in_flight, *self._writes.queue]
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
            self._shutdown.is_stopping = True
            self._mailbox.loop = None
            reads, writes = self._reads, self._writes
            undone = [*writes.in_flight, *reads.in_flight]
            queued = [*writes.unfinished, *writes.queue, *reads.queue, *self._late]
            has_given_up = self._shutdown.has_given_up
            self.finished.set()
            if has_given_up:
                undone += queued
            else:
                # They came between the last look at the queues and the end.
                self._take_back(deque(queued))
            settle([(call, None, StoreError(CLOSED)) for call in undone])
            self._take_back(self._mailbox.calls)

    async def _serve(self) -> None:
        self._leases.start()
        self._mailbox.loop = asyncio.get_running_loop()
        self._sort()
        self._find_lost_calls()
        try:
            maintaining = asyncio.ensure_future(self._maintenance.run(self._writes.ready.set))
            await asyncio.gather(self._reads.run(), self._writes.run())
            self._maintenance.is_over.set()
            await asyncio.gather(maintaining, self._leases.finish(), self._reads.finish_listings())
        finally:
            # Also where one of the loops has failed: no reader waits for work then.
            self._shutdown.is_stopping = True
            self._shutdown.steps += 1
            await self._opener.close()

    def _find_lost_calls(self) -> None:
        """See now and then whether a wake-up was lost."""
        if self._mailbox.is_stale() or (self.is_stopping and not self.finished.is_set()):
            self._sort()
        asyncio.get_running_loop().call_later(LOST_WAKE_UP_PAUSE, self._find_lost_calls)

    def _sort(self) -> None:
        """Empty the mailbox into the queues of the two loops."""
        calls = self._mailbox.take()
        # A wake-up without calls means the end: both loops have to see it.
        has_writes = not calls
        for call in calls:
            operation = call.operation
            if isinstance(operation, Get):
                self._reads.queue.append(call)
                continue
            has_writes = True
            if isinstance(operation, (Recent, SumNamespaces, ListQuestions, ReadState)):
                self._reads.begin_listing(call)
            elif isinstance(operation, Discard):
                self._maintenance.note_damaged(operation.record)
            elif isinstance(operation, (Acquire, Release, Resume)):
                self._leases.take(call)
            else:
                self._writes.add(call)
        self._writes.drop_excess()
        if has_writes:
            self._writes.ready.set()
        if not calls:
            self._reads.ready.set()
        elif self._reads.queue and has_writes:
            # After the writes, if these are brief: an answer may be among them.
            asyncio.get_running_loop().call_soon(self._read)
        elif self._reads.queue:
            self._read()

    def _read(self) -> None:
        self._reads.answer_at_once()
        if self._reads.queue:
            self._reads.ready.set()

"""Writes of a store: batches of pending writes; maintenance in between."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from llmemo.errors import StoreError, text_of
from llmemo.store_io.batches import carry_out, shared_by, size_of, take_batch
from llmemo.store_io.calls import Submission, settle
from llmemo.store_io.operations import Invalidate, forget
from llmemo.store_io.store_opener import TROUBLE
from llmemo.stores.base import StoreRefusedError, StoreUnavailableError
from llmemo.stores.reasons import reason_of

if TYPE_CHECKING:
    from llmemo._core import Memory
    from llmemo.store_io.calls import Outcome
    from llmemo.store_io.leases.manager import LeaseManager
    from llmemo.store_io.maintenance import Maintenance
    from llmemo.store_io.shutdown import Shutdown
    from llmemo.store_io.store_opener import StoreOpener
    from llmemo.telemetry.stats import Tally

MAX_QUEUED_BYTES = 64 * 2**20
"""Memory that updates waiting to be written may take; beyond it the oldest are dropped."""

MAX_RECORDS_PER_SET = 1024
"""Most records in one transaction, so that no write keeps other processes waiting for long."""

RETRY_DELAYS = (0.02, 0.1, 0.5, 1.0)
"""Seconds between attempts while the store is unavailable; the last one repeats."""


class WriteLoop:
    """The part of a worker that writes. On the private loop."""

    def __init__(
        self,
        opener: StoreOpener,
        shutdown: Shutdown,
        memory: Memory,
        tally: Tally,
        *,
        ready: asyncio.Event,
        leases: LeaseManager,
        maintenance: Maintenance,
    ) -> None:
        """Begin with an empty queue. `ready` is set when there may be something to do.

        `leases` and `maintenance` work between writes; `memory` forgets what was removed.
        """
        self._opener = opener
        self._shutdown = shutdown
        self.ready = ready
        self._leases = leases
        self._maintenance = maintenance
        self._memory = memory
        self._tally = tally
        self.queue: deque[Submission[Any]] = deque()
        self.in_flight: list[Submission[Any]] = []
        """What the store is carrying out."""
        self.unfinished: list[Submission[Any]] = []
        """What takes long, and was begun before the end came: the next worker goes on with it."""
        self._queued_bytes = 0

    def add(self, call: Submission[Any]) -> None:
        """Queue a write."""
        self.queue.append(call)
        self._queued_bytes += _size(call)

    def drop_excess(self) -> None:
        """Drop the oldest updates while the queue takes too much memory.

        Only updates, since their callers may have left; a caller that adds or deletes waits.
        """
        while self._queued_bytes > MAX_QUEUED_BYTES and len(self.queue) > 1:
            oldest = next(call for call in self.queue if _size(call))
            self.queue.remove(oldest)
            self._queued_bytes -= _size(oldest)
            reason = "the queue of writes is full, the oldest is dropped"
            self._tally.note("errors", "write_dropped", "llmemo: %s", reason)
            self._leases.wrote([oldest], is_done=False)
            settle([(oldest, None, StoreError(reason))])

    async def run(self) -> None:
        """Write until the worker ends."""
        while await self._shutdown.has_next(self.ready, self._has_work):
            if self._maintenance.has_work and not any(map(_is_brief, self.queue)):
                await self._maintenance.work()
            while self.queue and not self._shutdown.has_given_up:
                if self._shutdown.is_time_over:
                    return
                self.in_flight = self._take_batch()
                outcomes = await self._execute(self.in_flight)
                self._shutdown.steps += 1
                batch, self.in_flight = self.in_flight, []
                error = outcomes[0][2]
                if self._shutdown.hands_over and isinstance(error, StoreUnavailableError):
                    self.queue.extendleft(reversed(batch))
                    return
                if not self._finish(outcomes):
                    break
                await self._leases.work()
                if self._maintenance.is_due:
                    # Where writes never pause, the store needs its upkeep all the more.
                    await self._maintenance.work()
            await self._leases.work()

    def _finish(self, outcomes: list[Outcome]) -> bool:
        """Hand out the outcomes of a batch. Returns False if there is more to remove."""
        self._leases.is_in_trouble = False
        if any(error is None for _, _, error in outcomes):
            self._tally.writing.end()
        first, result, error = outcomes[0]
        failed = [one for one in outcomes if one[2] is not None]
        self._leases.wrote((call for call, _, error in outcomes if error is None), is_done=True)
        self._leases.wrote((call for call, _, _ in failed), is_done=False)
        if failed and shared_by(first.operation) is not None:
            # Here, since the callers may not wait for the outcomes any more. It is one error.
            self._count(failed[0][2], len(failed))
        if not _is_brief(first) and error is None and result is None:
            # The rest of a removal comes after newer writes, and after maintenance.
            (self.unfinished if self._shutdown.is_stopping else self.queue).append(first)
            return False
        forget(self._memory, first.operation)
        settle(outcomes)
        return True

    def _count(self, error: Exception | None, count: int) -> None:
        if isinstance(error, StoreRefusedError):
            text = "llmemo: the store refuses to write: %s"
            self._tally.note("errors", "store_refused", text, text_of(error), count=count)
        elif error is not None:
            self._tally.writing.begin(f"the store fails to write: {reason_of(error)}")
            self._tally.store_failed("write", error, count)

    def _has_work(self) -> bool:
        return bool(self.queue) or self._leases.has_work or self._maintenance.has_work

    def _take_batch(self) -> list[Submission[Any]]:
        """The oldest write, and with it all that can share its transaction."""
        batch = take_batch(self.queue, MAX_RECORDS_PER_SET)
        self._queued_bytes -= sum(map(_size, batch))
        return batch

    async def _execute(self, batch: list[Submission[Any]]) -> list[Outcome]:
        """Carry a batch out, however long the store is unavailable."""
        if shared_by(batch[0].operation) is not None:  # a removal may take its time
            self._tally.writing.started()
        try:
            return await self._insist(batch)
        finally:
            self._tally.writing.stopped()

    async def _insist(self, batch: list[Submission[Any]]) -> list[Outcome]:
        attempt = 0
        while True:
            try:
                store = await self._opener.open()
                return await carry_out(store, batch, self._tally)
            except StoreUnavailableError as error:
                text = "llmemo: the store is unavailable: %s"
                self._tally.note("errors", "store_unavailable", text, text_of(error))
                self._tally.writing.begin(f"the store fails to write: {reason_of(error)}")
                self._leases.is_in_trouble = True
                self._leases.dismiss_waiters()
                if not self._shutdown.is_urgent:
                    await asyncio.sleep(RETRY_DELAYS[min(attempt, len(RETRY_DELAYS) - 1)])
                if self._shutdown.is_urgent:
                    return [(call, None, error) for call in batch]
                attempt += 1
            except TROUBLE as error:
                trouble = self._opener.translated(error)
                return [(call, None, trouble) for call in batch]


def _is_brief(call: Submission[Any]) -> bool:
    return not isinstance(call.operation, Invalidate)


def _size(call: Submission[Any]) -> int:
    return size_of(call.operation)

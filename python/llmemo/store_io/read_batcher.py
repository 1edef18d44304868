"""One read of the store for all lookups of one pass of an event loop (as DataLoader batches).

Each lookup has a future of its own, and nothing else: one operation, one timer, one wake-up there
and one message back are for the batch. As a call of its own each took half as long again.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from typing import TYPE_CHECKING, TypeAlias

from llmemo._core import Insisting
from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.concurrency.loop_timers import SHARED, deadline
from llmemo.store_io.calls import Submission
from llmemo.store_io.operations import NOTHING_FOUND, Found, Get
from llmemo.stores.lease_store import Grant

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.store_io.executor import Executor
    from llmemo.store_io.store_health import StoreHealth
    from llmemo.stores.lease_store import LeaseState
    from llmemo.stores.records import Record

Read: TypeAlias = "tuple[Record | None, Grant | LeaseState | None, float]"
"""The record, if there is one; the lease, if it was wanted and the store can tell; and the seconds
that are left of the caller's time budget."""


class Batch(Submission["Found"]):
    """The reads that begin in one pass of an event loop."""

    __slots__ = (
        "__weakref__",
        "_begun",
        "_end",
        "_executor",
        "_health",
        "_is_over",
        "_loop",
        "_make",
        "_reads",
        "_timeout",
        "_wanted",
        "is_sent",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        executor: Executor,
        health: StoreHealth,
        timeout: float,
        give_back: Callable[[Found | None], object],
    ) -> None:
        """Begin one on the running loop. It expires `timeout` seconds after it is sent.

        `give_back` ends the leases that no caller has taken.
        """
        self.loop = self._loop = loop
        self._reads: list[tuple[bytes, asyncio.Future[Read]]] = []
        self._wanted: list[bytes] = []
        self.operation: Get = Get((), self._wanted, give_back)
        self._executor = executor
        self._health = health
        self._timeout = timeout
        self._begun = time.monotonic()
        self._make = loop.create_future
        self.is_sent = False
        """Whether it is too late to join."""
        self._is_over = False
        # From now on, for the case that nothing sends it: see `expire`.
        self._end = deadline(loop, timeout)
        self._end.waiting.add(self)

    @property
    def is_over(self) -> bool:
        """Whether the outcome was handed out."""
        return self._is_over

    def join(self, key: bytes, *, wants_lease: bool) -> asyncio.Future[Read]:
        """Add a read."""
        future: asyncio.Future[Read] = self._make()
        self._reads.append((key, future))
        if wants_lease:
            self._wanted.append(key)
        return future

    def forgo_leases(self) -> None:
        """Ask for none: the callers do so one by one, after the read."""
        self._wanted.clear()

    def send(self) -> None:
        """Send it to the store. Nothing joins any more."""
        if self.is_sent:
            return
        health = self._health
        try:
            # Here: who interrupts it from now on has the batch handed out.
            self.is_sent = True
            now = time.monotonic()
            # Not before: the pass may have taken long, and the store has nothing to do with that.
            if now - self._begun > SHARED * self._timeout:
                self._end.leave(self)
                self._end = deadline(self._loop, self._timeout)
                self._end.waiting.add(self)
            self._begun = now
            self.operation.keys = [key for key, _ in self._reads]
            health.batch_begins(self)
            if health.reads.is_open:
                # It was not when they began. (If it opens now, it releases this batch.)
                health.reads_refused(self._hand_out(NOTHING_FOUND, self._timeout))
            else:
                self._executor.submit(self, at_once=True)
        except Exception as error:  # the store may be closed, or find no thread
            if is_interrupt(error):
                self._hand_out(NOTHING_FOUND, self._timeout)
                raise
            self.set(None, error)
        except BaseException:
            self._hand_out(NOTHING_FOUND, self._timeout)
            raise

    def expire(self) -> None:
        """Give up, or send the batch if that has not been done yet."""
        if self.is_sent:
            super().expire()
        else:
            # The pass takes long; or what was to send it has not come about.
            self.send()

    def set(self, result: Found | None, error: Exception | None) -> None:
        """Hand the outcome out to all lookups; without effect the second time."""
        if self._is_over:
            self.unclaimed(result)
            return
        left = 0.0
        # It may come early, and what is left then is not worth another wait.
        if not isinstance(error, NotYetError):
            left = max(0.0, self._timeout - (time.monotonic() - self._begun))
        self._health.reads_done(self._hand_out(result or NOTHING_FOUND, left), error)

    def _hand_out(self, found: Found, left: float) -> int:
        """Set the futures of those that still wait. Returns how many they are."""
        waiting, (records, leases) = 0, found
        for key, future in self._reads:
            if not future.done():
                lease = leases.get(key) if leases else None
                future.set_result((records.get(key), lease, left))
                if isinstance(lease, Grant):
                    # For one of them: the others will wait for that one.
                    del leases[key]
                waiting += 1
            elif leases and not future.cancelled() and future.result()[1] is leases.get(key):
                # It has it: an exception came in between, the first time.
                leases.pop(key, None)
        if leases:
            self.unclaimed(Found({}, leases))
        # As the last: what was interrupted is done once more.
        self._end.leave(self)
        self._is_over = True
        return waiting


class _Last(threading.local):
    batch: weakref.ref[Batch] | None = None
    """The last of this thread. Weak: a loop that is closed must go."""


class ReadBatcher:
    """Gathers the reads of each pass of each event loop."""

    def __init__(
        self,
        executor: Executor,
        health: StoreHealth,
        timeout: float,
        give_back: Callable[[Found | None], object],
    ) -> None:
        """Arguments as for `Batch`."""
        self._give_back = give_back
        self._executor = executor
        self._health = health
        self._timeout = timeout
        self._last = _Last()

    def read(self, key: bytes, *, wants_lease: bool) -> asyncio.Future[Read]:
        """Read the record of a key, for a task of the running loop."""
        loop = asyncio.get_running_loop()
        reference = self._last.batch
        batch = None if reference is None else reference()
        # (A loop that was stopped may go on in another thread, and come back.)
        if batch is None or batch.loop is not loop or batch.is_sent:
            batch = Batch(loop, self._executor, self._health, self._timeout, self._give_back)
            # Before other reads can join it.
            loop.call_soon(Insisting(batch.send))
            self._last.batch = weakref.ref(batch)
        return batch.join(key, wants_lease=wants_lease)

    def forgo_leases(self) -> None:
        """Have the reads of this thread that are not sent yet ask for no leases; later ones do."""
        reference = self._last.batch
        batch = None if reference is None else reference()
        if batch is not None and not batch.is_sent:
            batch.forgo_leases()
            # As the second: what was interrupted is done once more.
            self._last.batch = None

"""What the tasks of an event loop look for in one pass: one read of the store, for them all.

Each has a future of its own, and nothing else: one operation, one timer, one wake-up there and one
message back are for the pass. As a call of its own each took half as long again.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from typing import TYPE_CHECKING, Protocol, TypeAlias

from llmemo._core import Insisting
from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.store_io.calls import Submission
from llmemo.store_io.operations import Get
from llmemo.store_io.timeouts import SHARED, deadline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmemo.stores import Record

Found: TypeAlias = "tuple[Record | None, float]"
"""What was read, if anything, and the seconds that are left of the caller's patience."""


class Reader(Protocol):
    """Who reads."""

    def send(self, reads: Batch) -> None:
        """Have them read. May raise."""

    def are_over(self, reads: int, error: Exception | None) -> None:
        """So many were read that somebody still waits for, or not."""


class Batch(Submission["Mapping[bytes, Record]"]):
    """The reads that begin in one pass of an event loop."""

    __slots__ = (
        "__weakref__",
        "_begun",
        "_end",
        "_is_over",
        "_loop",
        "_make",
        "_patience",
        "_reader",
        "_reads",
        "is_sent",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, reader: Reader, patience: float) -> None:
        """Of the running loop. `patience`: seconds until they are given up, once they are sent."""
        self.loop = self._loop = loop
        self._reads: list[tuple[bytes, asyncio.Future[Found]]] = []
        self.operation = Get(())
        self._reader = reader
        self._patience = patience
        self._begun = time.monotonic()
        self._make = loop.create_future
        self.is_sent = False
        """Whether it is too late to join."""
        self._is_over = False
        # From now on, for the case that nobody sends it: see `expire`.
        self._end = deadline(loop, patience)
        self._end.waiting.add(self)

    @property
    def is_over(self) -> bool:
        """See `Submission.is_over`."""
        return self._is_over

    def join(self, key: bytes) -> asyncio.Future[Found]:
        """Read this, too."""
        future: asyncio.Future[Found] = self._make()
        self._reads.append((key, future))
        return future

    def send(self) -> None:
        """Have them read. Nothing joins any more."""
        if self.is_sent:
            return
        self.is_sent = True
        try:
            now = time.monotonic()
            # Not before: the pass may have taken long, and the store has nothing to do with that.
            if now - self._begun > SHARED * self._patience:
                self._end.leave(self)
                self._end = deadline(self._loop, self._patience)
                self._end.waiting.add(self)
            self._begun = now
            self.operation = Get([key for key, _ in self._reads])
            self._reader.send(self)
        except Exception as error:  # the store may be closed, or find no thread
            if is_interrupt(error):
                self._hand_out({}, self._patience)
                raise
            self.set(None, error)
        except BaseException:
            self._hand_out({}, self._patience)
            raise

    def expire(self) -> None:
        """See `Submission.expire`."""
        if self.is_sent:
            super().expire()
        else:
            # The pass takes long; or what was to send it has not come about.
            self.send()

    def set(self, result: Mapping[bytes, Record] | None, error: Exception | None) -> None:
        """See `Submission.set`."""
        if self._is_over:
            return
        left = 0.0
        # It may come early, and what is left then is not worth another wait.
        if not isinstance(error, NotYetError):
            left = max(0.0, self._patience - (time.monotonic() - self._begun))
        self._reader.are_over(self._hand_out({} if result is None else result, left), error)

    def _hand_out(self, found: Mapping[bytes, Record], left: float) -> int:
        """Tell those who still wait. Returns how many they are."""
        waiting = 0
        for key, future in self._reads:
            if not future.done():
                future.set_result((found.get(key), left))
                waiting += 1
        # As the last: what was interrupted is done once more.
        self._end.leave(self)
        self._is_over = True
        return waiting


class _Last(threading.local):
    gathered: weakref.ref[Batch] | None = None
    """Of this thread. Weak: a loop that is closed must go."""


class ReadBatcher:
    """Gathers the reads of each pass of each event loop."""

    def __init__(self, patience: float) -> None:
        """`patience`: see `Batch`."""
        self._patience = patience
        self._last = _Last()

    def read(self, key: bytes, reader: Reader) -> asyncio.Future[Found]:
        """The record of a key, for who awaits it in the running loop."""
        loop = asyncio.get_running_loop()
        reference = self._last.gathered
        gathered = None if reference is None else reference()
        # (A loop that was stopped may go on in another thread, and come back.)
        if gathered is None or gathered.loop is not loop or gathered.is_sent:
            gathered = Batch(loop, reader, self._patience)
            # Before others can join it.
            loop.call_soon(Insisting(gathered.send))
            self._last.gathered = weakref.ref(gathered)
        return gathered.join(key)

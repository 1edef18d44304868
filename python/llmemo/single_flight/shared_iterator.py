"""Streams that several threads read. Whichever of them wants the next chunk asks the model for it.

No thread is made: a reader that finds no further chunk takes a step of the model's iterator, while
the others wait for that step. So the model is asked for as long as one reader goes on, however slow
or gone the others are.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from llmemo.concurrency.interrupts import is_interrupt
from llmemo.single_flight.chunk_log import NOTHING_YET
from llmemo.single_flight.live_streams import (
    THREADS,
    JoinedReader,
    StreamLostError,
    without_frames,
)
from llmemo.single_flight.liveness import Look
from llmemo.single_flight.turns import Turns
from llmemo.single_flight.watchdog import DOUBT

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Generator
    from types import TracebackType

    from llmemo.single_flight.chunk_log import ChunkLog

STUCK = 60.0
"""Seconds after which a reader that has been given chunks no longer waits for a step that stands
still."""


class SharedIterator:
    """One stream, and its readers in any threads."""

    place = THREADS

    def __init__(
        self,
        log: ChunkLog,
        produce: Callable[[SharedIterator], Generator[Any, None, None]],
        context: contextvars.Context,
        abandoned: Callable[[SharedIterator], object] = lambda _: None,
    ) -> None:
        """Begin it: `produce` makes the chunks, step by step and in this context.

        `abandoned`: called once there is no reader left, before the model's stream is closed.
        """
        self.log = log
        self.has_ended = False
        self.error: BaseException | None = None
        """What the model, or the way there, has raised."""
        self.traceback: TracebackType | None = None
        """Of the error, without the frames of readers: who keeps it would keep their streams."""
        self.is_lost = False
        """Whether the error is for its thread alone: another stopped it, as a signal handler."""
        self.hit: Any = None
        """The answer that turned up before the model was asked."""
        self.answer: Any = None
        """What the model's chunks amount to, once it is kept."""
        self.is_abandoned = False
        """Whether it was closed before its end, since there was no reader left."""
        self.turns = Turns()
        self._context = context
        self._abandoned = abandoned
        # A finalizer may leave while this thread joins: no lock here, only steps.
        self._joined: list[None] = []
        self._left: list[None] = []
        self._chunks = produce(self)

    @property
    def is_open(self) -> bool:
        """Whether a reader may join."""
        return not (self.has_ended or self.is_abandoned or self.log.refusal)

    def join(self, *, is_first: bool = False) -> IteratorReader | None:
        """Another reader, from the first chunk on; None if it is too late."""
        self._joined.append(None)
        place = None if self.is_abandoned else self.log.reader(is_first=is_first)
        if place is None:
            self.leave()
            return None
        return IteratorReader(self, place)

    def leave(self) -> None:
        """One reader less. The last one closes the model's stream."""
        self._left.append(None)
        if self._is_unread and not self.has_ended:
            try:
                # A step that another thread takes now is the last reader's, or it finds none.
                if self.turns.take():
                    self._close()
            finally:
                self.turns.give_back()
        if self._is_unread:
            self.error, self.traceback = without_frames(self.error), None

    @property
    def _is_unread(self) -> bool:
        return len(self._left) >= len(self._joined)

    def _close(self) -> None:
        # First this: a reader that joins from now on sees it, and leaves.
        self.is_abandoned = True
        if not self._is_unread:
            self.is_abandoned = False
        elif not self.has_ended:
            self.has_ended = True
            self._abandoned(self)
            self._context.run(self._chunks.close)

    def advance(self, position: int, *, may_wait: bool) -> bool:
        """Come to where there is a chunk at `position`, or the end.

        Returns False if the thread whose turn it is stands still, maybe since it needs this one:
        at once, unless the caller `may_wait` for longer.
        """
        since: float | None = None
        try:
            while not self.turns.wait():
                if self.has_ended or self.log.count > position:
                    return True
                now = time.monotonic()
                since = None if self._gets_on() else since or now
                if since is not None and now - since >= (STUCK if may_wait else DOUBT):
                    return False
            if not self.has_ended and self.log.count == position:
                self._step()
        finally:
            self.turns.give_back()
        return True

    def _gets_on(self) -> bool:
        thread = self.turns.thread
        try:
            return not thread or Look().gets_on(thread)
        except Exception:  # noqa: BLE001 (of something private that is not as it was)
            return False

    def _step(self) -> None:
        # All of it: a chunk that is lost on the way must not leave a gap.
        try:
            self.log.ask()
            chunk = self._context.run(next, self._chunks, NOTHING_YET)
            if chunk is NOTHING_YET:
                self.has_ended = True
            else:
                self.log.add(chunk)
        except BaseException as error:
            self.is_lost = not isinstance(error, Exception) or is_interrupt(error)
            # Before the end: readers look at that first.
            self.error, self.traceback = error, error.__traceback__
            self.has_ended = True
            self._context.run(self._chunks.close)
            raise


class IteratorReader(JoinedReader[SharedIterator]):
    """One reader of a shared iterator."""

    __slots__ = ()

    def next(self) -> Any:
        """The next chunk; `NOTHING_YET` at the end.

        Raises:
            BaseException: Whatever the model has raised.
            StreamLostError: Another thread was stopped while it asked the model, or stands still.
        """
        stream, reader = self.stream, self._reader
        while True:
            # In this order: the last chunk comes before the end.
            has_ended = stream.has_ended
            chunk = reader.next()
            if chunk is not NOTHING_YET:
                return chunk
            if has_ended:
                return self._end()
            try:
                gets_on = stream.advance(reader.position, may_wait=reader.position > 0)
            finally:
                # An exception of a signal handler may have come before that was done there.
                stream.turns.give_back()
            if not gets_on:
                msg = "a stream stands still that another caller began, and this one reads along"
                raise StreamLostError(msg)

    def _end(self) -> Any:
        error = self.stream.error
        if error is None:
            return NOTHING_YET
        try:
            if self.stream.is_lost:
                msg = f"the caller who began this stream was stopped ({type(error).__name__})"
                raise StreamLostError(msg)
            raise error.with_traceback(self.stream.traceback)
        finally:
            del error

"""Streams that several threads read. Whichever of them wants the next chunk asks the model for it.

No thread is made: a reader that finds no further chunk takes a step of the model's iterator, while
the others wait for that step. So the model is asked for as long as one reader goes on, however slow
or gone the others are.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from llmemo.single_flight.chunk_log import NOTHING_YET

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Generator

    from llmemo.single_flight.chunk_log import ChunkLog


class SharedIterator:
    """One stream, and its readers in any threads."""

    def __init__(
        self,
        log: ChunkLog,
        produce: Callable[[SharedIterator], Generator[Any, None, None]],
        context: contextvars.Context,
    ) -> None:
        """Begin it: `produce` makes the chunks, step by step and in this context."""
        self.log = log
        self.has_ended = False
        self.error: BaseException | None = None
        """What the model, or the way there, has raised."""
        self.hit: Any = None
        """The answer that turned up before the model was asked."""
        self.answer: Any = None
        """What the model's chunks amount to, once it is kept."""
        self.is_abandoned = False
        """Whether it was closed before its end, since there was no reader left."""
        self._context = context
        self._step = threading.Lock()
        # A finalizer may leave while this thread joins: no lock here, only steps.
        self._joined: list[None] = []
        self._left: list[None] = []
        self._chunks = produce(self)

    def join(self, *, is_first: bool = False) -> IteratorReader | None:
        """Another reader, from the first chunk on; None if it is too late."""
        self._joined.append(None)
        if self.is_abandoned:
            self.leave()
            return None
        return IteratorReader(self, is_first=is_first)

    def leave(self) -> None:
        """One reader less. The last one closes the model's stream."""
        self._left.append(None)
        # A step that another thread takes now is the last reader's, or it finds none.
        if self._is_unread and not self.has_ended and self._step.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._step.release()

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
            self._context.run(self._chunks.close)

    def advance(self, position: int) -> None:
        """Come to where there is a chunk at `position`, or the end."""
        with self._step:
            if self.has_ended or self.log.count > position:
                return
            try:
                chunk = self._context.run(next, self._chunks, NOTHING_YET)
            except BaseException as error:
                # Before the end: readers look at that first.
                self.error = error
                self.has_ended = True
                raise
            if chunk is NOTHING_YET:
                self.has_ended = True
            else:
                self.log.add(chunk)


class IteratorReader:
    """One reader of a shared iterator."""

    __slots__ = ("_has_left", "_reader", "stream")

    def __init__(self, stream: SharedIterator, *, is_first: bool) -> None:
        """Made by `SharedIterator.join`."""
        self.stream = stream
        self._reader = stream.log.reader(is_first=is_first)
        self._has_left = False

    def next(self) -> Any:
        """The next chunk; `NOTHING_YET` at the end.

        Raises:
            BaseException: Whatever the model has raised.
        """
        stream, reader = self.stream, self._reader
        chunk = reader.next()
        while chunk is NOTHING_YET:
            if stream.has_ended:
                if stream.error is not None:
                    raise stream.error
                return NOTHING_YET
            stream.advance(reader.position)
            chunk = reader.next()
        return chunk

    @property
    def position(self) -> int:
        """Chunks that were read."""
        return self._reader.position

    def leave(self) -> None:
        """Read no more. Without effect the second time."""
        if not self._has_left:
            self._has_left = True
            self.stream.leave()

    __del__ = leave

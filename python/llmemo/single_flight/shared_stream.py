"""Streams that several tasks of an event loop read, while one task asks the model.

    reader ──┐
    reader ──┼── log ◄── a task of its own ◄── the model
    reader ──┘

The task goes on for as long as anyone reads. Once there is no reader left it is cancelled, and the
model's stream with it. A reader that comes later gets what has passed already, then the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from llmemo.single_flight.chunk_log import RECENT_MAX
from llmemo.single_flight.live_streams import JoinedReader, without_frames

if TYPE_CHECKING:
    import contextvars
    from collections.abc import AsyncIterator, Callable, Coroutine
    from types import TracebackType

    from llmemo.single_flight.chunk_log import ChunkLog


class SharedStream:
    """One stream, its task, and its readers. All of it belongs to one event loop."""

    def __init__(
        self,
        log: ChunkLog,
        produce: Callable[[SharedStream], Coroutine[Any, Any, None]],
        context: contextvars.Context,
        abandoned: Callable[[SharedStream], object] = lambda _: None,
    ) -> None:
        """To be begun on the running loop.

        Args:
            log: Empty.
            produce: Adds to it by `feed`, in a task of its own.
            context: Of that task.
            abandoned: Called as soon as there is no reader left, however long the model takes to
                close its stream.
        """
        self.log = log
        self.place = asyncio.get_running_loop()
        self.has_ended = False
        self.error: BaseException | None = None
        """What the model, or the way there, has raised."""
        self.hit: Any = None
        """The answer that turned up before the model was asked."""
        self.answer: Any = None
        """What the model's chunks amount to, once it is kept."""
        self.is_abandoned = False
        """Whether it was closed before its end, since there was no reader left."""
        self._traceback: TracebackType | None = None
        self._produce = produce
        self._context = context
        self._abandoned = abandoned
        self._readers = 0
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._waits_for_readers: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether a reader may join."""
        return not (self.has_ended or self.is_abandoned or self.log.refusal)

    def begin(self) -> None:
        """Ask the model. After the first reader has joined: a task may begin, and end, at once."""
        task = self._task = self._context.run(self.place.create_task, self._run())
        # A loop that is closed with it says nothing of a plain stream, either.
        with contextlib.suppress(AttributeError):  # of a task factory's own kind
            task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001

    async def _run(self) -> None:
        try:
            await self._produce(self)
        except (KeyboardInterrupt, SystemExit, GeneratorExit) as error:
            self.error = error
            raise  # to the caller that runs the loop, or drops what is left of a closed one
        except BaseException as error:  # noqa: BLE001 (the readers raise it)
            self.error, self._traceback = error, error.__traceback__
        finally:
            self.has_ended = True
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._wake()

    async def feed(self, chunks: AsyncIterator[Any]) -> None:
        """Add the chunks of a model's stream, to its end."""
        try:
            await self._feed(chunks)
        except GeneratorExit:
            raise  # the loop is closed: nothing can be awaited any more
        except BaseException:
            await _close(chunks)
            raise
        await _close(chunks)

    async def _feed(self, chunks: AsyncIterator[Any]) -> None:
        log, behind = self.log, 0
        log.ask()
        async for chunk in chunks:
            if self.is_abandoned:
                # The model has taken no notice of it.
                raise asyncio.CancelledError
            log.add(chunk)
            if self._waiting:
                self._wake()
                behind = 0
            else:
                # The model is faster than its readers: let them read.
                behind += 1
                if behind == RECENT_MAX - 1:
                    behind = 0
                    await asyncio.sleep(0)
                while log.refusal is not None and log.is_full:
                    await self._until_read(None)

    async def read_to_its_end(self, patience: float) -> None:
        """Wait until a reader has come to the last chunk: until then all may leave the stream.

        So many seconds at most: callers that want no stream may wait for the answer.
        """
        end = self.place.time() + patience
        while not self.log.is_read and (rest := end - self.place.time()) > 0:
            await self._until_read(rest)

    async def _until_read(self, seconds: float | None) -> None:
        waits = self._waits_for_readers = self.place.create_future()
        timer = None if seconds is None else self.place.call_later(seconds, self.was_read)
        try:
            await waits
        finally:
            self._waits_for_readers = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def join(self, *, is_first: bool = False) -> StreamReader | None:
        """Another reader, from the first chunk on; None if it is too late."""
        reader = self.log.reader(is_first=is_first)
        if reader is None:
            return None
        self._readers += 1
        return StreamReader(self, reader)

    def leave(self) -> None:
        """One reader less. Called by finalizers, too: at any time, in any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the task gone
            self.place.call_soon_threadsafe(self._left)

    def _left(self) -> None:
        self._readers -= 1
        if self._readers == 0 and self.has_ended:
            self.error, self._traceback = without_frames(self.error), None
        elif self._readers == 0:
            self.is_abandoned = True
            self._abandoned(self)
            if self._task is not None:
                self._task.cancel()
        else:
            self.was_read()

    def was_read(self) -> None:
        """Let the model go on, if it waits for a reader."""
        waits = self._waits_for_readers
        if waits is not None and not waits.done():
            waits.set_result(None)

    async def change(self) -> None:
        """Wait until there is more to read, or the end."""
        future = self.place.create_future()
        self._waiting[future] = None
        try:
            await future
        finally:
            self._waiting.pop(future, None)


async def _close(chunks: AsyncIterator[Any]) -> None:
    # An iterator of a user's class need not have it.
    close = getattr(chunks, "aclose", None)
    if close is not None:
        await close()


class StreamReader(JoinedReader[SharedStream]):
    """One reader of a shared stream."""

    __slots__ = ()

    def next_at_once(self) -> Any:
        """The next chunk, or `NOTHING_YET`."""
        chunk = self._reader.next()
        if self.stream._waits_for_readers is not None:  # noqa: SLF001
            self.stream.was_read()
        return chunk

    async def wait(self) -> bool:
        """Wait for the next chunk. Returns whether there is one; at the end there is none."""
        stream, reader = self.stream, self._reader
        while reader.position == stream.log.count:
            if stream.has_ended:
                return False
            await stream.change()
        return True

    def end(self) -> None:
        """The stream has ended.

        Raises:
            BaseException: Whatever the model has raised.
        """
        stream = self.stream
        if stream.error is not None:
            # Without the frames of other readers: who keeps the error would keep their streams.
            raise stream.error.with_traceback(stream._traceback)  # noqa: SLF001

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

if TYPE_CHECKING:
    import contextvars
    from collections.abc import AsyncIterator, Callable, Coroutine

    from llmemo.single_flight.chunk_log import ChunkLog


class SharedStream:
    """One stream, its task, and its readers. All of it belongs to one event loop."""

    def __init__(
        self,
        log: ChunkLog,
        produce: Callable[[SharedStream], Coroutine[Any, Any, None]],
        context: contextvars.Context,
    ) -> None:
        """Begin it. `produce` adds to it by `feed`, in a task of its own and in this context.

        It has to be called on the running loop.
        """
        self.log = log
        self.loop = asyncio.get_running_loop()
        self.has_ended = False
        self.error: BaseException | None = None
        """What the model, or the way there, has raised."""
        self.hit: Any = None
        """The answer that turned up before the model was asked."""
        self.answer: Any = None
        """What the model's chunks amount to, once it is kept."""
        self.is_abandoned = False
        """Whether it was closed before its end, since there was no reader left."""
        self._readers = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._waits_for_readers: asyncio.Future[None] | None = None
        self.task = context.run(self.loop.create_task, self._run(produce))
        # A loop that is closed with it says nothing of a plain stream, either.
        self.task._log_destroy_pending = False  # type: ignore[attr-defined] # noqa: SLF001

    async def _run(self, produce: Callable[[SharedStream], Coroutine[Any, Any, None]]) -> None:
        try:
            await produce(self)
        except (KeyboardInterrupt, SystemExit) as error:
            self.error = error
            raise  # to whoever runs the loop
        except BaseException as error:  # noqa: BLE001 (the readers raise it)
            self.error = error
        finally:
            self.has_ended = True
            self._wake()

    async def feed(self, chunks: AsyncIterator[Any]) -> None:
        """Add the chunks of a model's stream, to its end."""
        log, behind = self.log, 0
        try:
            async for chunk in chunks:
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
                        await self._until_read()
        finally:
            # An iterator of a user's class need not have it.
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()

    async def _until_read(self) -> None:
        self._waits_for_readers = self.loop.create_future()
        try:
            await self._waits_for_readers
        finally:
            self._waits_for_readers = None

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def join(self, *, is_first: bool = False) -> StreamReader:
        """Another reader, from the first chunk on."""
        self._readers += 1
        return StreamReader(self, is_first=is_first)

    def leave(self) -> None:
        """One reader less. Called by finalizers, too: at any time, in any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the task gone
            self.loop.call_soon_threadsafe(self._left)

    def _left(self) -> None:
        self._readers -= 1
        if self._readers == 0 and not self.has_ended:
            self.is_abandoned = True
            self.task.cancel()
        self.was_read()

    def was_read(self) -> None:
        """Let the model go on, if it waits for a reader."""
        waits = self._waits_for_readers
        if waits is not None and not waits.done():
            waits.set_result(None)

    def change(self) -> asyncio.Future[None]:
        """Done as soon as there is more to read, or the end."""
        future = self.loop.create_future()
        if self.has_ended:
            future.set_result(None)
        else:
            self._waiting.append(future)
        return future


class StreamReader:
    """One reader of a shared stream."""

    __slots__ = ("_has_left", "_reader", "stream")

    def __init__(self, stream: SharedStream, *, is_first: bool) -> None:
        """Made by `SharedStream.join`."""
        self.stream = stream
        self._reader = stream.log.reader(is_first=is_first)
        self._has_left = False

    def next_at_once(self) -> Any:
        """The next chunk, or `NOTHING_YET`."""
        chunk = self._reader.next()
        if self.stream._waits_for_readers is not None:  # noqa: SLF001
            self.stream.was_read()
        return chunk

    async def wait(self) -> bool:
        """Wait for the next chunk. Returns whether there is one; at the end there is none.

        Raises:
            BaseException: Whatever the model has raised.
        """
        stream, reader = self.stream, self._reader
        while reader.position == stream.log.count:
            if stream.has_ended:
                if stream.error is not None:
                    raise stream.error
                return False
            await stream.change()
        return True

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

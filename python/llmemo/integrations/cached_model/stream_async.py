"""`_astream` of cached models: a hit is replayed, a miss is shared by all who ask the same."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from asyncio import _get_running_loop
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import Self

from llmemo.integrations.cached_model.calls import call_of
from llmemo.integrations.cached_model.chunks import tells_tokens, told_with
from llmemo.integrations.cached_model.limiter import abefore_request
from llmemo.single_flight.chunk_log import NOTHING_YET
from llmemo.single_flight.live_streams import is_producing
from llmemo.single_flight.shared_stream import SharedStream
from llmemo.store_io.calls import Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.outputs import ChatGenerationChunk

    from llmemo.integrations.cached_model.calls import ModelCall
    from llmemo.integrations.cached_model.question import Question
    from llmemo.integrations.cached_model.replay import Replay
    from llmemo.pipeline.tiers import Tiers
    from llmemo.single_flight.shared_stream import StreamReader

FAILURES_MAX = 2
"""Streams of others that may fail for a caller that has been given nothing yet. Then it goes alone:
see `llmemo.single_flight.flights`."""

PATIENCE = 1.0
"""Seconds for which an answer that is whole is not kept yet, if no reader has come to its end: all
may leave before. Callers who want no stream wait for it, so it is not for long."""

LONG = 512
"""Chunks of a stream that are put together on the event loop, at most: it takes some ms."""

AT_ONCE_MAX = 64
"""Chunks that a reader is given in a row before other tasks have their turn."""


class AsyncStream:
    """The chunks of one call. An iterator, and no generator: each step would cost twice as much."""

    def __init__(self, tiers: Tiers | None, question: Question, *, is_paced: bool) -> None:
        """Begin nothing yet. `is_paced`: a hit takes as long as the stream took."""
        self._tiers = tiers
        self._question = question
        self._is_paced = is_paced
        form = question.form
        is_told = question.run_manager is not None and form.tells_tokens
        self._tells = is_told and tells_tokens(type(question.model), form.astream)
        self._has_begun = False
        self._call: ModelCall | None = None
        self._plain: AsyncIterator[ChatGenerationChunk] | None = None
        self._replay: Iterator[tuple[ChatGenerationChunk, float]] | None = None
        self._reader: StreamReader | None = None
        self._leads = False
        self._failures = 0
        self._at_once = 0
        self._is_over = False
        self.came_to_its_end = False
        """Whether there are no more chunks, and nothing was raised."""

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> ChatGenerationChunk:
        """The next chunk.

        Raises:
            BaseException: Whatever the model raises.
        """
        reader = self._reader
        if reader is not None and self._at_once < AT_ONCE_MAX:
            self._at_once += 1
            chunk = reader.next_at_once()
            if chunk is not NOTHING_YET:
                return await self._told(chunk) if self._tells else chunk
        return await self._next()

    async def _next(self) -> ChatGenerationChunk:
        if self._is_over:
            raise StopAsyncIteration
        try:
            if not self._has_begun:
                self._has_begun = True
                await self._begin()
            if self._at_once >= AT_ONCE_MAX:
                # What is replayed, or caught up with, never waits: nor could it be cancelled.
                self._at_once = 0
                await asyncio.sleep(0)
            chunk = await self._following()
        except BaseException as error:
            self.came_to_its_end = isinstance(error, StopAsyncIteration)
            self._end()
            raise
        return await self._told(chunk) if self._tells and self._plain is None else chunk

    async def _following(self) -> ChatGenerationChunk:
        while True:
            if self._plain is not None:
                return await self._plain.__anext__()
            if self._replay is not None:
                return await self._replayed(self._replay)
            chunk = await self._read()
            if chunk is not NOTHING_YET:
                return chunk  # type: ignore[no-any-return]

    async def _replayed(
        self, replay: Iterator[tuple[ChatGenerationChunk, float]]
    ) -> ChatGenerationChunk:
        step = next(replay, None)
        if step is None:
            raise StopAsyncIteration
        if _get_running_loop() is None:
            return step[0]  # (there is nothing to sleep by)
        if self._is_paced and step[1]:
            await asyncio.sleep(step[1])
        else:
            self._at_once += 1
        return step[0]

    async def _begin(self) -> None:
        """Find the answer, or whom to read along with, or begin the model's stream."""
        tiers, question = self._tiers, self._question
        call = self._call
        if tiers is not None and call is None:
            call = self._call = call_of(tiers, question, Call.awaited, streams=True)
        hit = None if call is None else call.at_once()
        if call is not None and hit:
            self._play(call, call.replay(hit))
            return
        loop = _get_running_loop()
        if tiers is None or call is None or loop is None:
            if call is not None:
                call.go_without("no_event_loop")
            await abefore_request(question.model)
            self._plain = question.ask(question.form.astream)
            return
        key = await call.key() if call.is_shared and self._failures < FAILURES_MAX else None
        live = None if key is None else tiers.live.find(key, loop)
        self._reader = None if live is None else live.join()
        if self._reader is None:
            self._lead(call, key)

    def _lead(self, call: ModelCall, key: bytes | None) -> None:
        produce = functools.partial(_produce, call, key)
        abandoned = functools.partial(call.abandon, key)
        stream = SharedStream(call.new_log(), produce, contextvars.copy_context(), abandoned)
        self._leads = True
        self._reader = stream.join(is_first=True)
        if key is not None:
            call.tiers.live.begin(key, stream)
        # Last: it may come to its end right here.
        stream.begin()

    def _play(self, call: ModelCall, replay: Replay) -> None:
        fresh_ids = call.tiers.settings.fresh_ids
        self._replay = self._question.form.steps(replay, fresh_ids=fresh_ids)

    async def _read(self) -> Any:
        """The next chunk of the shared stream; `NOTHING_YET` if there is another way to go on."""
        reader, call = cast("StreamReader", self._reader), cast("ModelCall", self._call)
        stream = reader.stream
        if await reader.wait():
            return reader.next_at_once()
        if self._may_retry(stream):
            self._reader = None
            reader.leave()
            await self._begin()
            return NOTHING_YET
        reader.end()
        if stream.hit is None:
            if not self._leads and stream.answer:
                call.count_as_coalesced(stream.answer)
            raise StopAsyncIteration
        replay = stream.hit
        if not self._leads:
            call.count_as_coalesced(replay.hit)
            replay = replay.copy()
        reader.leave()
        self._reader = None
        self._play(call, replay)
        return NOTHING_YET

    def _may_retry(self, stream: SharedStream) -> bool:
        """Whether it is another caller's failure, and need not be this one's."""
        reader = self._reader
        if stream.error is None or self._leads or reader is None or reader.position:
            return False
        self._failures += 1
        return isinstance(stream.error, (Exception, asyncio.CancelledError))

    async def _told(self, chunk: ChatGenerationChunk) -> ChatGenerationChunk:
        """Tell the run of a token, as the model does that is asked for this caller."""
        await self._question.run_manager.on_llm_new_token(chunk.text, **told_with(chunk))
        return chunk

    def _end(self) -> None:
        self._is_over = True
        reader, self._reader, self._replay = self._reader, None, None
        if reader is not None:
            reader.leave()

    async def aclose(self) -> None:
        """Read no more."""
        self._end()
        close = getattr(self._plain, "aclose", None)
        if close is not None:
            await close()


async def _produce(call: ModelCall, key: bytes | None, stream: SharedStream) -> None:
    """Find the answer, or ask the model and keep what it says. In a task of its own."""
    is_producing.set(True)
    call.begin_run()
    try:
        hit = await call.find()
        if hit:
            stream.hit = call.replay(hit)
            call.end_run(None)
            return
        await abefore_request(call.question.model)
        await stream.feed(call.question.ask_untold(call.question.form.astream))
        await stream.read_to_its_end(PATIENCE)
        stream.answer = await _keep(call, stream)
        call.end_run(None)
    except BaseException as error:
        call.end_run(error)
        raise
    finally:
        if key is not None:
            call.tiers.live.end(key, stream)


async def _keep(call: ModelCall, stream: SharedStream) -> list[Any]:
    if stream.log.refusal is not None:
        return []
    recorder = stream.log.recorder
    work = functools.partial(call.answer_of, recorder)
    if stream.log.count > LONG:
        answer = await call.tiers.large_reads.run(work)
    else:
        answer = work()
    if answer:
        await call.keep(answer, recorder.bytes())
    return answer

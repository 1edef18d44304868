"""`_astream` of cached models: a hit is replayed, a miss is shared by all who ask the same."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import Self

from llmemo.integrations.cached_model.as_langchain import chunks_to_merge, merged
from llmemo.integrations.cached_model.calls import call_of
from llmemo.integrations.cached_model.chunks import chunks_of, tells_tokens, told_with
from llmemo.integrations.cached_model.limiter import abefore_request
from llmemo.single_flight.chunk_log import NOTHING_YET, ChunkLog
from llmemo.single_flight.shared_stream import SharedStream
from llmemo.store_io.calls import Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.outputs import ChatGenerationChunk

    from llmemo.integrations.cached_model.calls import ModelCall, Question
    from llmemo.pipeline.tiers import Tiers
    from llmemo.single_flight.shared_stream import StreamReader

RECORDED_MAX = 16 * 2**20
"""Largest recording, in bytes: some million chunks of a word each."""

FAILURES_MAX = 2
"""Streams of others that may fail for a caller that has been given nothing yet. Then it goes alone:
see `llmemo.single_flight.flights`."""


class AsyncStream:
    """The chunks of one call. An iterator, and no generator: each step would cost twice as much."""

    def __init__(self, tiers: Tiers | None, question: Question, *, is_paced: bool) -> None:
        """Begin nothing yet. `is_paced`: a hit takes as long as the stream took."""
        self._tiers = tiers
        self._question = question
        self._is_paced = is_paced
        self._tells = question.run_manager is not None and tells_tokens(
            type(question.model), "_astream"
        )
        self._has_begun = False
        self._call: ModelCall | None = None
        self._plain: AsyncIterator[ChatGenerationChunk] | None = None
        self._replay: Iterator[tuple[ChatGenerationChunk, float]] | None = None
        self._reader: StreamReader | None = None
        self._leads = False
        self._failures = 0
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
        if reader is not None and not self._is_over:
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
                step = next(self._replay, None)
                if step is None:
                    raise StopAsyncIteration
                if self._is_paced and step[1]:
                    await asyncio.sleep(step[1])
                return step[0]
            chunk = await self._read()
            if chunk is not NOTHING_YET:
                return chunk  # type: ignore[no-any-return]

    async def _begin(self) -> None:
        """Find the answer, or whom to read along with, or begin the model's stream."""
        tiers, question = self._tiers, self._question
        call = self._call
        if tiers is not None and call is None:
            call = self._call = call_of(tiers, question, Call.awaited, streams=True)
        if tiers is None or call is None:
            await abefore_request(question.model)
            self._plain = question.ask("_astream")
            return
        hit = call.at_once()
        if hit:
            self._play(call, hit, call.recording)
            return
        key = await call.key() if call.is_shared and self._failures < FAILURES_MAX else None
        place = asyncio.get_running_loop()
        live = None if key is None else tiers.live.find(key, place)
        if live is None or live.is_abandoned:
            live = SharedStream(
                ChunkLog(RECORDED_MAX, fresh_ids=tiers.settings.fresh_ids),
                functools.partial(_produce, call, key),
                contextvars.copy_context(),
            )
            self._leads = True
            if key is not None:
                tiers.live.end(key, place, tiers.live.find(key, place))
                tiers.live.begin(key, place, live)
        self._reader = live.join(is_first=self._leads)

    def _play(self, call: ModelCall, hit: Any, recording: bytes | None) -> None:
        fresh_ids = call.tiers.settings.fresh_ids
        self._replay = chunks_of(hit, recording, fresh_ids=fresh_ids)

    async def _read(self) -> Any:
        """The next chunk of the shared stream; `NOTHING_YET` if there is another way to go on."""
        reader, call = cast("StreamReader", self._reader), cast("ModelCall", self._call)
        stream = reader.stream
        try:
            if await reader.wait():
                return reader.next_at_once()
        except BaseException as error:
            if error is stream.error and self._may_retry(error):
                self._reader = None
                reader.leave()
                await self._begin()
                return NOTHING_YET
            raise
        if stream.hit is None:
            if not self._leads and stream.answer:
                call.count_as_coalesced(stream.answer)
            raise StopAsyncIteration
        hit, recording = stream.hit
        if not self._leads:
            call.count_as_coalesced(hit)
            hit = copy.deepcopy(hit)
        reader.leave()
        self._reader = None
        self._play(call, hit, recording)
        return NOTHING_YET

    def _may_retry(self, error: BaseException) -> bool:
        """Whether another caller's failure need not be this one's."""
        reader = self._reader
        if self._leads or reader is None or reader.position:
            return False
        self._failures += 1
        return isinstance(error, (Exception, asyncio.CancelledError))

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
    own, failure = call.begin_run(), None
    try:
        hit = await call.find()
        if hit:
            stream.hit = (hit, call.recording)
            return
        await abefore_request(call.question.model)
        await stream.feed(call.question.ask_untold("_astream"))
        stream.answer = await _keep(call, stream)
    except BaseException as error:
        failure = error
        raise
    finally:
        call.end_run(own, failure)
        if key is not None:
            call.tiers.live.end(key, stream.loop, stream)


async def _keep(call: ModelCall, stream: SharedStream) -> list[Any]:
    log = stream.log
    if log.refusal is not None:
        call.refuse(log.refusal)
        return []
    model = call.question.model
    answer = merged(chunks_to_merge(log.recorder, model), model, call.question.run_manager)
    if answer:
        await call.keep(answer, log.recorder.bytes())
    return answer

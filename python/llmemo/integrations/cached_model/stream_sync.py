"""`_stream` of cached models: as `stream_async`, for threads."""

from __future__ import annotations

import contextvars
import copy
import functools
import time
from asyncio import _get_running_loop
from typing import TYPE_CHECKING, Any

from llmemo.integrations.cached_model.as_langchain import chunks_to_merge, merged
from llmemo.integrations.cached_model.calls import call_of
from llmemo.integrations.cached_model.chunks import chunks_of, tells_tokens, told_with
from llmemo.integrations.cached_model.limiter import before_request
from llmemo.integrations.cached_model.stream_async import FAILURES_MAX, RECORDED_MAX
from llmemo.single_flight.chunk_log import NOTHING_YET, ChunkLog
from llmemo.single_flight.shared_iterator import SharedIterator
from llmemo.store_io.calls import Call, run_inline

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from langchain_core.outputs import ChatGenerationChunk

    from llmemo.integrations.cached_model.calls import ModelCall, Question
    from llmemo.pipeline.tiers import Tiers
    from llmemo.single_flight.shared_iterator import IteratorReader

THREADS = "threads"
"""The place of streams that any thread may read."""


def stream(
    tiers: Tiers | None, question: Question, *, is_paced: bool
) -> Iterator[ChatGenerationChunk]:
    """The chunks of one call. `is_paced`: a hit takes as long as the stream took."""
    call = None if tiers is None else call_of(tiers, question, Call.blocking, streams=True)
    if call is None:
        before_request(question.model)
        yield from question.ask("_stream")
        return
    chunks = _chunks(call, is_paced=is_paced)
    run, cls = question.run_manager, type(question.model)
    tells = run is not None and tells_tokens(cls, "_stream")
    try:
        for chunk in chunks:
            if tells:
                run.on_llm_new_token(chunk.text, **told_with(chunk))
            yield chunk
    finally:
        chunks.close()


def _chunks(call: ModelCall, *, is_paced: bool) -> Generator[ChatGenerationChunk, None, None]:
    failures, hit, recording = 0, call.at_once(), call.recording
    while not hit:
        reader, leads = _joined(call, is_alone=failures >= FAILURES_MAX)
        shared = reader.stream
        try:
            yield from _read(reader)
        except BaseException as error:
            # Another caller's failure, before it has given this one anything.
            if leads or reader.position or error is not shared.error:
                raise
            if not isinstance(error, Exception):
                raise
            failures += 1
            continue
        finally:
            reader.leave()
        if shared.hit is None:
            if not leads and shared.answer:
                call.count_as_coalesced(shared.answer)
            return
        hit, recording = shared.hit
        if not leads:
            call.count_as_coalesced(hit)
            hit = copy.deepcopy(hit)
    for chunk, delay in chunks_of(hit, recording, fresh_ids=call.tiers.settings.fresh_ids):
        if is_paced and delay:
            time.sleep(delay)
        yield chunk


def _joined(call: ModelCall, *, is_alone: bool) -> tuple[IteratorReader, bool]:
    """A reader of the stream of this question; and whether it has begun it."""
    live, place = call.tiers.live, THREADS
    # To wait for a thread would hold up the loop.
    may_share = call.is_shared and not is_alone and _get_running_loop() is None
    key = run_inline(call.key()) if may_share else None
    while True:
        found = None if key is None else live.find(key, place)
        own = SharedIterator(
            ChunkLog(RECORDED_MAX, fresh_ids=call.tiers.settings.fresh_ids),
            functools.partial(_produce, call, key),
            contextvars.copy_context(),
        )
        if found is None and key is not None:
            found = live.begin(key, place, own)
        shared = own if found is None else found
        reader = shared.join(is_first=shared is own)
        if reader is not None:
            return reader, shared is own
        if key is not None:
            live.end(key, place, shared)


def _read(reader: IteratorReader) -> Generator[ChatGenerationChunk, None, None]:
    while (chunk := reader.next()) is not NOTHING_YET:
        yield chunk


def _produce(
    call: ModelCall, key: bytes | None, shared: SharedIterator
) -> Generator[Any, None, None]:
    """Find the answer, or ask the model and keep what it says. In whichever thread wants it."""
    own, failure = call.begin_run(), None
    try:
        hit = run_inline(call.find())
        if hit:
            shared.hit = (hit, call.recording)
            return
        before_request(call.question.model)
        yield from call.question.ask_untold("_stream")
        shared.answer = _keep(call, shared)
    except BaseException as error:
        failure = error
        raise
    finally:
        call.end_run(own, failure)
        if key is not None:
            call.tiers.live.end(key, THREADS, shared)


def _keep(call: ModelCall, shared: SharedIterator) -> list[Any]:
    log = shared.log
    if log.refusal is not None:
        call.refuse(log.refusal)
        return []
    model = call.question.model
    answer = merged(chunks_to_merge(log.recorder, model), model, call.question.run_manager)
    if answer:
        run_inline(call.keep(answer, log.recorder.bytes()))
    return answer

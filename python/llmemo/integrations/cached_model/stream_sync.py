"""`_stream` of cached models: as `stream_async`, for threads."""

from __future__ import annotations

import contextvars
import functools
import time
from asyncio import _get_running_loop
from typing import TYPE_CHECKING, Any

from llmemo.integrations.cached_model.calls import call_of
from llmemo.integrations.cached_model.chunks import tells_tokens, told_with
from llmemo.integrations.cached_model.limiter import before_request
from llmemo.integrations.cached_model.stream_async import FAILURES_MAX
from llmemo.single_flight.chunk_log import NOTHING_YET
from llmemo.single_flight.holding import hold_apart
from llmemo.single_flight.live_streams import THREADS, StreamLostError, is_producing
from llmemo.single_flight.shared_iterator import SharedIterator
from llmemo.store_io.calls import Call, run_inline

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from langchain_core.outputs import ChatGenerationChunk

    from llmemo.integrations.cached_model.calls import ModelCall
    from llmemo.integrations.cached_model.question import Question
    from llmemo.integrations.cached_model.replay import Replay
    from llmemo.pipeline.tiers import Tiers
    from llmemo.single_flight.shared_iterator import IteratorReader


def stream(
    tiers: Tiers | None, question: Question, *, is_paced: bool
) -> Iterator[ChatGenerationChunk]:
    """The chunks of one call. `is_paced`: a hit takes as long as the stream took."""
    call = None if tiers is None else call_of(tiers, question, Call.blocking, streams=True)
    if call is None:
        before_request(question.model)
        yield from question.ask(question.form.stream)
        return
    chunks = _chunks(call, is_paced=is_paced)
    run, cls = question.run_manager, type(question.model)
    form = question.form
    tells = run is not None and form.tells_tokens and tells_tokens(cls, form.stream)
    try:
        for chunk in form.to_its_end(chunks):
            if tells:
                run.on_llm_new_token(chunk.text, **told_with(chunk))
            yield chunk
    finally:
        chunks.close()


def _chunks(call: ModelCall, *, is_paced: bool) -> Generator[ChatGenerationChunk, None, None]:
    failures, hit = 0, call.at_once()
    replay = call.replay(hit) if hit else None
    while replay is None:
        reader, leads = _joined(call, is_alone=failures >= FAILURES_MAX)
        shared = reader.stream
        try:
            yield from _read(reader)
        except BaseException as error:
            if reader.position or not _may_retry(error, shared, leads=leads):
                raise
            error.__traceback__ = shared.traceback
            failures += FAILURES_MAX if isinstance(error, StreamLostError) else 1
            continue
        finally:
            reader.leave()
        if shared.hit is None:
            if not leads and shared.answer:
                call.count_as_coalesced(shared.answer)
            return
        replay = shared.hit
        if not leads:
            call.count_as_coalesced(replay.hit)
            replay = replay.copy()
    yield from _replayed(call, replay, is_paced=is_paced)


def _may_retry(error: BaseException, shared: SharedIterator, *, leads: bool) -> bool:
    """Whether another caller's failure need not be that of one who has been given nothing yet."""
    if isinstance(error, StreamLostError):
        return True
    return not (leads or shared.is_lost) and error is shared.error


def _replayed(
    call: ModelCall, replay: Replay, *, is_paced: bool
) -> Generator[ChatGenerationChunk, None, None]:
    fresh_ids, form = call.tiers.settings.fresh_ids, call.question.form
    for chunk, delay in form.steps(replay, fresh_ids=fresh_ids):
        # A loop that runs in this thread is not held up.
        if is_paced and delay and _get_running_loop() is None:
            time.sleep(delay)
        yield chunk


def _joined(call: ModelCall, *, is_alone: bool) -> tuple[IteratorReader, bool]:
    """A reader of the stream of this question; and whether it has begun it."""
    live = call.tiers.live
    # To wait for a thread would hold up the loop.
    may_share = call.is_shared and not is_alone and _get_running_loop() is None
    key = run_inline(call.key()) if may_share else None
    while True:
        own, found = None, None if key is None else live.find(key, THREADS)
        if found is None:
            own = _begun(call, key)
            found = own if key is None else live.begin(key, own)
        reader = found.join(is_first=found is own)
        if reader is not None:
            return reader, found is own


def _begun(call: ModelCall, key: bytes | None) -> SharedIterator:
    produce = functools.partial(_produce, call, key)
    abandoned = functools.partial(call.abandon, key)
    return SharedIterator(call.new_log(), produce, contextvars.copy_context(), abandoned)


def _read(reader: IteratorReader) -> Generator[ChatGenerationChunk, None, None]:
    while (chunk := reader.next()) is not NOTHING_YET:
        yield chunk


def _produce(
    call: ModelCall, key: bytes | None, shared: SharedIterator
) -> Generator[Any, None, None]:
    """Find the answer, or ask the model and keep what it says. In whichever thread wants it."""
    is_producing.set(True)
    hold_apart()
    call.begin_run()
    try:
        hit = run_inline(call.find())
        if hit:
            shared.hit = call.replay(hit)
            call.end_run(None)
            return
        call.held_by(shared.turns)
        before_request(call.question.model)
        shared.log.ask()
        yield from call.question.ask_untold(call.question.form.stream)
        shared.answer = _keep(call, shared)
        call.end_run(None)
    except BaseException as error:
        call.end_run(error)
        raise
    finally:
        if key is not None:
            call.tiers.live.end(key, shared)


def _keep(call: ModelCall, shared: SharedIterator) -> list[Any]:
    if shared.log.refusal is not None:
        return []
    recorder = shared.log.recorder
    answer = call.answer_of(recorder)
    if answer:
        run_inline(call.keep(answer, recorder.bytes()))
    return answer

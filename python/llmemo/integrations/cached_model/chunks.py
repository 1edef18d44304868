"""The chunks of a hit: those that were recorded, or the answer in one."""

from __future__ import annotations

import functools
import inspect
from types import CodeType
from typing import TYPE_CHECKING, Any

from llmemo._core import Playback, ValueDamaged
from llmemo.integrations.cached_model.as_langchain import (
    as_chunk,
    chat_generations,
    chunks_to_merge,
    merged,
)
from llmemo.pipeline.hit_marks import MARK
from llmemo.semantic.response_ids import remove_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.language_models import BaseChatModel
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

    from llmemo._core import Recorder
    from llmemo.integrations.cached_model.replay import Replay
    from llmemo.keys.request import Request


class Chunks:
    """The chunks of a stream: the form in which most models stream."""

    stream, astream = "_stream", "_astream"
    """The model's methods."""
    tells_tokens = True
    """Whether the model's method may tell its run of tokens: see the function of that name."""

    def request(self, request: Request) -> Request:
        """The request of an answer in this form: the same as without a stream."""
        return request

    def steps(self, replay: Replay, *, fresh_ids: bool) -> Iterator[tuple[Any, float]]:
        """Fresh chunks of a hit, each with the seconds that it took to come."""
        return _chunks_of(replay, fresh_ids=fresh_ids)

    def to_its_end(self, steps: Iterator[Any]) -> Iterator[Any]:
        """The same steps: they are asked for until there are no more."""
        return steps

    def answer(
        self, recorder: Recorder, model: BaseChatModel, run_manager: Any
    ) -> list[ChatGeneration]:
        """What the chunks amount to; empty if that is no answer."""
        return merged(chunks_to_merge(recorder, model), model, run_manager)


CHUNKS = Chunks()


def _chunks_of(replay: Replay, *, fresh_ids: bool) -> Iterator[tuple[ChatGenerationChunk, float]]:
    if replay.recording is None:
        # A stream has one answer.
        yield as_chunk(chat_generations(replay.hit[:1])[0]), 0.0
        return
    playback = Playback(replay.recording, fresh_ids=fresh_ids)
    try:
        first = playback.next()
    except ValueDamaged:
        # Another langchain-core made it, of classes that this one lacks.
        yield from _chunks_of(replay._replace(recording=None), fresh_ids=fresh_ids)
        return
    step: Any = first
    _mark(step, replay)
    while step is not None:
        if replay.is_near:
            remove_ids(step[0])
        yield step[0], step[1] / 1000
        step = playback.next()


def _mark(step: Any, replay: Replay) -> None:
    """Give the first chunk the mark that the hit has, if it has one."""
    message = getattr(replay.hit[0], "message", None)
    if step is not None and message is not None and MARK in message.response_metadata:
        own = step[0].message
        own.response_metadata = {**own.response_metadata, MARK: message.response_metadata[MARK]}


@functools.lru_cache(maxsize=512)
def tells_tokens(cls: type, method: str) -> bool:
    """Whether a class's own method tells the run of each token that it makes.

    Then a hit tells it, too. Its code is searched for the name, and that of the methods about
    streams that it calls: a stream cannot be tried.
    """
    names, seen = [method], {method}
    while names:
        for code in _codes_of(cls, names.pop()):
            if "on_llm_new_token" in code.co_names:
                return True
            called = {it for it in code.co_names if it[:1] == "_" and "stream" in it} - seen
            names += called
            seen |= called
    return False


def _codes_of(cls: type, name: str) -> Iterator[CodeType]:
    """The code of a method, and of those of the same name that it goes on to."""
    for each in cls.__mro__:
        if name not in each.__dict__:
            continue
        codes, goes_on = [getattr(inspect.unwrap(each.__dict__[name]), "__code__", None)], False
        while codes:
            code = codes.pop()
            if code is not None:
                yield code
                goes_on = goes_on or not {"super", name}.isdisjoint(code.co_names)
                codes += [it for it in code.co_consts if isinstance(it, CodeType)]
        if not goes_on:
            return


def told_with(chunk: ChatGenerationChunk) -> dict[str, Any]:
    """What the run is told with a token: models that know log probabilities tell these, too."""
    logprobs = (chunk.generation_info or {}).get("logprobs")
    return {"chunk": chunk} if logprobs is None else {"chunk": chunk, "logprobs": logprobs}

"""Models that make events themselves: they are recorded, shared and replayed as chunks are."""

from __future__ import annotations

import asyncio
import importlib
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from support.scripted import Scripted

from llmemo import CacheMiss, LLMCache, cached, options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

base: Any = importlib.import_module("langchain_core.language_models.chat_models")
pytestmark = pytest.mark.skipif(
    not hasattr(base.BaseChatModel, "_chat_model_stream_v3"),
    reason="this langchain-core has no such events",
)


def events_of(words: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A whole message of one text, a word at a time."""
    yield {"event": "message-start", "role": "ai", "id": "msg_1", "metadata": {}}
    block = {"type": "text", "text": ""}
    yield {"event": "content-block-start", "index": 0, "content": block}
    for word in words:
        delta = {"type": "text-delta", "text": word}
        yield {"event": "content-block-delta", "index": 0, "delta": delta}
    whole = {"type": "text", "text": "".join(words)}
    yield {"event": "content-block-finish", "index": 0, "content": whole}
    yield {"event": "message-finish", "reason": "stop"}


GONE = "the line is gone"


class Native(Scripted):
    """Makes events of its own, and counts how often it is asked."""

    words: tuple[str, ...] = ("It ", "rains.")
    fails_after: int = 99

    def _made(self) -> Iterator[dict[str, Any]]:
        self.asked.append("?")
        for number, event in enumerate(events_of(self.words)):
            if number == self.fails_after:
                raise OSError(GONE)
            yield event

    def _stream_chat_model_events(self, *_: Any, **__: Any) -> Iterator[dict[str, Any]]:
        yield from self._made()

    async def _astream_chat_model_events(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        for event in self._made():
            await asyncio.sleep(0)
            yield event

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        self.asked.append("whole")
        return ChatResult(generations=[ChatGeneration(message=AIMessage("It rains."))])


def model_of(cache: LLMCache, **fields: Any) -> Any:
    return cached(Native(act=None, **fields), cache)


def read(model: Any) -> tuple[list[Any], Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is in beta
        stream = model.stream_events("?", version="v3")
        return list(stream), stream.output


async def aread(model: Any) -> tuple[list[Any], Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = await model.astream_events("?", version="v3")
        return [event async for event in stream], await stream.output


def test_a_hit_replays_the_events() -> None:
    with LLMCache() as cache:
        model = model_of(cache)
        plain, _ = read(Native(act=None))
        found = [read(model), read(model), asyncio.run(aread(model))]
        assert [events for events, _ in found] == [plain] * 3
        assert {output.text for _, output in found} == {"It rains."}
        assert model.asked == ["?"]
        assert (cache.stats().hits, cache.stats().misses) == (2, 1)


def test_calls_without_events_have_answers_of_their_own() -> None:
    with LLMCache() as cache:
        model = model_of(cache)
        read(model)
        for _ in range(2):
            assert model.invoke("?").content == "It rains."
        assert model.asked == ["?", "whole"]
        with options(mode="only"):
            assert read(model)[1].text == "It rains."


def test_concurrent_callers_share_one_stream() -> None:
    async def crowd(model: Any) -> list[Any]:
        question = [HumanMessage("?")]

        async def one() -> list[Any]:
            return [event async for event in model._astream_chat_model_events(question)]

        return list(await asyncio.gather(*(one() for _ in range(20))))

    with LLMCache() as cache:
        model = model_of(cache)
        assert asyncio.run(crowd(model)) == [list(events_of(model.words))] * 20
        assert model.asked == ["?"]


def test_a_stream_that_fails_is_not_kept() -> None:
    with LLMCache() as cache:
        model = model_of(cache, fails_after=3)
        for _ in range(2):
            with pytest.raises(OSError, match=GONE):
                list(model._stream_chat_model_events([HumanMessage("?")]))
        assert model.asked == ["?", "?"]
        with options(mode="only"), pytest.raises(CacheMiss):
            list(model._stream_chat_model_events([HumanMessage("?")]))

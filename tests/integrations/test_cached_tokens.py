"""Tokens that a model tells its run of by itself: a cached model tells them too, hit or miss."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.callbacks.manager import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from support.streaming_models import Asked, Beside, Elsewhere, Silent, Streams, SyncStreams

from llmemo import LLMCache, cached
from llmemo.integrations.cached_model.chunks import tells_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

QUESTION = [HumanMessage("Count.")]


class Tokens(BaseCallbackHandler):
    """Notes the tokens that it is told of."""

    run_inline = True

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **more: Any) -> None:
        self.told.append((token, type(chunk), more.get("logprobs")))


def run_with(handler: Tokens, kind: Any) -> Any:
    return kind(
        run_id=uuid.uuid4(), handlers=[handler], inheritable_handlers=[], parent_run_id=None
    )


def tokens(model: Any) -> list[Any]:
    """What a run is told while a thread reads the stream."""
    handler = Tokens()
    run = run_with(handler, CallbackManagerForLLMRun)
    texts = [chunk.text for chunk in model._stream(QUESTION, run_manager=run)]
    assert texts == ["one ", "two ", "three"]
    return handler.told


async def atokens(model: Any) -> list[Any]:
    """The same, of a task."""
    handler = Tokens()
    run = run_with(handler, AsyncCallbackManagerForLLMRun)
    texts = [chunk.text async for chunk in model._astream(QUESTION, run_manager=run)]
    assert texts == ["one ", "two ", "three"]
    return handler.told


@pytest.mark.parametrize("kind", [Streams, SyncStreams, Beside, Elsewhere])
@pytest.mark.anyio
async def test_a_cached_model_tells_as_the_plain_one(kind: type[Asked]) -> None:
    plain = kind()
    expected, aexpected = tokens(plain), await atokens(plain)
    assert [each[0] for each in expected] == [each[0] for each in aexpected] == list(plain.words)
    model = cached(kind(), LLMCache())
    for _ in range(2):
        assert tokens(model) == expected
    model = cached(kind(), LLMCache())
    for _ in range(2):
        assert await atokens(model) == aexpected
    assert len(model.asked) == 1


@pytest.mark.anyio
async def test_one_that_tells_nothing() -> None:
    # Neither by itself, nor by the cache.
    model = cached(Silent(), LLMCache())
    for _ in range(2):
        assert tokens(model) == []
        assert await atokens(model) == []


def test_without_a_cache_the_model_tells_by_itself() -> None:
    set_llm_cache(None)
    for kind in (Streams, Beside):
        assert tokens(cached(kind())) == tokens(kind())


class Probable(Streams):
    """Its chunks have log probabilities, which it tells of."""

    def chunks(self) -> Iterator[ChatGenerationChunk]:
        for number, chunk in enumerate(super().chunks()):
            chunk.generation_info = {"logprobs": {"content": [-0.5 * number]}}
            yield chunk

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Any:
        self.asked.append("_stream")
        for chunk in self.chunks():
            if run_manager:
                logprobs = (chunk.generation_info or {}).get("logprobs")
                run_manager.on_llm_new_token(chunk.text, chunk=chunk, logprobs=logprobs)
            yield chunk


def test_log_probabilities() -> None:
    expected = tokens(Probable())
    assert expected[1] == ("two ", ChatGenerationChunk, {"content": [-0.5]})
    model = cached(Probable(), LLMCache())
    for _ in range(2):
        assert tokens(model) == expected


def test_what_langchain_defines_tells_nothing() -> None:
    assert not tells_tokens(FakeListChatModel, "_stream")
    assert not tells_tokens(Asked, "_stream")
    assert not tells_tokens(Asked, "_astream")


@pytest.mark.clients
def test_real_clients() -> None:
    from langchain_anthropic import ChatAnthropic
    from langchain_openai import AzureChatOpenAI, ChatOpenAI

    for cls in (ChatOpenAI, AzureChatOpenAI, ChatAnthropic):
        assert tells_tokens(cls, "_stream")
        assert tells_tokens(cls, "_astream")

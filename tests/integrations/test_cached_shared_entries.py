"""Entries that paths share: calls, streams, `cached`, and LangChain's own way to a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("langchain_openai")

from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from support import cached_calls as calls
from support.cached_calls import CLIENTS

from llmemo import LLMCache, cached

if TYPE_CHECKING:
    from support.stream_server import StreamServer

pytestmark = [pytest.mark.clients]

OPTIONS: dict[str, dict[str, Any]] = {
    "openai": {"stream_usage": True},
    "responses": {},
    "anthropic": {},
}
every_client = pytest.mark.parametrize("client", CLIENTS)


def message(answer: Any) -> Any:
    """What is the same of a call and of a stream."""
    if isinstance(answer, list):
        chunks = [each for each in answer if isinstance(each, AIMessageChunk)]
        answer = chunks[0] + chunks[1:] if len(chunks) > 1 else chunks[0]
    blocks = answer.content_blocks
    for block in blocks:
        block.pop("index", None)
        block.pop("id", None)
        block.get("extras", {}).pop("item_id", None)
    calls_ = [(it["name"], it["args"], it["id"]) for it in answer.tool_calls]
    return calls.comparable([answer.text, calls_, answer.usage_metadata])


def build(client: str, server: StreamServer, **options: Any) -> Any:
    return CLIENTS[client](server.url, **OPTIONS[client], **options)


WAYS: dict[str, Any] = {
    "invoke": lambda model: model.invoke("Why?"),
    "stream": lambda model: list(model.stream("Why?")),
}


def bound(model: Any) -> Any:
    return model.bind_tools([calls.weather, calls.clock])


@every_client
@pytest.mark.parametrize("first", WAYS)
def test_calls_and_streams_share_their_answer(
    first: str, client: str, server: StreamServer, cache: LLMCache
) -> None:
    model = bound(cached(build(client, server), cache))
    cold = WAYS[first](model)
    assert message(cold)[1:] != [[], None]
    for way in (*WAYS.values(), *WAYS.values()):
        assert message(way(model)) == message(cold)
    assert server.requests == 1
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.updates) == (4, 1, 1)


@every_client
def test_a_call_replays_as_one_chunk(client: str, server: StreamServer, cache: LLMCache) -> None:
    model = bound(cached(build(client, server), cache))
    whole = model.invoke("Why?")
    (chunk,) = model.stream("Why?")
    assert chunk.chunk_position == "last"
    assert chunk.response_metadata == whole.response_metadata
    assert chunk.tool_calls == whole.tool_calls
    assert chunk.content == whole.content


@every_client
def test_langchains_way_finds_what_cached_has_kept(
    client: str, server: StreamServer, cache: LLMCache
) -> None:
    whole = bound(cached(build(client, server), cache)).invoke("Why?")
    other = bound(build(client, server, cache=cache)).invoke("Why?")
    assert server.requests == 1
    # LangChain writes that into each hit of its own.
    assert other.usage_metadata.pop("total_cost") == 0
    assert calls.comparable(other) == calls.comparable(whole)
    hit = bound(cached(build(client, server), cache)).invoke("Why?")
    assert calls.comparable(hit) == calls.comparable(whole)


@every_client
def test_cached_finds_what_langchains_way_has_kept(
    client: str, server: StreamServer, cache: LLMCache
) -> None:
    set_llm_cache(cache)
    try:
        whole = bound(build(client, server)).invoke("Why?")
        model = bound(cached(build(client, server)))
        hit, stream = model.invoke("Why?"), list(model.stream("Why?"))
    finally:
        set_llm_cache(None)
    assert server.requests == 1
    assert "total_cost" not in hit.usage_metadata
    assert calls.comparable(hit) == calls.comparable(whole)
    assert message(stream) == message(whole)
    assert stream[0].response_metadata == whole.response_metadata
    assert (cache.stats().hits, cache.stats().misses, cache.stats().bypassed) == (2, 1, {})


@every_client
def test_langchains_way_finds_a_stream(client: str, server: StreamServer, cache: LLMCache) -> None:
    stream = list(bound(cached(build(client, server), cache)).stream("Why?"))
    plain = bound(build(client, server, cache=cache))
    hit = plain.invoke("Why?")
    assert hit.usage_metadata.pop("total_cost") == 0
    assert message(hit) == message(stream)
    assert type(hit).__name__ == "AIMessage"
    # Streamed inside a graph, LangChain does keep what it has put together: the same.
    other = bound(build(client, server, cache=LLMCache(), streaming=True)).invoke("Why?")
    del hit.usage_metadata
    assert calls.comparable(other.response_metadata) == calls.comparable(hit.response_metadata)
    assert calls.comparable(other.content) == calls.comparable(hit.content)
    assert server.requests == 2


@every_client
def test_cached_finds_a_stream_of_langchains(
    client: str, server: StreamServer, cache: LLMCache
) -> None:
    plain = bound(build(client, server, cache=cache, streaming=True))
    whole = plain.invoke("Why?")
    assert server.bodies[0]["stream"]
    model = bound(cached(build(client, server, streaming=True), cache))
    assert calls.comparable(model.invoke("Why?").content) == calls.comparable(whole.content)
    assert message(list(model.stream("Why?"))) == message(whole)
    assert server.requests == 1


def test_no_total_cost_anywhere(server: StreamServer, cache: LLMCache) -> None:
    for client in CLIENTS:
        for path in calls.PATHS:
            model = cached(build(client, server), cache)
            for _ in range(2):
                result, told = calls.told(path, model, path)
                assert "total_cost" not in repr(result)
                assert "total_cost" not in repr(told)


def test_a_stream_without_usage_is_for_streams(server: StreamServer, cache: LLMCache) -> None:
    model = cached(CLIENTS["openai"](server.url), cache)
    stream = list(model.stream("Why?"))
    assert not any(chunk.usage_metadata for chunk in stream)
    assert calls.comparable(list(model.stream("Why?"))) == calls.comparable(stream)
    assert server.requests == 1
    # A call would have been told the usage: here, and by LangChain's way.
    whole = model.invoke("Why?")
    assert server.requests == 2
    assert whole.usage_metadata["total_tokens"]
    assert model.invoke("Why?").usage_metadata == whole.usage_metadata
    plain = CLIENTS["openai"](server.url, cache=cache)
    assert plain.invoke("Why?").usage_metadata.items() > whole.usage_metadata.items()
    list(model.stream("Why?"))
    assert server.requests == 2
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.updates, stats.errors) == (4, 2, 2, {})


def test_so_is_one_of_a_users_subclass(server: StreamServer, cache: LLMCache) -> None:
    class Mine(ChatOpenAI):
        """Of a module that is no provider's."""

    given: Any = {"base_url": server.url, "api_key": "unused", "model": "m", "max_retries": 0}
    model = cached(Mine(**given), cache)
    assert not any(chunk.usage_metadata for chunk in model.stream("Why?"))
    assert model.invoke("Why?").usage_metadata
    assert server.requests == 2


def test_langchains_way_does_not_find_it_either(server: StreamServer, cache: LLMCache) -> None:
    list(cached(CLIENTS["openai"](server.url), cache).stream("Why?"))
    plain = CLIENTS["openai"](server.url, cache=cache)
    assert plain.invoke("Why?").usage_metadata["total_tokens"]
    assert server.requests == 2


@every_client
def test_the_next_turn_has_the_same_key(client: str, server: StreamServer, cache: LLMCache) -> None:
    model = bound(cached(build(client, server), cache))
    plain = bound(build(client, server, cache=cache))

    def turn(way: Any) -> None:
        reply = way("Why?")
        results = [ToolMessage("rain", tool_call_id=it["id"]) for it in reply.tool_calls]
        way([HumanMessage("Why?"), reply, *results])

    def streamed(question: Any) -> Any:
        chunks = list(model.stream(question))
        return chunks[0] + chunks[1:] if len(chunks) > 1 else chunks[0]

    # Cold, a hit, LangChain's, which has a cost in it, and with and without a handler.
    watched = model.with_config(callbacks=[calls.Handler(calls.Told())])
    for way in (model.invoke, watched.invoke, plain.invoke, model.invoke, streamed, watched.invoke):
        turn(way)
        assert server.requests == 2

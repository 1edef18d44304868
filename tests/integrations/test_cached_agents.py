"""Agents over a cached model: run 2 sends nothing, and says and shows what run 1 did."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("langchain_openai")

from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from support import cached_calls as calls
from support.cached_calls import CLIENTS, comparable
from support.stream_server import Ask, StreamServer, Turn

from llmemo import LLMCache, cached

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.clients]

CITIES = ["Oslo", "Rome", "Lima", "Cairo"]
MODES = ["messages", "updates", "values"]
QUESTION: Any = {"messages": [("user", "How is the world?")]}
THINKS = {"type": "enabled", "budget_tokens": 1024}
OPTIONS: dict[str, dict[str, Any]] = {
    "openai": {"stream_usage": True},
    "responses": {"reasoning": {"effort": "low"}},
    "anthropic": {"thinking": THINKS},
}
every_client = pytest.mark.parametrize("client", CLIENTS)


def five_calls(ask: Ask) -> Turn:
    """Look at a city by two tools at once, four times; then talk."""
    done = len(ask.results) // 2
    thinking = "Which one next?" if {"thinking", "reasoning"} & ask.body.keys() else ""
    if done == len(CITIES):
        return Turn(f"All is well: {' '.join(sorted(ask.results))}.", thinking=thinking)
    city = {"city": CITIES[done]}
    return Turn(f"On to {CITIES[done]}.", thinking, (("weather", city), ("clock", city)))


@pytest.fixture
def server(server: StreamServer) -> StreamServer:
    server.turn = five_calls
    return server


@pytest.fixture(autouse=True)
def no_betas() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def agent_of(client: str, server: StreamServer, cache: LLMCache | None) -> Any:
    model = CLIENTS[client](server.url, **OPTIONS[client])
    chosen = model if cache is None else cached(model, cache)
    return create_agent(chosen, [calls.weather, calls.clock])


def shown(parts: list[Any]) -> list[Any]:
    """What a stream of an agent's shows. Tools that run at once come in any order."""
    items: list[Any] = []
    tools: list[Any] = []
    for mode, part in parts:
        value, is_tool = part, mode == "updates" and "tools" in part
        if mode == "messages":
            message, metadata = part
            kept = {name: metadata.get(name) for name in ("langgraph_node", "ls_model_name")}
            value, is_tool = [message, kept], isinstance(message, ToolMessage)
        item = [mode, comparable(value)]
        if is_tool:
            tools.append(item)
        else:
            items += sorted(tools, key=repr)
            tools = []
            items.append(item)
    return items + sorted(tools, key=repr)


@every_client
def test_run_two(client: str, server: StreamServer, cache: LLMCache) -> None:
    plain = comparable(agent_of(client, server, None).invoke(QUESTION))
    assert len(plain["messages"]) == 14
    assert server.requests == 5
    agent = agent_of(client, server, cache)
    for _ in range(3):
        assert comparable(agent.invoke(QUESTION)) == plain
        assert server.requests == 10
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.updates) == (10, 5, 5)
    assert (stats.skipped, stats.bypassed, stats.errors) == ({}, {}, {})


@every_client
def test_streamed(client: str, server: StreamServer, cache: LLMCache) -> None:
    plain = shown(list(agent_of(client, server, None).stream(QUESTION, stream_mode=MODES)))
    tokens = [item for mode, item in plain if mode == "messages"]
    assert len(tokens) > 5 * 5
    server.bodies.clear()
    agent = agent_of(client, server, cache)
    for _ in range(2):
        assert shown(list(agent.stream(QUESTION, stream_mode=MODES))) == plain
        assert server.requests == 5
    assert (cache.stats().hits, cache.stats().misses) == (5, 5)


@every_client
def test_streamed_by_tasks(client: str, server: StreamServer) -> None:
    cache = LLMCache()

    async def parts(agent: Any) -> list[Any]:
        return shown([part async for part in agent.astream(QUESTION, stream_mode=MODES)])

    async def main() -> None:
        plain = await parts(agent_of(client, server, None))
        server.bodies.clear()
        agent = agent_of(client, server, cache)
        for _ in range(2):
            assert await parts(agent) == plain
            assert server.requests == 5

    asyncio.run(main())


@every_client
def test_events(client: str, server: StreamServer) -> None:
    cache = LLMCache()

    async def models(agent: Any) -> list[Any]:
        events = agent.astream_events(QUESTION, version="v2")
        kinds = "on_chat_model"
        return [comparable(e["data"]) async for e in events if e["event"].startswith(kinds)]

    async def main() -> None:
        plain = await models(agent_of(client, server, None))
        assert len(plain) > 5 * 5
        server.bodies.clear()
        agent = agent_of(client, server, cache)
        for _ in range(2):
            assert await models(agent) == plain
            assert server.requests == 5

    asyncio.run(main())


@every_client
def test_a_streamed_run_and_one_that_is_not(
    client: str, server: StreamServer, cache: LLMCache
) -> None:
    agent = agent_of(client, server, cache)
    list(agent.stream(QUESTION, stream_mode=MODES))
    streamed = server.requests
    first = agent.invoke(QUESTION)
    assert server.requests == streamed == 5
    list(agent.stream(QUESTION, stream_mode=MODES))
    assert comparable(agent.invoke(QUESTION)) == comparable(first)
    assert server.requests == 5


@every_client
def test_a_run_and_then_a_streamed_one(client: str, server: StreamServer, cache: LLMCache) -> None:
    agent = agent_of(client, server, cache)
    first = comparable(agent.invoke(QUESTION))
    parts = list(agent.stream(QUESTION, stream_mode=MODES))
    assert server.requests == 5
    assert comparable(parts[-1][1])["messages"][-1]["content"] == first["messages"][-1]["content"]
    # Each answer comes as one chunk, so that the tokens' readers see it.
    spoken = [part[0] for mode, part in parts if mode == "messages"]
    replies = [each for each in spoken if not isinstance(each, ToolMessage)]
    assert len(replies) == 5


@pytest.mark.slow
def test_fifty_streamed_runs_at_once(server: StreamServer, cache: LLMCache) -> None:
    async def final(agent: Any) -> Any:
        last: Any = None
        async for mode, part in agent.astream(QUESTION, stream_mode=MODES):
            last = part if mode == "values" else last
        return comparable(last)

    async def main() -> None:
        agent = agent_of("openai", server, cache)
        states = await asyncio.gather(*(final(agent) for _ in range(50)))
        assert all(state == states[0] for state in states)

    asyncio.run(main())
    assert server.requests == 5
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.updates) == (245, 5, 5)
    assert stats.errors == {}


def test_another_cache_on_the_same_file(server: StreamServer, tmp_path: Path) -> None:
    parts = []
    for _ in range(2):
        with LLMCache(tmp_path / "c.db") as cache:
            agent = agent_of("anthropic", server, cache)
            parts.append(shown(list(agent.stream(QUESTION, stream_mode=MODES))))
    assert parts[0] == parts[1]
    assert server.requests == 5

"""Real clients over a real socket: what one call has sent, no later call sends again."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support import TESTS

pytest.importorskip("langchain_openai")
# The repository has one such server, and it is an example.
sys.path.insert(0, str(TESTS.parent / "examples"))

from langchain_core.globals import get_llm_cache, set_llm_cache
from langchain_core.outputs import Generation
from openai import DefaultAsyncHttpxClient, DefaultHttpxClient, InternalServerError
from openai_server import OpenAIServer
from support import clients
from support.clients import ROWS, Row, comparable
from support.exact import difference

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.clients]

every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())


@pytest.fixture(scope="module")
def running() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        yield server


@pytest.fixture
def server(running: OpenAIServer) -> OpenAIServer:
    running.reset()
    return running


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "cache.db"


@pytest.fixture(params=["memory", "sqlite"])
def cache(request: pytest.FixtureRequest, database: Path) -> Iterator[LLMCache]:
    with LLMCache(database if request.param == "sqlite" else None) as cache:
        yield cache


@every_row
def test_second_run_sends_nothing(row: Row, cache: LLMCache, server: OpenAIServer) -> None:
    first = comparable(row.run(cache, server.url))
    assert server.requests == row.requests  # the cold run did reach the server
    assert cache.stats().hits == 0

    second = comparable(row.run(cache, server.url))
    assert server.requests == row.requests
    assert second == first

    stats = cache.stats()
    assert stats.hits == stats.memory_hits == stats.misses == stats.updates > 0
    assert (stats.bypassed, stats.skipped, stats.errors) == ({}, {}, {})


def test_second_process_sends_nothing(tmp_path: Path, server: OpenAIServer) -> None:
    first, updates = {}, {}
    databases = {name: tmp_path / f"{number}.db" for number, name in enumerate(ROWS)}
    for name, row in ROWS.items():
        server.reset()
        with LLMCache(databases[name]) as cache:
            first[name] = comparable(row.run(cache, server.url))
            updates[name] = cache.stats().updates
        assert server.requests == row.requests

    server.reset()
    # The other way round: what a process has asked before makes no difference.
    second = clients.in_another_process(server.url, dict(reversed(databases.items())))
    assert server.requests == 0
    for name in ROWS:
        assert second[name]["result"] == first[name]
        assert second[name]["stats"] == {
            "store_hits": updates[name],
            "misses": 0,
            "updates": 0,
            "bypassed": {},
            "skipped": {},
            "errors": {},
        }


@pytest.mark.parametrize("method", ["function_calling", "json_mode", "json_schema"])
def test_structured_output_is_equal_wherever_it_comes_from(
    method: str, database: Path, server: OpenAIServer
) -> None:
    row = ROWS[method]
    with LLMCache(database) as cache:
        cold, memory = row.run(cache, server.url), row.run(cache, server.url)
        assert (cache.stats().memory_hits, cache.stats().updates) == (1, 1)
    with LLMCache(database) as again:
        disk = row.run(again, server.url)
        assert again.stats().store_hits == 1
    for caches in (cache, again):
        stats = caches.stats()
        assert (stats.skipped, stats.bypassed, stats.errors) == ({}, {}, {})
    for hit in (memory, disk):
        assert difference(hit, cold) is None
        assert type(hit) is clients.Report
        assert hit is not cold
    assert server.requests == 1


def test_other_settings_are_another_call(cache: LLMCache, server: OpenAIServer) -> None:
    settings: list[dict[str, Any]] = [{}, {"temperature": 0.5}, {"seed": 1}, {"stop": ["x"]}]
    rows = [replace(ROWS["plain"], options=each) for each in settings]
    first = [comparable(row.run(cache, server.url)) for row in rows]
    second = [comparable(row.run(cache, server.url)) for row in rows]
    assert server.requests == len(settings)
    assert len({reply["content"] for reply in first}) == len(settings)
    assert second == first


def test_editing_a_reply_changes_no_later_hit(cache: LLMCache, server: OpenAIServer) -> None:
    row = ROWS["bind_tools"]
    reply = row.run(cache, server.url)
    original = comparable(reply)
    for _ in range(3):  # the reply that was stored, then two hits
        reply.content = "edited"
        reply.tool_calls[0]["args"]["city"] = "edited"
        reply.tool_calls.pop()
        reply.usage_metadata["input_tokens"] = -1
        reply.response_metadata["token_usage"]["prompt_tokens"] = -1
        reply.additional_kwargs["edited"] = True
        assert comparable(reply) != original

        reply = row.run(cache, server.url)
        assert comparable(reply) == original
    assert server.requests == 1


def test_global_cache(cache: LLMCache, server: OpenAIServer) -> None:
    before = get_llm_cache()
    set_llm_cache(cache)
    try:
        first, second = (ROWS["plain"].run(None, server.url) for _ in range(2))
    finally:
        set_llm_cache(before)
    assert comparable(second) == comparable(first)
    assert (server.requests, cache.stats().hits) == (1, 1)


def test_failed_call_is_not_cached(cache: LLMCache, server: OpenAIServer) -> None:
    row = ROWS["plain"]
    server.fail_next(500)
    with pytest.raises(InternalServerError):
        row.run(cache, server.url)
    first, second = (comparable(row.run(cache, server.url)) for _ in range(2))
    assert second == first
    assert server.requests == 2


@pytest.mark.anyio
async def test_sync_call_in_a_running_loop(database: Path, server: OpenAIServer) -> None:
    row = ROWS["plain"]
    with LLMCache(database) as cache:
        first = comparable(row.run(cache, server.url))
        assert comparable(row.run(cache, server.url)) == first
        assert cache.stats().memory_hits == 1
    with LLMCache(database) as cache:  # nothing in memory: this loop's thread waits for the file
        assert comparable(row.run(cache, server.url)) == first
        assert cache.stats().store_hits == 1
    assert server.requests == 1


def test_a_hundred_event_loops_of_a_client(database: Path, server: OpenAIServer) -> None:
    with LLMCache(database, max_bytes=0) as cache:  # so that each loop asks the file
        first = comparable(ROWS["ainvoke"].run(cache, server.url))
        for _ in range(99):
            assert comparable(ROWS["ainvoke"].run(cache, server.url)) == first
        assert cache.stats().store_hits == 99
    assert server.requests == 1


def test_a_hundred_event_loops_that_write(cache: LLMCache) -> None:
    async def store(number: int) -> None:
        key, value = (f"prompt {number}", "model"), [Generation(text=f"reply {number}")]
        assert await cache.alookup(*key) is None
        await cache.aupdate(*key, value)
        assert await cache.alookup(*key) == value

    for number in range(100):
        asyncio.run(store(number))
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.errors) == (100, 100, {})


@pytest.mark.anyio
async def test_many_prompts_at_once(cache: LLMCache, server: OpenAIServer) -> None:
    async with DefaultAsyncHttpxClient(trust_env=False) as async_http:
        with DefaultHttpxClient(trust_env=False) as http:
            model = ROWS["ainvoke"].build(cache, server.url, http, async_http)

            async def ask() -> list[Any]:
                calls = [model.ainvoke(f"What is {number} squared?") for number in range(20)]
                return await asyncio.gather(*calls)

            first, second = await ask(), await ask()
    assert len({reply.content for reply in first}) == 20
    assert comparable(second) == comparable(first)
    assert server.requests == 20
    assert (cache.stats().hits, cache.stats().errors) == (20, {})


@pytest.mark.anyio
@pytest.mark.parametrize("failures", [0, 1])
async def test_a_crowd_that_asks_the_same_sends_one_request(
    failures: int, cache: LLMCache, running: OpenAIServer
) -> None:
    with OpenAIServer(latency=0.2) as server, DefaultHttpxClient(trust_env=False) as http:
        server.fail_next(500, failures)
        async with DefaultAsyncHttpxClient(trust_env=False) as async_http:
            model = ROWS["ainvoke"].build(cache, server.url, http, async_http)
            calls = [model.ainvoke("What is 12 squared?") for _ in range(200)]
            replies: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    failed = [reply for reply in replies if isinstance(reply, InternalServerError)]
    assert len(failed) == failures
    assert len({reply.content for reply in replies if reply not in failed}) == 1
    assert server.requests == 1 + failures
    stats = cache.stats()
    # On a busy machine some begin when the answer is there already.
    assert (stats.hits, stats.misses) == (199 - failures, 1 + failures)
    assert stats.coalesced > 0

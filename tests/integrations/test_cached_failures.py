"""Streams of real clients that fail, are cut off, or are left: nothing of them is kept."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("langchain_openai")

from support import cached_calls as calls
from support.cached_calls import CLIENTS, PATHS
from support.doubles import LIMIT
from support.stream_server import Ask, StreamServer, Turn, turn_of

from llmemo import LLMCache, cached

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.clients]

every_client = pytest.mark.parametrize("client", CLIENTS)
STREAMS = ["stream", "astream"]


def heard(path: str, model: Any) -> tuple[list[Any], str, Any]:
    """The chunks that came, the error after them, and what a handler was told."""
    chunks: list[Any] = []
    told = calls.Told()
    config = {"callbacks": [calls.Handler(told)]}

    async def read() -> None:
        async for chunk in model.astream("Why?", config):
            chunks.append(chunk)  # noqa: PERF401 (it fails in between)

    try:
        if path == "stream":
            for chunk in model.stream("Why?", config):
                chunks.append(chunk)  # noqa: PERF402 (as above)
        else:
            asyncio.run(read())
    except Exception as error:  # noqa: BLE001 (of any client)
        return calls.comparable(chunks), type(error).__name__, told
    return calls.comparable(chunks), "", told


def failing(**where: int) -> Callable[[Ask], Turn]:
    return lambda ask: replace(turn_of(ask), **where)  # type: ignore[arg-type]


FAILURES = {"an error": {"fails_at": 5}, "no more bytes": {"hangs_up_at": 5}}


@every_client
@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("failure", FAILURES)
def test_a_stream_that_fails(
    failure: str, path: str, client: str, server: StreamServer, cache: LLMCache
) -> None:
    plain, model = CLIENTS[client](server.url), cached(CLIENTS[client](server.url), cache)
    server.turn = failing(**FAILURES[failure])
    expected = heard(path, plain)
    assert expected[1]
    for asked in (2, 3):
        assert heard(path, model) == expected
        assert server.requests == asked
    assert (cache.stats().updates, cache.stats().misses) == (0, 2)
    server.turn = turn_of
    fine = heard(path, model)
    assert fine == heard(path, plain) == heard(path, model)
    assert server.requests == 5
    assert cache.stats().updates == 1


@every_client
@pytest.mark.parametrize("path", STREAMS)
def test_a_stream_that_ends_in_the_middle_is_not_kept(
    path: str, client: str, server: StreamServer, cache: LLMCache
) -> None:
    """As where a proxy closes the line: nothing tells the client that there would be more."""
    plain, model = CLIENTS[client](server.url), cached(CLIENTS[client](server.url), cache)
    server.turn = failing(ends_at=3)
    for _ in range(2):
        assert heard(path, model) == heard(path, plain)
    assert server.requests == 4
    assert (cache.stats().updates, cache.stats().hits) == (0, 0)
    server.turn = turn_of
    fine = heard(path, model)
    assert fine == heard(path, plain) == heard(path, model)
    assert cache.stats().hits == 1


@every_client
@pytest.mark.parametrize("path", ["invoke", "ainvoke"])
def test_a_call_that_fails(path: str, client: str, server: StreamServer, cache: LLMCache) -> None:
    model = cached(CLIENTS[client](server.url), cache)
    server.turn = failing(fails_at=0)
    for asked in (1, 2):
        with pytest.raises(Exception, match="out of order"):
            calls.run(path, model)
        assert server.requests == asked
    server.turn = turn_of
    for _ in range(2):
        calls.run(path, model)
    assert server.requests == 3


@every_client
@pytest.mark.parametrize("path", STREAMS)
def test_a_reader_that_leaves(
    path: str, client: str, server: StreamServer, cache: LLMCache
) -> None:
    model = cached(CLIENTS[client](server.url), cache)
    goes_on = threading.Event()
    waited: list[bool] = []
    # The last chunks wait until the reader has left: its request does not.
    server.gate = lambda number: None if number < 4 else waited.append(goes_on.wait(LIMIT / 10))

    async def leave() -> None:
        stream = model.astream("Why?")
        await stream.__anext__()
        await stream.aclose()

    if path == "stream":
        stream = model.stream("Why?")
        next(stream)
        stream.close()
    else:
        asyncio.run(leave())
    assert waited == []
    goes_on.set()
    assert cache.stats().updates == 0
    calls.run(path, model)
    assert server.requests == 2
    calls.run(path, model)
    assert server.requests == 2


@every_client
def test_fifty_streams_at_once(client: str, server: StreamServer, cache: LLMCache) -> None:
    expected = calls.run("astream", CLIENTS[client](server.url))
    model = cached(CLIENTS[client](server.url), cache)

    async def main() -> list[Any]:
        return list(await asyncio.gather(*(PATHS["astream"](model, "Why?", {}) for _ in range(50))))

    assert asyncio.run(main()) == [expected] * 50
    assert server.requests == 2
    assert (cache.stats().hits, cache.stats().misses) == (49, 1)


def test_a_follower_reads_before_the_end(server: StreamServer, cache: LLMCache) -> None:
    model = cached(CLIENTS["openai"](server.url), cache)
    goes_on = threading.Event()
    waited: list[bool] = []
    server.gate = lambda number: None if number < 3 else waited.append(goes_on.wait(LIMIT))

    async def main() -> None:
        leader, follower = model.astream("Why?"), model.astream("Why?")
        first = [await leader.__anext__(), await leader.__anext__()]
        late = [await follower.__anext__(), await follower.__anext__()]
        assert [chunk.content for chunk in late] == [chunk.content for chunk in first]
        assert not goes_on.is_set()
        await leader.aclose()
        goes_on.set()
        rest = [chunk.content async for chunk in follower]
        assert len(rest) > 2

    asyncio.run(main())
    assert server.requests == 1
    assert cache.stats().updates == 1
    # The leader left before it had its answer; the follower did not ask.
    assert (cache.stats().hits, cache.stats().misses) == (1, 1)


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_that_was_cut_off_by_the_provider(
    path: str, server: StreamServer, cache: LLMCache
) -> None:
    server.turn = lambda ask: replace(turn_of(ask), finish="length")
    model = cached(CLIENTS["openai"](server.url, stream_usage=True), cache)
    expected = calls.told(path, CLIENTS["openai"](server.url, stream_usage=True))
    for asked in (2, 3):
        assert calls.told(path, model) == expected
        assert server.requests == asked
    assert cache.stats().skipped == {"truncated": 2}
    assert cache.stats().updates == 0

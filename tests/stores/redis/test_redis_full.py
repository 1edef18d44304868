"""A server that is full, or evicts what it likes: hits and removals go on, and nothing is wrong."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING

import pytest
from langchain_core.outputs import Generation
from support.doubles import ROUNDS, answer
from support.figures import tell
from support.fleet import calls_of, fleet, within
from support.redis_server import Server

from llmemo import LLMCache, options

if TYPE_CHECKING:
    from collections.abc import Iterator

UPDATES = 900
SECONDS = 8.0
PADDING = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=20_000))


def large(key: str) -> list[Generation]:
    """An answer that hardly gets smaller."""
    return [Generation(text=f"{key} {PADDING}")]


def fill(server: Server) -> None:
    """Leave no room, not even for a few bytes."""
    with server.ask() as ask:
        ask("CONFIG", "SET", "maxmemory", "1")


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with Server(maxmemory_policy="noeviction") as server:
        yield server


@pytest.fixture
def roomy(running: Server) -> Server:
    """A server that has room until it is filled."""
    with running.ask() as ask:
        ask("CONFIG", "SET", "maxmemory", "0")
        ask("FLUSHALL")
    return running


@pytest.mark.slow
def test_a_full_server_holds_up_neither_updates_nor_hits_nor_the_end(roomy: Server) -> None:
    async def main() -> tuple[float, float]:
        cache = LLMCache(roomy.url(), max_bytes=0, store_timeout=1.0)
        for n in range(20):
            await cache.aupdate(f"p{n}", "m", answer(f"p{n}"))
        fill(roomy)
        start = time.monotonic()
        for n in range(UPDATES):
            key = f"q{n}"
            assert await cache.alookup(key, "m") is None
            await cache.aupdate(key, "m", answer(key))
            if n % 9 == 0:
                key = f"p{n % 20}"
                assert await cache.alookup(key, "m") == answer(key)
        took, start = time.monotonic() - start, time.monotonic()
        stats = cache.stats()
        assert set(stats.errors) <= {"store_refused"}
        assert stats.errors["store_refused"] >= UPDATES
        assert await cache.aclose() == 0
        return took, time.monotonic() - start

    took, closing = asyncio.run(main())
    tell("a full server", updates=UPDATES, seconds=took, aclose_s=closing)
    assert took < SECONDS
    assert closing < 2


def test_updates_at_once_to_a_full_server_are_dropped_at_once(roomy: Server) -> None:
    async def main() -> float:
        cache = LLMCache(roomy.url(), max_bytes=0, store_timeout=1.0)
        await cache.aupdate("p", "m", answer("p"))
        fill(roomy)
        start = time.monotonic()
        keys = [f"q{n}" for n in range(UPDATES)]
        await asyncio.gather(*[cache.aupdate(key, "m", answer(key)) for key in keys])
        assert await cache.aclose() == 0
        return time.monotonic() - start

    assert asyncio.run(main()) < SECONDS


def test_removals_on_a_full_server_reach_the_others(roomy: Server) -> None:
    with LLMCache(roomy.url()) as here, LLMCache(roomy.url()) as there:
        for n in range(10):
            here.update(f"p{n}", "m", answer(f"p{n}"))
            here.update(f"p{n}", "other", answer(f"p{n}"))
            assert there.lookup(f"p{n}", "m") == answer(f"p{n}")
            assert there.lookup(f"p{n}", "other") == answer(f"p{n}")
        fill(roomy)
        assert here.delete("p0", "m")
        within(1, lambda: there.lookup("p0", "m") is None)
        assert there.lookup("p1", "m") == answer("p1")
        assert here.invalidate(llm_string="other") == 10
        within(1, lambda: there.lookup("p1", "other") is None)
        assert there.lookup("p1", "m") == answer("p1")
        here.clear()
        within(1, lambda: there.lookup("p1", "m") is None)
        with roomy.ask() as ask:
            assert not [name for name in ask("KEYS", "*") if b":v:" in name]
            ask("CONFIG", "SET", "maxmemory", "0")
        there.update("p0", "m", answer("new"))
        within(5, lambda: here.lookup("p0", "m") == answer("new"))


def test_a_replacement_that_is_refused_leaves_what_was_there(roomy: Server) -> None:
    with LLMCache(roomy.url()) as here, LLMCache(roomy.url()) as there:
        here.update("p", "m", answer("p"))
        fill(roomy)
        with options(mode="refresh"):
            here.update("p", "m", answer("new"))
        assert there.lookup("p", "m") == answer("p")


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-lru"])
def test_what_is_evicted_is_asked_again_and_nothing_is_wrong(policy: str) -> None:
    # A megabyte is what an empty server takes: there is room for a part of the answers.
    with Server(maxmemory="2mb", maxmemory_policy=policy) as server:
        options = {"ttl": 600.0, "max_bytes": 0}
        with fleet(
            server.url(), 2, callers=2, keys=60, model_seconds=0.01, text_bytes=20_000, **options
        ) as crew:
            crew.go()
            time.sleep(1.5 * min(10, ROUNDS))
            told = crew.told()
        with server.ask() as ask:
            stats: bytes = ask("INFO", "stats")
        evicted = int(stats.partition(b"evicted_keys:")[2].split()[0])
    tell(f"eviction {policy}", evicted=evicted, calls=sum(calls_of(told).values()))
    assert evicted > 0
    assert [one["wrong"] for one in told] == [[], []]
    assert all(set(one["errors"]) <= {"store_refused"} for one in told), told

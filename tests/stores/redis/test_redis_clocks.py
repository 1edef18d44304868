"""Clocks that are hours apart: leases and TTLs go by the server's."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from support.doubles import answer
from support.fleet import within
from support.redis_server import NOW, shared
from support.slices import some

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Callable

HOURS = [-30, -5, 0, 5, 30]


def clock(hours: float) -> Callable[[], float]:
    return lambda: time.time() + 3_600 * hours


@pytest.mark.parametrize("is_frozen", [False, True])
def test_one_call_for_all_whatever_their_clocks_say(is_frozen: bool) -> None:
    # A server's clock that stands still in another year is as wrong as can be.
    url = shared(frozen=is_frozen).fresh_url()
    caches = [LLMCache(url, clock=clock(hours)) for hours in HOURS]
    calls: list[float] = []

    async def call(cache: LLMCache, key: str) -> None:
        found = await cache.alookup(key, "m")
        if found is None:
            calls.append(NOW)
            await asyncio.sleep(0.1)
            await cache.aupdate(key, "m", answer(key))
            return
        assert found == answer(key)

    async def main() -> None:
        for key in ("p", "q"):
            await asyncio.gather(*[call(cache, key) for cache in caches for _ in range(5)])

    start = time.monotonic()
    asyncio.run(main())
    assert len(calls) == 2
    assert time.monotonic() - start < 4
    for cache in caches:
        assert cache.lookup("p", "m") == answer("p")
        assert cache.stats().errors == {}
        cache.close()


@pytest.mark.slow
@pytest.mark.parametrize("hours", [-5, 5])
def test_the_lease_of_one_that_fails_is_free_for_the_next(hours: float) -> None:
    url = shared().fresh_url()
    with LLMCache(url, clock=clock(hours)) as here, LLMCache(url, clock=clock(-hours)) as there:

        async def main() -> float:
            begun, go_on = asyncio.Event(), asyncio.Event()

            async def hold() -> None:
                assert await here.alookup("p", "m") is None
                begun.set()
                await go_on.wait()

            holder = asyncio.ensure_future(hold())
            await begun.wait()
            waiting = asyncio.ensure_future(there.alookup("p", "m"))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            start = time.monotonic()
            # Its holder goes without an answer.
            await here.aclose()
            assert await waiting is None
            await there.aupdate("p", "m", answer("p"))
            go_on.set()
            await holder
            return time.monotonic() - start

        assert asyncio.run(main()) < 3


@pytest.mark.parametrize("hours", some(HOURS, 2))
def test_the_server_lets_an_answer_go_in_time_whatever_the_clock_of_who_stored_it(
    hours: float,
) -> None:
    server = shared()
    url = server.fresh_url()
    with (
        LLMCache(url, max_bytes=0, ttl=0.5, clock=clock(hours)) as here,
        server.ask(int(url.rpartition("/")[2])) as ask,
    ):
        here.update("p", "m", answer("p"))
        [name] = [name for name in ask("KEYS", "*") if b":v:" in name]
        assert 0 < ask("PTTL", name) <= 500
        assert here.lookup("p", "m") == answer("p")
        within(2, lambda: not ask("EXISTS", name))
        assert here.lookup("p", "m") is None
        here.update("p", "m", answer("p"))
        assert here.stats().errors == {}


def test_whose_clock_is_ahead_calls_again_and_gets_no_stale_answer() -> None:
    url = shared().fresh_url()
    with (
        LLMCache(url, ttl=600, clock=clock(0)) as here,
        LLMCache(url, ttl=600, clock=clock(5)) as ahead,
    ):
        here.update("p", "m", answer("p"))
        assert ahead.lookup("p", "m") is None
        ahead.update("p", "m", answer("p"))
        assert ahead.lookup("p", "m") == answer("p")
        within(2, lambda: here.lookup("p", "m") == answer("p"))
        assert (here.stats().errors, ahead.stats().errors) == ({}, {})

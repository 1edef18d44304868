"""A few connections for however many callers, and none when the cache is closed."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT, answer
from support.fleet import within
from support.redis_server import shared

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Coroutine

THREADS, LOOPS, AT_ONCE = 4, 5, 256
CONNECTIONS_MAX = 8


def connections(url: str) -> int:
    with shared().ask() as ask:
        lines: list[bytes] = ask("CLIENT", "LIST").splitlines()
    return sum(b" db=%s " % url.rpartition("/")[2].encode() in line for line in lines)


@pytest.mark.slow
def test_threads_and_loops_share_eight_connections(redis_url: str) -> None:
    wrong: list[object] = []
    most = 0
    is_over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not is_over.wait(0.01):
            most = max(most, connections(redis_url))

    with LLMCache(redis_url, max_bytes=0) as cache:

        async def use(thread: int, loop: int) -> None:
            async def one(n: int) -> None:
                key = f"{thread}-{loop}-{n}"
                if await cache.alookup(key, "m") is not None:
                    wrong.append(key)
                await cache.aupdate(key, "m", answer(key))
                if await cache.alookup(key, "m") != answer(key):
                    wrong.append(key)
                if await cache.alookup(f"{thread}-{n}", "m") not in (None, answer(f"{thread}-{n}")):
                    wrong.append(key)

            await asyncio.gather(*map(one, range(AT_ONCE)))

        def work(thread: int) -> None:
            for loop in range(LOOPS):
                asyncio.run(use(thread, loop))

        crew = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
        watcher = threading.Thread(target=watch)
        for thread in (*crew, watcher):
            thread.start()
        for thread in crew:
            thread.join(LIMIT)
        is_over.set()
        watcher.join(LIMIT)
        stats = cache.stats()
        assert (stats.errors, stats.writes_unconfirmed) == ({}, 0)
        assert stats.updates == THREADS * LOOPS * AT_ONCE
    assert wrong == []
    assert 1 <= most <= CONNECTIONS_MAX
    within(2, lambda: not connections(redis_url))


async def _close(cache: LLMCache) -> None:
    await cache.aclose()


async def _leave(cache: LLMCache) -> None:
    """End the loop in the middle of what it does."""
    for n in range(20):
        asyncio.ensure_future(cache.alookup(f"left {n}", "m"))  # noqa: RUF006
    await asyncio.sleep(0)


@pytest.mark.parametrize("end", [_close, _leave])
def test_no_connection_is_left_when_a_loop_ends(end: Any, redis_url: str) -> None:
    cache = LLMCache(redis_url, max_bytes=0)

    async def main() -> None:
        await cache.aupdate("p", "m", answer("p"))
        ended: Coroutine[Any, Any, None] = end(cache)
        await ended

    for _ in range(3):
        if end is _close:
            cache = LLMCache(redis_url, max_bytes=0)
        asyncio.run(main())
    cache.close()
    within(2, lambda: not connections(redis_url))
    assert cache.stats().errors == {}


def test_a_cache_that_is_dropped_leaves_no_connection(redis_url: str) -> None:
    cache = LLMCache(redis_url)
    cache.update("p", "m", answer("p"))
    assert connections(redis_url) >= 1
    del cache
    within(5, lambda: not connections(redis_url))

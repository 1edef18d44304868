"""A few connections for however many callers, and none when the cache is closed."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT, answer
from support.fleet import within
from support.proxy_actions import CutReply, Delay
from support.redis_proxy import Proxy
from support.redis_server import shared

from llmemo import LLMCache, RedisStore
from llmemo.stores import Selection
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.redis.scripts import READ

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from support.proxy_actions import Action, Command

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


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy(shared().port) as proxy:
        yield proxy


def test_a_grant_whose_reply_is_lost_is_granted_again(redis_url: str, proxy: Proxy) -> None:
    cut = 0

    def fault(asked: Command) -> Action | None:
        nonlocal cut
        is_read = asked.name == "EVALSHA" and asked.words[1] == READ.sha
        cut += is_read
        return CutReply(0.0) if is_read and cut == 1 else None

    with LLMCache(proxy.url(int(redis_url.rpartition("/")[2])), max_bytes=0) as cache:
        # So that the connection was used before, and is taken for one that the server has closed.
        cache.update("warm", "m", answer("warm"))
        assert cache.lookup("first", "m") is None
        cache.update("first", "m", answer("first"))
        proxy.fault = fault
        start = time.monotonic()
        assert cache.lookup("p", "m") is None
        assert cut == 2
        # It is not waited for the end of a lease that is its own.
        assert time.monotonic() - start < 2
        cache.update("p", "m", answer("p"))
        assert cache.lookup("p", "m") == answer("p")
        assert (cache.stats().errors, cache.stats().skipped) == ({}, {})


def test_connections_that_are_given_up_in_use_are_not_left(redis_url: str, proxy: Proxy) -> None:
    async def main() -> None:
        store = RedisStore(proxy.url(int(redis_url.rpartition("/")[2])))
        store.timeout = 10.0
        await store.open()
        proxy.fault = lambda asked: Delay(0.2) if asked.name == "MGET" else None
        for _ in range(3):
            reads = [asyncio.ensure_future(store.get([bytes([n]) * 32])) for n in range(4)]
            await asyncio.sleep(0.1)
            await store._server.topology.nodes.drop()
            await asyncio.gather(*reads, return_exceptions=True)
        proxy.fault = lambda asked: None
        assert await store.get([b"k" * 32]) == {}
        await store.close()
        await asyncio.sleep(0)

    asyncio.run(main())
    within(2, lambda: not connections(redis_url))


def test_a_removal_that_was_broken_off_is_not_taken_for_another(
    redis_url: str, proxy: Proxy
) -> None:
    async def main() -> None:
        store = RedisStore(proxy.url(int(redis_url.rpartition("/")[2])))
        await store.open()
        proxy.refuse()
        selection = Selection(b"n" * 16, None, None)
        identity = id(selection)
        with pytest.raises(StoreUnavailableError):
            await store.invalidate(selection)
        del selection
        others = [Selection(bytes([n % 256]) * 16, None, None) for n in range(1_000)]
        assert identity not in map(id, others)
        proxy.accept()
        await store.close()

    asyncio.run(main())

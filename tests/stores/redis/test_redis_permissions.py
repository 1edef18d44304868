"""The least that a user of the server has to be allowed, and what happens with less."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest
from support.doubles import ROUNDS, answer
from support.fleet import within
from support.redis_server import Server
from support.redis_topologies import Cluster

from llmemo import LLMCache, RedisStore, options
from llmemo.stores import Record
from llmemo.stores.redis import scripts

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = (
    "mget scan xread xrevrange evalsha eval getrange set del exists time "
    "hget hmget hset pexpire xadd xlen"
).split()
"""What every server has to allow."""

SELECT = "select"
"""Where the database is another than 0."""
WAIT = "wait"
"""With `replicas`."""
CLUSTER = "cluster|slots"
"""For a cluster."""

KEYS = "~llmemo:*"
"""With the default prefix."""

RULES = ["resetkeys", KEYS, "resetchannels", "-@all", *(f"+{name}" for name in COMMANDS)]


def url_for(server: Server, *rules: str, database: int = 0) -> str:
    """A URL of a user with these rules, which gets whatever of the server's is forgotten."""
    with server.ask() as ask:
        ask("SCRIPT", "FLUSH", "SYNC")
        ask("FLUSHALL")
        ask("ACL", "SETUSER", "llmemo", "reset", "on", ">secret", *rules)
    return f"redis://llmemo:secret@127.0.0.1:{server.port}/{database}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(repl_diskless_sync_delay=0) as server:
        yield server


def use(url: str) -> None:
    """All that a cache does with a store, without trouble."""
    with LLMCache(url, ttl=600) as here, LLMCache(url) as there:
        for n in range(4):
            for llm in ("m", "other"):
                here.update(f"p{n}", llm, answer(f"p{n}"))
                assert there.lookup(f"p{n}", llm) == answer(f"p{n}")
        with options(mode="refresh"):
            here.update("p0", "m", answer("new"))
        within(2, lambda: there.lookup("p0", "m") == answer("new"))
        assert here.delete("p0", "m")
        within(2, lambda: there.lookup("p0", "m") is None)
        there.update("p0", "m", answer("p0"))
        calls: list[str] = []

        async def call(cache: LLMCache) -> None:
            if await cache.alookup("q", "m") is None:
                calls.append("q")
                await asyncio.sleep(0.05)
                await cache.aupdate("q", "m", answer("q"))

        async def main() -> None:
            await asyncio.gather(*[call(cache) for cache in (here, there) for _ in range(3)])

        asyncio.run(main())
        asyncio.run(add(url))
        assert calls == ["q"]
        assert here.invalidate(llm_string="other") == 4
        here.clear()
        within(2, lambda: there.lookup("p1", "m") is None)
        assert (here.stats().errors, there.stats().errors) == ({}, {})
        assert (here.stats().writes_unconfirmed, there.stats().writes_unconfirmed) == (0, 0)


async def add(url: str) -> None:
    """What an import does."""
    store = RedisStore(url)
    await store.open()
    try:
        record = Record(b"k" * 32, b"value", b"n" * 16, b"l" * 16, 1.0, None)
        assert await store.add([record]) == 1
        assert await store.add([record]) == 0
    finally:
        await store.close()


def test_this_list_is_enough(server: Server) -> None:
    use(url_for(server, *RULES))


def test_another_database_needs_one_more(server: Server) -> None:
    use(url_for(server, *RULES, f"+{SELECT}", database=3))


def test_replicas_need_one_more(server: Server) -> None:
    url = url_for(server, *RULES, f"+{WAIT}")
    with Server(replicaof=("127.0.0.1", server.port)) as replica:

        def is_linked() -> bool:
            with replica.ask() as ask:
                return b"master_link_status:up" in ask("INFO", "replication")

        within(20, is_linked)
        with LLMCache(RedisStore(url, replicas=1)) as cache:
            cache.update("p", "m", answer("p"))
            assert cache.delete("p", "m")
            assert (cache.stats().errors, cache.stats().writes_unconfirmed) == ({}, 0)


@pytest.mark.slow
def test_a_cluster_needs_one_more() -> None:
    with Cluster() as cluster:
        for node in cluster.nodes:
            url_for(node, *RULES, f"+{CLUSTER}")
        use(f"redis://llmemo:secret@127.0.0.1:{cluster.nodes[0].port}")


@pytest.mark.skipif(ROUNDS == 1, reason="takes long: make soak")
@pytest.mark.parametrize("command", COMMANDS)
def test_each_of_this_list_is_needed(command: str, server: Server) -> None:
    url = url_for(server, *RULES, f"-{command}")
    with pytest.raises(Exception):  # noqa: B017, PT011 (whatever is wrong first)
        use(url)


def test_scripts_use_only_what_is_in_this_list() -> None:
    texts = [one.text.decode() for one in vars(scripts).values() if isinstance(one, scripts.Script)]
    calls = re.compile(r"\b(?:p?call|tried|done)\(\s*'([A-Z]+)'")
    called = {name.lower() for text in texts for name in calls.findall(text)}
    assert called <= set(COMMANDS)
    assert len(called) > 8


@pytest.mark.parametrize(
    "missing",
    [
        ["-@all"],
        ["-mget"],
        ["-xlen"],
        ["-hset"],
        ["-xread"],
        ["-scan"],
        ["-evalsha"],
        ["-set"],
        ["resetkeys", "~other:*"],
    ],
)
def test_with_less_calls_go_on_without_the_store(missing: list[str], server: Server) -> None:
    url = url_for(server, *RULES, *missing)
    with LLMCache(url, store_timeout=1.0) as cache:
        for n in range(8):
            assert cache.lookup(f"p{n}", "m") is None
            cache.update(f"p{n}", "m", answer(f"p{n}"))
            assert cache.lookup(f"p{n}", "m") in (answer(f"p{n}"), None)
        kinds = {"store_refused", "store_changes", "store_read", "store_shut", "store_lease"}
        assert set(cache.stats().errors) <= kinds, cache.stats().errors
        assert "secret" not in repr(cache) + repr(cache.stats())

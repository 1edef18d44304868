"""Sentinels that name another master, and replicas that have to confirm."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.doubles import ROUNDS, answer
from support.figures import tell
from support.fleet import within
from support.redis_server import Server
from support.redis_topologies import MASTER, Watched
from support.servers import Replies

from llmemo import LLMCache, RedisStore, options

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.process]

in_a_soak = pytest.mark.skipif(ROUNDS == 1, reason="takes long: make soak")
KEYS = 30


def fill(cache: LLMCache) -> None:
    for n in range(KEYS):
        cache.update(f"p{n}", "m", answer(f"p{n}"))


def hits(cache: LLMCache) -> int:
    found = [cache.lookup(f"p{n}", "m") for n in range(KEYS)]
    assert all(one in (None, answer(f"p{n}")) for n, one in enumerate(found))
    return sum(one is not None for one in found)


def test_hits_come_back_when_a_replica_has_taken_its_masters_place() -> None:
    with Watched() as watched, LLMCache(watched.url, max_bytes=0) as cache:
        fill(cache)
        within(5, lambda: _keys(watched.replica) == _keys(watched.master))
        assert hits(cache) == KEYS
        watched.master.kill()
        waiting = threading.Thread(target=watched.wait_for_promotion)
        waiting.start()
        while waiting.is_alive():
            hits(cache)
            waiting.join(0.02)
        took = within(6, lambda: hits(cache) == KEYS)
        tell("hits again after sentinel's promotion", seconds=took)
        cache.update("after", "m", answer("after"))
        assert cache.lookup("after", "m") == answer("after")
        assert cache.delete("after", "m")
        with watched.replica.ask() as ask:
            assert ask("ROLE")[0] == b"master"


@in_a_soak
def test_a_failover_by_hand_moves_writes_to_the_new_master() -> None:
    with Watched() as watched, LLMCache(watched.url, max_bytes=0) as cache:
        fill(cache)
        within(5, lambda: _keys(watched.replica) == _keys(watched.master))
        with Replies(watched.sentinel.port) as ask:
            ask("SENTINEL", "FAILOVER", MASTER)
        watched.wait_for_promotion()
        took = within(10, lambda: hits(cache) == KEYS)
        within(10, lambda: _is_stored(cache, watched.replica))
        tell("writes again after a failover by hand", seconds=took)


def _is_stored(cache: LLMCache, master: Server) -> bool:
    before = _keys(master)
    cache.update(f"new {before}", "m", answer("x"))
    return _keys(master) > before


@in_a_soak
def test_a_failover_that_loses_the_end_of_the_streams_clears_memory() -> None:
    with Watched() as watched:
        with LLMCache(watched.url) as here, LLMCache(watched.url) as there:
            fill(here)
            assert hits(there) == KEYS
            within(5, lambda: _keys(watched.replica) == _keys(watched.master))
            # From now on the replica gets nothing.
            watched.replica.freeze()
            with watched.master.ask() as ask:
                assert ask("CLIENT", "KILL", "TYPE", "replica") == 1
            with options(mode="refresh"):
                here.update("p0", "m", answer("new"))
            within(1, lambda: there.lookup("p0", "m") == answer("new"))
            time.sleep(0.6)  # Both have seen it.
            watched.master.kill()
            watched.replica.thaw()
            watched.wait_for_promotion()
            within(6, lambda: here.stats().entries == there.stats().entries == 0)


def _keys(server: Server) -> int:
    with server.ask() as ask:
        return int(ask("DBSIZE"))


@pytest.fixture
def master() -> Iterator[Server]:
    with Server(repl_diskless_sync_delay=0) as server:
        yield server


def _replica(master: Server) -> Server:
    made = Server(replicaof=("127.0.0.1", master.port))

    def is_linked() -> bool:
        with made.ask() as ask:
            return b"master_link_status:up" in ask("INFO", "replication")

    within(20, is_linked)
    return made


def test_a_write_that_a_replica_confirms_is_confirmed(master: Server) -> None:
    replica = _replica(master)
    with replica, LLMCache(RedisStore(master.url(), replicas=1), store_timeout=10) as cache:
        for n in range(20):
            cache.update(f"p{n}", "m", answer(f"p{n}"))
            assert _keys(replica) >= n + 1
        assert cache.delete("p0", "m")
        assert cache.invalidate(llm_string="m") == 19
        assert (cache.stats().errors, cache.stats().writes_unconfirmed) == ({}, 0)


def test_a_write_that_no_replica_confirms_is_repeated_until_one_does(master: Server) -> None:
    with LLMCache(RedisStore(master.url(), replicas=1), max_bytes=0, store_timeout=0.4) as cache:
        cache.update("p", "m", answer("p"))
        assert cache.stats().writes_unconfirmed == 1
        # It is served meanwhile.
        assert cache.lookup("p", "m") == answer("p")
        removed: list[object] = []
        removing = threading.Thread(target=lambda: removed.append(cache.delete("p", "m")))
        removing.start()
        removing.join(1.5)
        assert removing.is_alive()
        with _replica(master) as replica:
            removing.join(10)
            # Whether there was one is not known of a removal that was repeated.
            assert len(removed) == 1
            assert cache.lookup("p", "m") is None
            within(10, lambda: _has(cache, replica))
            assert cache.close() == 0


def test_what_a_server_refuses_is_not_repeated_for_its_replicas(master: Server) -> None:
    store = RedisStore(master.url(), replicas=1)
    with LLMCache(store, max_bytes=0, store_timeout=1.0) as cache:
        with master.ask() as ask:
            ask("CONFIG", "SET", "maxmemory", "1")
        start = time.monotonic()
        for n in range(5):
            cache.update(f"p{n}", "m", answer(f"p{n}"))
        assert set(cache.stats().errors) == {"store_refused"}
        assert time.monotonic() - start < 5


def _has(cache: LLMCache, replica: Server) -> bool:
    before = cache.stats().writes_unconfirmed
    cache.update("r", "m", answer("r"))
    return cache.stats().writes_unconfirmed == before and _keys(replica) >= 2


def test_a_replica_takes_no_writes_and_serves_hits(master: Server) -> None:
    replica = _replica(master)
    with LLMCache(master.url()) as cache:
        fill(cache)
        within(5, lambda: _keys(replica) == _keys(master))
    with replica, LLMCache(replica.url(), store_timeout=1.0) as cache:
        assert hits(cache) == KEYS
        assert cache.lookup("unknown", "m") is None
        cache.update("unknown", "m", answer("unknown"))
        time.sleep(0.6)
        # Its memory is not cleared again and again.
        assert cache.stats().entries == KEYS + 1
        assert set(cache.stats().errors) <= {"store_refused"}

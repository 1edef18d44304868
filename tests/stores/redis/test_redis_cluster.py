"""A cluster of three nodes: the same promises, while slots move and masters die."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT, ROUNDS, answer
from support.figures import tell
from support.fleet import calls_of, fleet, within
from support.redis_topologies import Cluster

from llmemo import LLMCache, options
from llmemo.stores.redis.nodes import SLOTS
from llmemo.stores.redis.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.redis_server import Server

pytestmark = [pytest.mark.slow, pytest.mark.process]

in_a_soak = pytest.mark.skipif(ROUNDS == 1, reason="takes long: make soak")
KEYS = 100


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    for node in running.nodes:
        with node.ask() as ask:
            ask("FLUSHALL")
    return running


def entries(cache: LLMCache) -> int:
    return cache.stats().entries


def fill(cache: LLMCache, count: int = KEYS) -> None:
    async def main() -> None:
        await asyncio.gather(*[cache.aupdate(f"p{n}", "m", answer(f"p{n}")) for n in range(count)])

    asyncio.run(main())


def hits(cache: LLMCache, count: int = KEYS) -> int:
    """How many of the answers are found; none is another's."""

    async def main() -> int:
        found = await asyncio.gather(*[cache.alookup(f"p{n}", "m") for n in range(count)])
        assert all(one in (None, answer(f"p{n}")) for n, one in enumerate(found))
        return sum(one is not None for one in found)

    return asyncio.run(main())


def test_answers_are_spread_over_the_nodes_and_found(cluster: Cluster) -> None:
    with LLMCache(cluster.url, max_bytes=0) as here:
        fill(here)
        with LLMCache(cluster.nodes[2].url(), max_bytes=0) as there:
            assert hits(there) == KEYS
            assert there.stats().errors == {}
        assert here.stats().errors == {}
    for node in cluster.nodes:
        with node.ask() as ask:
            assert len([name for name in ask("KEYS", "*") if b":v:" in name]) > KEYS / 10


def test_other_processes_memory_follows(cluster: Cluster) -> None:
    with LLMCache(cluster.url) as here, LLMCache(cluster.nodes[1].url()) as there:
        fill(here)
        assert hits(there) == KEYS
        for n in range(10):
            with options(mode="refresh"):
                here.update(f"p{n}", "m", answer("new"))
        within(1, lambda: entries(there) == KEYS - 10)
        assert there.lookup("p3", "m") == answer("new")
        assert here.delete("p3", "m")
        within(1, lambda: there.lookup("p3", "m") is None)
        there.update("p3", "m", answer("p3"))
        here.update("p", "other", answer("p"))
        assert there.lookup("p", "other") == answer("p")
        assert here.invalidate(llm_string="m") == KEYS
        within(1, lambda: entries(there) == 1)
        here.clear()
        within(1, lambda: entries(there) == 0)
        assert (here.stats().errors, there.stats().errors) == ({}, {})


def test_a_node_that_forgets_all_clears_memory(cluster: Cluster) -> None:
    with LLMCache(cluster.url) as here:
        fill(here)
        with cluster.nodes[1].ask() as ask:
            ask("FLUSHALL")
        within(1, lambda: entries(here) == 0)
        assert 0 < hits(here) < KEYS
        assert here.stats().errors == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_four_processes_make_ten_calls(cluster: Cluster) -> None:
    with fleet(cluster.url, callers=20, store_timeout=60) as crew:
        crew.go()
        told = crew.told()
    assert calls_of(told) == {f"k{n}": 1 for n in range(10)}
    assert [(one["wrong"], one["errors"]) for one in told] == [([], {})] * 4


class Load:
    """Lookups and updates in another thread, until it is over."""

    def __init__(self, cache: LLMCache) -> None:
        self.cache, self.is_over = cache, threading.Event()
        self.rounds, self.lost = 0, 0
        self.wrong: list[object] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()))

    async def _work(self) -> None:
        async def one(n: int) -> None:
            found = await self.cache.alookup(f"p{n}", "m")
            if found is None:
                self.lost += 1
            elif found != answer(f"p{n}"):
                self.wrong.append(found)
            key = f"q{self.rounds}-{n}"
            await self.cache.aupdate(key, "m", answer(key))
            found = await self.cache.alookup(key, "m")
            if found != answer(key):
                (self.wrong if found else []).append(found)
                self.lost += 1

        while not self.is_over.is_set():
            await asyncio.gather(*map(one, range(KEYS)))
            self.rounds += 1

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        self._thread.join(LIMIT)


def test_slots_that_move_under_load_lose_nothing(cluster: Cluster) -> None:
    slots = SLOTS[:: 1 if ROUNDS > 1 else 8]
    with LLMCache(cluster.url, max_bytes=0) as cache:
        fill(cache)
        with Load(cache) as load:
            for slot in slots:
                source = cluster.owner(slot)
                to = cluster.nodes[(cluster.nodes.index(source) + 1) % 3]
                cluster.begin_move(slot, to)
                time.sleep(0.02)
                with source.ask() as ask:
                    for name in ask("CLUSTER", "GETKEYSINSLOT", slot, 3):
                        cluster.move_key(name, source, to)
                time.sleep(0.02)
                cluster.end_move(slot, to)
        tell("slots that move", slots=len(slots), rounds=load.rounds, missed=load.lost)
        assert load.wrong == []
        assert load.rounds > 1
        assert load.lost == 0
        assert hits(cache) == KEYS
        assert (cache.stats().errors, cache.stats().writes_unconfirmed) == ({}, 0)


def test_invalidate_finds_what_moves_meanwhile(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, steps = Sweep._step, 0

    async def moving_step(sweep: Sweep, address: Any, cursor: bytes) -> bytes:
        nonlocal steps
        after, steps = await step(sweep, address, cursor), steps + 1
        if steps == 1:
            # Now all the rest moves to the node that was just gone through.
            to = next(node for node in cluster.nodes if node.port == address[1])
            for slot in dict.fromkeys(SLOTS):
                if cluster.owner(slot) is not to:
                    cluster.begin_move(slot, to)
                    cluster.end_move(slot, to)
        return after

    with LLMCache(cluster.url, max_bytes=0) as cache:
        fill(cache)
        monkeypatch.setattr(Sweep, "_step", moving_step)
        assert cache.invalidate(llm_string="m") == KEYS
        assert steps > 3
        assert hits(cache) == 0


def _replica_of(cluster: Cluster, master: Server) -> Server:
    """Start a replica of a node; the cluster knows it when this returns."""
    from support.redis_server import Server
    from support.servers import free_port

    made = Server(
        databases=1,
        cluster_enabled="yes",
        cluster_port=free_port(),
        cluster_node_timeout=2_000,
        repl_diskless_sync_delay=0,
    )
    with made.ask() as ask, master.ask() as there:
        name = there("CLUSTER", "MYID").decode()
        for node in cluster.nodes:
            ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.option("cluster_port"))

        def knows_all() -> bool:
            nodes = ask("CLUSTER", "NODES").decode()
            return name in nodes and nodes.count("connected") >= 4 and "handshake" not in nodes

        within(20, knows_all)
        ask("CLUSTER", "REPLICATE", name)
        within(20, lambda: b"master_link_status:up" in ask("INFO", "replication"))
    return made


@in_a_soak
def test_a_master_that_is_killed_is_replaced_by_its_replica() -> None:
    with Cluster(repl_diskless_sync_delay=0) as cluster:
        replica = _replica_of(cluster, cluster.nodes[0])
        try:
            with LLMCache(cluster.nodes[1].url(), max_bytes=0) as cache:
                fill(cache)
                within(5, lambda: _keys(replica) == _keys(cluster.nodes[0]))
                assert hits(cache) == KEYS
                with Load(cache) as load:
                    cluster.nodes[0].kill()

                    def is_promoted() -> bool:
                        with replica.ask() as ask:
                            return bool(ask("ROLE")[0] == b"master")

                    within(30, is_promoted)
                assert load.wrong == []
                took = within(6, lambda: hits(cache) == KEYS)
                tell("hits again after a promotion", seconds=took)
                cache.update("after", "m", answer("after"))
                assert cache.lookup("after", "m") == answer("after")
                assert cache.invalidate(llm_string="m") > KEYS
                assert hits(cache) == 0
        finally:
            replica.stop()


def _keys(server: Server) -> int:
    with server.ask() as ask:
        return int(ask("DBSIZE"))

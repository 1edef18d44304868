"""What a look at the changes has found is not forgotten, nor that some were lost."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.doubles import answer
from support.fleet import within
from support.proxy_actions import CutReply
from support.redis_proxy import Proxy
from support.redis_server import Server, shared

from llmemo import LLMCache, options

if TYPE_CHECKING:
    from support.proxy_actions import Action, Command

SOON = 1.0
"""Seconds within which a memory has to follow."""


def entries(cache: LLMCache) -> int:
    return cache.stats().entries


def fill(here: LLMCache, there: LLMCache) -> None:
    """Have both memories hold the same answers."""
    for n in range(3):
        here.update(f"p{n}", "m", answer(f"p{n}"))
        assert there.lookup(f"p{n}", "m") == answer(f"p{n}")
    assert entries(here) == entries(there) == 3


@pytest.mark.slow
def test_a_failover_that_loses_the_end_of_the_streams_clears_memory() -> None:
    with (
        Server(repl_diskless_sync_delay=0) as master,
        Server(replicaof=("127.0.0.1", master.port)) as replica,
        Proxy(master.port) as proxy,
        LLMCache(proxy.url()) as here,
        LLMCache(proxy.url()) as there,
    ):
        fill(here, there)
        within(10, lambda: _offset(replica) == _offset(master))
        with replica.ask() as ask:
            # It has the answers of before, and nothing of what comes now.
            ask("REPLICAOF", "NO", "ONE")
            assert ask("DBSIZE") == 64 + 3
        with options(mode="refresh"):
            here.update("p0", "m", answer("new"))
        within(SOON, lambda: there.lookup("p0", "m") == answer("new"))
        time.sleep(0.6)  # Both have seen it.
        proxy.target = replica.port
        proxy.cut()
        within(SOON, lambda: entries(here) == entries(there) == 0)
        assert there.lookup("p0", "m") == answer("p0")
        assert here.lookup("p0", "m") == answer("p0")


def _offset(server: Server) -> int:
    with server.ask() as ask:
        lines: list[bytes] = ask("INFO", "replication").splitlines()
    if b"role:master" not in lines and b"master_link_status:up" not in lines:
        return -1
    return next(int(x.partition(b":")[2]) for x in lines if x.startswith(b"master_repl_offset:"))


@pytest.mark.parametrize("command", ["XREVRANGE", "EVALSHA"])
def test_a_loss_is_not_forgotten_where_the_look_is_interrupted(command: str) -> None:
    with (
        Server() as server,
        Proxy(server.port) as proxy,
        LLMCache(server.url()) as here,
        LLMCache(proxy.url()) as there,
    ):
        fill(here, there)
        left = 2

        def fault(asked: Command) -> Action | None:
            nonlocal left
            left -= asked.name == command
            return CutReply(0.5) if asked.name == command and left >= 0 else None

        proxy.fault = fault
        with server.ask() as ask:
            ask("FLUSHALL")
        within(3 * SOON, lambda: entries(there) == 0)
        assert left < 0
        assert there.stats().errors.get("store_changes", 0) <= 2


def test_changes_are_not_forgotten_where_the_look_is_interrupted(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmemo.stores.redis.changes.AT_ONCE", 2)
    database = int(redis_url.rpartition("/")[2])
    with (
        Proxy(shared().port) as proxy,
        LLMCache(redis_url) as here,
        LLMCache(proxy.url(database)) as there,
    ):
        fill(here, there)
        looks = 0

        def fault(asked: Command) -> Action | None:
            nonlocal looks
            looks += asked.name == "XREAD"
            # The second and those after it: the first has found something already.
            return CutReply(0.5) if asked.name == "XREAD" and looks in (2, 3) else None

        within(SOON, lambda: entries(there) == 3)
        for key in ("p1", "p0", "p0", "p0"):
            with options(mode="refresh"):
                here.update(key, "m", answer("new"))
        looks, proxy.fault = 0, fault
        within(3 * SOON, lambda: entries(there) == 1)
        assert looks > 3

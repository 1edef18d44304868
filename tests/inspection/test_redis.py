"""The same commands for a real server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.commands import chat, llmemo
from support.doubles import patience
from support.moved import exported
from support.redis_server import Server
from support.redis_topologies import Cluster

from llmemo import LLMCache, RedisStore, options
from llmemo.stores.redis.keys import Keys

if TYPE_CHECKING:
    from support.servers import Replies

LEAST = (
    "-@all +mget +scan +xread +xrevrange +evalsha +eval +getrange +set +del +exists +time +hget"
    " +hmget +hset +pexpire +xadd +xlen +select +wait +cluster|slots"
)
"""The rights that docs/redis.md gives."""


def filled(url: str, prefix: str = "llmemo", entries: int = 20) -> None:
    with LLMCache(RedisStore(url, prefix=prefix)) as cache:
        for namespace in ("a", "b"):
            with options(namespace=namespace, ttl=3_600):
                for number in range(entries):
                    cache.update(f"question {number}", "m", chat(f"answer {number} " * 300))


def test_what_there_is(redis_url: str, ask: Replies) -> None:
    filled(redis_url)
    filled(redis_url, prefix="another", entries=3)
    ask("SET", "not ours", "x")
    [found] = llmemo("stats", redis_url, "--json").lines
    assert (found["kind"], found["entries"], found["expired"]) == ("redis", 40, 0)
    assert [group["entries"] for group in found["namespaces"]] == [20, 20]
    assert (found["kinds"], found["compressed"]) == ({"answer": 40}, 1.0)
    assert "of 40 values" in llmemo("stats", redis_url).out
    rows = llmemo("ls", redis_url, "--namespace", "a", "--limit", "5", "--json").lines
    assert len(rows) == 5
    for row in rows:
        assert "answer" in llmemo("show", redis_url, row["key"]).out
        [shown] = llmemo("show", redis_url, row["key"][:10], "--json").lines
        assert (shown["key"], shown["bytes"]) == (row["key"], row["bytes"])
    assert "no key begins with" in llmemo("show", redis_url, "f" * 64).err
    assert llmemo("verify", redis_url).code == 0
    other = llmemo("stats", redis_url, "--prefix", "another", "--json").lines
    assert other[0]["entries"] == 6
    assert ask("GET", "not ours") == b"x"


def test_a_running_service_forgets_what_is_removed(redis_url: str) -> None:
    with LLMCache(redis_url) as cache:
        cache.update("p", "m", chat("x"))
        cache.update("q", "m", chat("x"))
        assert cache.lookup("p", "m")
        keys = [row["key"] for row in llmemo("ls", redis_url, "--json").lines]
        assert llmemo("rm", redis_url, keys[0], "--yes", "--json").lines == [{"removed": 1}]
        end = time.monotonic() + patience()
        while cache.lookup("p", "m") and cache.lookup("q", "m"):
            assert time.monotonic() < end
            time.sleep(0.01)
    assert llmemo("rm", redis_url, "--all", "--yes", "--json").lines == [{"removed": 1}]


def test_damaged_entries_are_found(redis_url: str, ask: Replies) -> None:
    filled(redis_url, entries=5)
    names = sorted(name for name in ask("KEYS", "llmemo:*:v:*"))
    ask("SETRANGE", names[0], 10, "\0\1\2")
    ask("SETRANGE", names[1], 300, "\0\1\2")
    done = llmemo("verify", redis_url, "--json")
    assert done.code == 1
    assert sum(done.lines[0]["damaged"].values()) == 2
    assert done.lines[0]["entries"] == 10
    assert "BAD   entries" in llmemo("doctor", redis_url, "--full").out


@pytest.mark.slow
def test_doctor() -> None:
    with Server(password="hunter2", maxmemory="64mb") as server:
        url = f"redis://:hunter2@127.0.0.1:{server.port}"
        filled(url, entries=2)
        done = llmemo("doctor", url, "--json")
        found = {check["name"]: check for check in done.lines}
        assert done.code == 0
        assert found["eviction"]["status"] == "warn", "noeviction"
        assert found["rights"]["status"] == found["latency"]["status"] == "ok"
        assert "hunter2" not in done.out
        with server.ask() as ask:
            ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
            ask("ACL", "SETUSER", "least", "on", ">pw", "resetkeys", "~llmemo:*", *LEAST.split())
            ask("ACL", "SETUSER", "reader", "on", ">pw", "~llmemo:*", *LEAST.split())
            ask("ACL", "SETUSER", "reader", "-set", "+acl", "+info")
        done = llmemo("doctor", url)
        assert "warn" not in done.out
        # A user of the least rights sees all, and is told what could not be checked.
        least = f"redis://least:pw@127.0.0.1:{server.port}"
        assert llmemo("stats", least, "--json").lines[0]["entries"] == 4
        assert llmemo("verify", least).code == 0
        done = llmemo("doctor", least)
        assert done.code == 0
        assert "may not ask" in done.out
        assert len(llmemo("ls", least, "--json").lines) == 4
        done = llmemo("doctor", f"redis://reader:pw@127.0.0.1:{server.port}")
        assert done.code == 1
        assert "BAD   rights" in done.out
        assert "may not SET" in done.out
        wrong = llmemo("stats", f"redis://least:hunter3@127.0.0.1:{server.port}")
        assert (wrong.code, "hunter3" in wrong.err) == (1, False)
        assert wrong.err.count("\n") == 1


@pytest.mark.slow
def test_a_cluster() -> None:
    with Cluster() as cluster:
        url = f"redis://127.0.0.1:{cluster.nodes[0].port}"
        filled(url)
        [found] = llmemo("stats", url, "--json").lines
        assert (found["nodes"], found["entries"], found["values_read"]) == (3, 40, 40)
        rows = llmemo("ls", url, "--json").lines
        assert len(rows) == 40
        assert llmemo("show", url, rows[7]["key"][:20]).code == 0
        assert llmemo("verify", url).code == 0
        checked = [check["text"] for check in llmemo("doctor", url, "--json").lines]
        assert all(any(str(node.port) in text for text in checked) for node in cluster.nodes)
        assert llmemo("rm", url, rows[0]["key"], "--yes", "--json").lines == [{"removed": 1}]
        assert llmemo("rm", url, "--all", "--yes", "--json").lines == [{"removed": 39}]


def test_a_server_that_is_not_there() -> None:
    done = llmemo("stats", "redis://127.0.0.1:1")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("llmemo stats: no connection to the server")
    assert llmemo("doctor", "redis://127.0.0.1:1").out.startswith("BAD   server: ")


@pytest.mark.parametrize("command", ["vacuum", "bench"])
def test_what_is_for_files_alone(command: str) -> None:
    done = llmemo(command, "redis://127.0.0.1:1")
    assert done.code == 2
    assert "SQLite file" in done.err


def test_something_else_under_an_entrys_name_is_a_damaged_row(redis_url: str, ask: Replies) -> None:
    filled(redis_url)
    key = "0" * 64
    name = Keys("llmemo").answer(bytes(32)).decode()
    ask("LPUSH", name, "1")
    assert llmemo("stats", redis_url, "--json").lines[0]["entries"] == 41
    [row] = [one for one in llmemo("ls", redis_url, "--json").lines if one["key"] == key]
    assert "damaged" in row["kind"]
    done = llmemo("verify", redis_url, "--json")
    assert (done.code, done.lines[0]["damaged"]) == (1, {"row": 1})
    assert done.lines[0]["damaged_keys"] == [key]
    assert "damaged: 1 row" in llmemo("doctor", redis_url).out
    lines, report = exported(redis_url)
    assert (report.answers, report.damaged) == (40, {"not_an_entry": 1})
    assert lines.count(b'"kind":"answer"') == 40

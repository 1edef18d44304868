"""Callers who leave at any tick, and forks at any moment: no reply goes to another request."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
from typing import TYPE_CHECKING, Any

import pytest
from support import TESTS
from support.doubles import FAST, LIMIT, ROUNDS, answer, run
from support.figures import tell
from support.fleet import within
from support.redis_server import shared

from llmemo import LLMCache, RedisStore
from llmemo.stores import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

TICKS_OF_CALLERS = 20_000
TICKS_OF_STORES = 2_000 * min(10, ROUNDS)
FORKS = 20 if ROUNDS == 1 else 100
STORED = 40


def _database(url: str) -> int:
    return int(url.rpartition("/")[2])


def connections(url: str) -> list[bytes]:
    """Ids of the connections that clients have to a database."""
    with shared().ask() as ask:
        lines: list[bytes] = ask("CLIENT", "LIST").splitlines()
    ours = b" db=%d " % _database(url)
    return [line.split()[0] for line in lines if ours in line]


@pytest.mark.slow
@pytest.mark.process
def test_callers_who_leave_at_any_tick_get_no_answer_of_another_request(redis_url: str) -> None:
    dice = random.Random(18)

    async def main() -> tuple[int, int]:
        async with LLMCache(redis_url, max_bytes=0) as cache:
            for n in range(STORED):
                await cache.aupdate(f"p{n}", "m", answer(f"p{n}"))
            left = done = 0
            tasks: list[tuple[str, bool, asyncio.Task[Any]]] = []
            due: dict[int, list[asyncio.Task[Any]]] = {}
            for tick in range(TICKS_OF_CALLERS):
                n, is_read = dice.randrange(STORED), dice.random() < 0.7
                key = f"p{n}" if dice.random() < 0.9 else f"new {tick}"
                asked = cache.alookup(key, "m") if is_read else cache.aupdate(key, "m", answer(key))
                task = asyncio.ensure_future(asked)
                tasks.append((key, is_read, task))
                due.setdefault(tick + dice.randrange(40), []).append(task)
                await asyncio.sleep(0)
                for one in due.pop(tick, ()):
                    one.cancel()
                if len(tasks) == 500:
                    await asyncio.wait([task for *_, task in tasks], timeout=LIMIT)
                    for key, is_read, task in tasks:
                        if task.cancelled():
                            left += 1
                            continue
                        found = task.result()
                        done += 1
                        may_be = [answer(key), None] if key.startswith("new") else [answer(key)]
                        assert not is_read or found in may_be
                    tasks.clear()
            for n in range(STORED):
                assert await cache.alookup(f"p{n}", "m") == answer(f"p{n}")
            assert (cache.stats().errors, cache.stats().writes_unconfirmed) == ({}, 0)
            assert len(connections(redis_url)) <= 8
            return left, done

    left, done = asyncio.run(main())
    tell("callers of a Redis store who leave", left=left, done=done)
    assert left > 0.2 * TICKS_OF_CALLERS
    assert done > 0.05 * TICKS_OF_CALLERS
    within(2, lambda: not connections(redis_url))


def _record(n: int) -> Record:
    return Record(bytes([n]) * 32, b"value %d" % n, b"n" * 16, b"l" * 16, 1.0, None)


@pytest.mark.slow
def test_a_store_whose_calls_are_cancelled_at_any_tick_mixes_up_no_reply(redis_url: str) -> None:
    dice = random.Random(19)

    async def read(store: RedisStore, some: list[int]) -> None:
        found: Mapping[bytes, Record] = await store.get([_record(n).key for n in some])
        assert found == {_record(n).key: _record(n) for n in some}

    async def main() -> int:
        store, left = RedisStore(redis_url), 0
        await store.open()
        await store.set([_record(n) for n in range(STORED)])
        for _ in range(TICKS_OF_STORES // 20):
            tasks = []
            for _ in range(4):
                some = dice.sample(range(STORED), dice.randrange(1, 5))
                tasks.append(asyncio.ensure_future(read(store, some)))
            some = dice.sample(range(STORED), 3)
            tasks.append(asyncio.ensure_future(store.set([_record(n) for n in some])))
            for _ in range(4):
                for _ in range(dice.choice([0, 1, 1, 2, 3, 5, 8])):
                    await asyncio.sleep(0)
                dice.choice(tasks).cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            left += sum(isinstance(one, asyncio.CancelledError) for one in outcomes)
            assert {type(one) for one in outcomes} <= {asyncio.CancelledError, type(None)}, outcomes
        await read(store, list(range(STORED)))
        assert len(connections(redis_url)) <= 8
        await store.close()
        return left

    left = asyncio.run(main())
    tell("calls of a Redis store that are cancelled", left=left)
    assert left > TICKS_OF_STORES // 20
    within(2, lambda: not connections(redis_url))


FORKING = """
sys.path.insert(0, sys.argv[3])
from support.servers import Replies

forks, database = int(sys.argv[2]), path.rpartition("/")[2]
port = int(path.rpartition(":")[2].partition("/")[0])

def connections():
    with Replies(port) as ask:
        lines = ask("CLIENT", "LIST").decode().splitlines()
    return {line.split()[0] for line in lines if f" db={database} " in line}

answer("p")
cache, done = opened(), threading.Event()
def work(n):
    turn = 0
    while not done.is_set():
        turn += 1
        keep(cache, f"parent{n}-{turn % 50}")
        assert cache.lookup(f"parent{n}-{turn % 50}", "m") == answer(f"parent{n}-{turn % 50}")
crew = [threading.Thread(target=work, args=(n,)) for n in range(2)]
for thread in crew:
    thread.start()

def use(n):
    keep(cache, f"child{n}")
    asyncio.run(akeep(cache, f"async-child{n}"))
    assert cache.lookup(f"child{n}", "m") == answer(f"child{n}")
    assert cache.lookup(f"async-child{n}", "m") == answer(f"async-child{n}")
    assert cache.stats().errors == {}, cache.stats()

for n in range(forks):
    if (pid := os.fork()) == 0:
        status = 1
        try:
            use(n)
            status = cache.close()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
done.set()
for thread in crew:
    thread.join()
assert cache.stats().errors == {}, cache.stats()
assert len(connections()) <= 8, connections()
cache.close()
end = time.monotonic() + 2
while connections() and time.monotonic() < end:
    time.sleep(0.01)
assert not connections(), connections()
"""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_process_that_forks_again_and_again(redis_url: str) -> None:
    program = "import time\n" + FORKING
    kept = run(program, redis_url, FORKS, TESTS, seconds=0.5 * FORKS, python=FAST)
    tell("forks with an open Redis store", forks=FORKS)
    assert {key for key in kept if "child" in key} == {
        f"{kind}{n}" for kind in ("child", "async-child") for n in range(FORKS)
    }


LEFT_OPEN = """
sys.path.insert(0, sys.argv[2])
import socket, time
from llmemo import lifecycle
from support.proxy_actions import Delay
from support.redis_proxy import Proxy

lifecycle.FORK_DRAIN = lifecycle.FORK_TIMEOUT = 0.1
port, database = path.rpartition(":")[2].split("/")
proxy = Proxy(int(port)).__enter__()
cache = LLMCache(proxy.url(int(database)), max_bytes=0, store_timeout=60)
keep(cache, "parent", "other")
before = proxy.accepted
slow = True
proxy.fault = lambda command: Delay(1.0) if slow and command.name in ("MGET", "EVALSHA") else None
found = []
thread = threading.Thread(target=lambda: found.append(cache.lookup("parent", "m")))
thread.start()
while proxy.commands["MGET"] + proxy.commands["EVALSHA"] < 3:
    time.sleep(0.01)
if (pid := os.fork()) == 0:
    status = 1
    try:
        # The proxy's thread is not here: what the parent's connections bring would never come.
        cache.update("child", "m", answer("child"))
        for n in range(20):
            assert cache.lookup("other", "m") == answer("other")
        assert cache.stats().errors == {}, cache.stats()
        cache.close()
        status = 0
    finally:
        os._exit(status)
slow = False
assert os.waitpid(pid, 0)[1] == 0
thread.join()
assert found == [answer("parent")], found
assert cache.lookup("child", "m") == answer("child")
assert cache.stats().errors == {}, cache.stats()
cache.close()
proxy.__exit__()
"""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_child_leaves_the_connections_that_a_fork_left_open_to_its_parent(redis_url: str) -> None:
    run(LEFT_OPEN, redis_url, TESTS, python=FAST)


def test_a_pickled_cache_has_connections_of_its_own(redis_url: str) -> None:
    with LLMCache(redis_url) as cache:
        cache.update("p", "m", answer("p"))
        assert pickle.loads(pickle.dumps(cache)) is cache
        store = pickle.loads(pickle.dumps(RedisStore(redis_url, prefix="llmemo", replicas=0)))
        with LLMCache(store) as other:
            assert other.lookup("p", "m") == answer("p")
            assert (other.stats().errors, cache.stats().errors) == ({}, {})
    within(2, lambda: not connections(redis_url))

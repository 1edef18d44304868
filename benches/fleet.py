"""What a Redis store costs beside its hits: `python -m benches.fleet` prints it; `make bench`, too.

Latency with 256 callers 4 ms away; a cluster; removals from 200,000 answers, and how long others
wait for the server meanwhile; staleness of another process's memory; what processes that do nothing
cost; the size of an answer.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import ChatGeneration
from rich.console import Console

from benches import redis_servers
from benches.redis_servers import ASYNC_REDIS, FAR, OPENERS
from benches.report import (
    FLEET_CLEAR,
    FLEET_CLUSTER,
    FLEET_INVALIDATE,
    FLEET_LATENESS,
    FLEET_PING,
    FLEET_POLL,
    FLEET_SERVER_POLL,
    FLEET_STALE,
    FLEET_WEIGHT,
    Group,
    console_table,
)
from benches.rivals import SUBJECT
from benches.workload import Request, answer, fresh, prompt, same, spread
from llmemo import LLMCache, RedisStore
from llmemo.stores import Record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

CALLERS, EACH, ROWS = 256, 8, 1_000
BATCH = 256
STORED, PART = 200_000, 10
AT_ONCE = 1_000
OLD = 1e9
"""Unix time in seconds at which the answers to be removed were made."""

REPLACED = 40
IDLE_SECONDS, IDLE_CACHES, PROCESSES = 5.0, 5, 1_000
WEIGHED = 2_000
SIZES = {"1 KB": 1_024, "10 KB": 10_240}

# In a process of its own: what is measured is the server, not our event loop.
PING = """
import sys, time
from redis import Redis
client, taken = Redis.from_url(sys.argv[1]), []
client.ping()
print("ready", flush=True)
while not client.get("llmemo-bench-over"):
    begun = time.perf_counter()
    client.ping()
    taken.append(time.perf_counter() - begun)
    time.sleep(0.001)
print(sorted(taken)[int(len(taken) * 0.99)])
"""


def _record(value: bytes, created: float) -> Record:
    return Record(os.urandom(32), value, b"n" * 16, b"l" * 16, created, None)


async def lateness(rounds: int) -> list[Group]:
    """99 of 100 lookups of 256 callers, each of which begins its next when it has the last."""
    taken: dict[str, list[float]] = {name: [] for name in OPENERS}
    caches, rows = {}, [prompt(n, 1024) for n in range(ROWS)]
    for database, (name, open_one) in enumerate(OPENERS.items(), start=2):
        caches[name] = open_one(redis_servers.url(database, away=FAR))
        updates = [(*request, answer(n)) for n, request in enumerate(fresh(rows))]
        await spread(caches[name].aupdate, updates, CALLERS)

    async def call(name: str, requests: list[Request]) -> None:
        for request in requests:
            begun = time.perf_counter()
            assert await caches[name].alookup(*request) is not None
            taken[name].append(time.perf_counter() - begun)

    for turn in range(rounds + 1):
        for name in OPENERS:
            asked = [fresh(random.choices(rows, k=EACH)) for _ in range(CALLERS)]
            await asyncio.gather(*(call(name, requests) for requests in asked))
            if not turn:  # connections are made
                taken[name].clear()
    for cache in caches.values():
        await redis_servers.close(cache)
    late = {name: statistics.quantiles(them, n=100)[-1] for name, them in taken.items()}
    return [Group(FLEET_LATENESS, medians=late)]


async def cluster(rounds: int) -> list[Group]:
    """A batch of hits on three nodes, and on one."""
    from support.redis_topologies import Cluster

    with Cluster() as three:
        stores = {SUBJECT: RedisStore(three.url), "one server": RedisStore(redis_servers.url(4))}
        records = [_record(os.urandom(1_500), time.time()) for _ in range(BATCH)]
        keys = [one.key for one in records]
        taken: dict[str, list[float]] = {name: [] for name in stores}
        for store in stores.values():
            await store.open()
            await store.set(records)
        for _ in range(30 * rounds):
            for name, store in stores.items():
                begun = time.perf_counter()
                found, _ = await store.get_or_acquire(keys, dict.fromkeys(keys, 5.0))
                taken[name].append(time.perf_counter() - begun)
                assert len(found) == BATCH
        for store in stores.values():
            await store.close()
    return [Group(FLEET_CLUSTER, medians={name: statistics.median(taken[name]) for name in taken})]


async def removals(rounds: int) -> list[Group]:
    """Remove a tenth of many answers, then the rest; and how long a PING takes beside the first."""
    where, stored = redis_servers.url(5), STORED if rounds > 1 else STORED // 10
    store = RedisStore(where)
    await store.open()
    for _ in range(0, stored, AT_ONCE):
        made = [OLD if n < AT_ONCE // PART else time.time() for n in range(AT_ONCE)]
        await store.set([_record(os.urandom(1_024), created) for created in made])
    await store.close()
    client: Any = OPENERS[ASYNC_REDIS](where)
    async with LLMCache(where) as cache:
        pings = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", PING, where], stdout=subprocess.PIPE, text=True
        )
        assert pings.stdout is not None
        pings.stdout.readline()
        begun = time.perf_counter()
        removed = await cache.ainvalidate(older_than=86_400.0)
        invalidated = time.perf_counter() - begun
        assert removed == stored // PART, removed
        await client.redis.set("llmemo-bench-over", 1)
        late = float(pings.communicate()[0])
        begun = time.perf_counter()
        await cache.aclear()
        cleared = time.perf_counter() - begun
    left = await client.redis.dbsize()
    assert left < 100, left
    await redis_servers.close(client)
    names = (FLEET_INVALIDATE, FLEET_PING, FLEET_CLEAR)
    figures = (invalidated, late, cleared)
    return [Group(name, medians={SUBJECT: it}) for name, it in zip(names, figures, strict=True)]


async def staleness(rounds: int) -> list[Group]:
    """How long another cache's memory has an answer that was replaced: the longest."""
    where, (request,) = redis_servers.url(6), fresh([prompt(1, 1024)])
    longest = 0.0
    async with LLMCache(where) as writer, LLMCache(where) as reader:
        for number in range(REPLACED * rounds // 5):
            await writer.aupdate(*request, answer(number))
            begun = time.perf_counter()
            while not same(await reader.alookup(*request), number):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            longest = max(longest, time.perf_counter() - begun)
            await asyncio.sleep(random.random() * 0.3)
    return [Group(FLEET_STALE, medians={SUBJECT: longest})]


async def polling(rounds: int) -> list[Group]:
    """CPU time for a second of caches that do nothing: ours, and the server's."""
    where, (request,) = redis_servers.url(7), fresh([prompt(1, 1024)])
    client: Any = OPENERS[ASYNC_REDIS](where)
    caches = [LLMCache(where) for _ in range(IDLE_CACHES)]
    for cache in caches:
        await cache.aupdate(*request, answer(1))

    async def spent() -> tuple[float, float]:
        used = await client.redis.info("cpu")
        return time.process_time(), used["used_cpu_user"] + used["used_cpu_sys"]

    seconds = IDLE_SECONDS * min(rounds, 2)
    alone = await _difference(spent, seconds)
    for cache in caches:
        await cache.aclose()
    without = await _difference(spent, seconds)
    await redis_servers.close(client)
    ours, theirs = (
        (busy - idle) / IDLE_CACHES / seconds for busy, idle in zip(alone, without, strict=True)
    )
    return [
        Group(FLEET_POLL, medians={SUBJECT: ours}),
        Group(FLEET_SERVER_POLL, medians={SUBJECT: theirs * PROCESSES}),
    ]


async def _difference(
    spent: Callable[[], Awaitable[tuple[float, float]]], seconds: float
) -> tuple[float, float]:
    before = await spent()
    await asyncio.sleep(seconds)
    after = await spent()
    return after[0] - before[0], after[1] - before[1]


async def weights(_: int) -> list[Group]:
    """Bytes of the server's memory that an answer takes."""
    groups = []
    for what, size in SIZES.items():
        group = Group(FLEET_WEIGHT.format(what), unit="bytes")
        for database, (name, open_one) in enumerate(OPENERS.items(), start=8):
            opened: Any = open_one(redis_servers.url(database))
            client: Any = OPENERS[ASYNC_REDIS](redis_servers.url(database))
            await client.redis.flushdb()
            await opened.aupdate("first", "model", answer(0))
            before = (await client.redis.info("memory"))["used_memory_dataset"]
            for number, request in enumerate(fresh(prompt(n, 1024) for n in range(WEIGHED))):
                await opened.aupdate(*request, _answer(number, size))
            after = (await client.redis.info("memory"))["used_memory_dataset"]
            group.medians[name] = (after - before) / WEIGHED
            await redis_servers.close(opened)
            await redis_servers.close(client)
        groups.append(group)
    return groups


def _answer(number: int, size: int) -> list[ChatGeneration]:
    """An answer like those of the other benches, with a text of so many bytes."""
    (made,) = answer(number)
    made.message.content = prompt(number, size + 200).decode()[-size:]
    return [ChatGeneration(message=made.message, generation_info=made.generation_info)]


PARTS: dict[tuple[str, ...], Callable[[int], Coroutine[Any, Any, list[Group]]]] = {
    (FLEET_LATENESS,): lateness,
    (FLEET_CLUSTER,): cluster,
    (FLEET_INVALIDATE, FLEET_PING, FLEET_CLEAR): removals,
    (FLEET_STALE,): staleness,
    (FLEET_POLL, FLEET_SERVER_POLL): polling,
    tuple(FLEET_WEIGHT.format(what) for what in SIZES): weights,
}


def measure(console: Console, only: str = "", rounds: int = 5) -> list[Group]:
    """The groups whose names contain `only`."""
    groups: list[Group] = []
    for names, part in PARTS.items():
        if any(only in name for name in names):
            with console.status(names[0]):
                groups += asyncio.run(part(rounds))
    redis_servers.stop()
    return [group for group in groups if only in group.name]


if __name__ == "__main__":
    CONSOLE = Console(width=None if sys.stdout.isatty() else 160)
    CONSOLE.print(console_table(measure(CONSOLE, "".join(sys.argv[1:2]))))

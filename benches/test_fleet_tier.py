"""What machines share: hits and updates of a Redis server on this machine, and of one 4 ms away.

Without a memory tier, so that each hit is the server's. AsyncRedisCache has 400 connections: with
the 100 that are redis-py's default, it turns concurrent lookups into misses. The caches stay open.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from benches import redis_servers
from benches.redis_servers import FAR, NEAR, PLAIN, TLS
from benches.workload import Request, answer, fresh, prompt, same, spread

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from langchain_core.caches import BaseCache

    from benches.conftest import Measure
    from benches.rivals import Rival

ROWS, SIZE = 1_000, 1024
# Operations in a round, by how many of them are concurrent.
OPERATIONS = {1: 64, 64: 256, 256: 256}

HITS = ((1, NEAR), (64, NEAR), (256, NEAR), (256, FAR))
UPDATES = ((1, NEAR), (64, NEAR))

every_rival = pytest.mark.parametrize("rival", redis_servers.RIVALS, ids=str)
Opened = Callable[["Rival", str, str], "BaseCache"]


def groups(what: str, kinds: tuple[tuple[int, str], ...]) -> pytest.MarkDecorator:
    """Parametrise with width, distance and security, a group of its own for each."""
    return pytest.mark.parametrize(
        ("width", "away", "security"),
        [
            pytest.param(width, away, security, marks=pytest.mark.benchmark(group=name))
            for security in (PLAIN, TLS)
            for width, away in kinds
            for name in [f"Redis {what}{security}, {width} concurrent{away}"]
        ],
    )


@pytest.fixture(scope="module")
def opened(loop: AbstractEventLoop) -> Iterator[Opened]:
    """A rival's cache, which has `ROWS` answers: the same one in every turn."""
    made: list[BaseCache] = []

    @cache
    def fill(rival: Rival) -> int:
        database = list(redis_servers.OPENERS).index(rival.name)
        filling = redis_servers.OPENERS[rival.name](redis_servers.url(database))
        updates = [(*request, answer(index)) for index, request in enumerate(fresh(rows()))]
        loop.run_until_complete(spread(filling.aupdate, updates, 64))
        loop.run_until_complete(redis_servers.close(filling))
        return database

    @cache
    def open_one(rival: Rival, away: str, security: str) -> BaseCache:
        where = redis_servers.url(fill(rival), away=away, security=security)
        made.append(redis_servers.OPENERS[rival.name](where))
        return made[-1]

    yield open_one
    for each in made:
        loop.run_until_complete(redis_servers.close(each))
    redis_servers.stop()


@cache
def rows() -> list[bytes]:
    return [prompt(index, SIZE) for index in range(ROWS)]


@every_rival
@groups("hit", HITS)
def test_hit(
    measure: Measure,
    rival: Rival,
    opened: Opened,
    loop: AbstractEventLoop,
    turn: int,
    width: int,
    away: str,
    security: str,
) -> None:
    cache, choose, many = opened(rival, away, security), random.Random(turn), OPERATIONS[width]

    def prepare() -> list[Request]:
        return fresh(choose.sample(rows(), many))

    def look_up(requests: list[Request]) -> int:
        results = loop.run_until_complete(spread(cache.alookup, requests, width))
        return sum(result is not None for result in results)

    measure(rival, look_up, prepare, operations=many)
    indexes = choose.sample(range(ROWS), 64)
    asked = fresh(rows()[index] for index in indexes)
    found = loop.run_until_complete(spread(cache.alookup, asked, 64))
    assert all(same(each, index) for index, each in zip(indexes, found, strict=True))


@every_rival
@groups("update", UPDATES)
def test_update(
    measure: Measure,
    rival: Rival,
    opened: Opened,
    loop: AbstractEventLoop,
    number: Iterator[int],
    width: int,
    away: str,
    security: str,
) -> None:
    cache, many = opened(rival, away, security), OPERATIONS[width]
    answers = [answer(index) for index in range(many)]
    latest: list[bytes] = []

    def prepare() -> list[tuple[Any, ...]]:
        latest[:] = [prompt(index, SIZE) for index in islice(number, many)]
        return [(*request, each) for request, each in zip(fresh(latest), answers, strict=True)]

    def update(calls: list[tuple[Any, ...]]) -> int:
        return len(loop.run_until_complete(spread(cache.aupdate, calls, width)))

    measure(rival, update, prepare, operations=many)
    found = loop.run_until_complete(spread(cache.alookup, fresh(latest), 64))
    assert all(same(each, index) for index, each in enumerate(found))

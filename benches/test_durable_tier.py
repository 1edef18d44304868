"""What outlives the process: hits, misses and updates of a file.

Through the async methods, and where it says "blocking" through the others. SQLiteCache has no async
of its own: its methods run in the event loop's default executor, as they do for everybody who
awaits them. "64 concurrent" is a gather of 64 operations, on one event loop. `SELECT` is SQLite
alone, with llmemo's codec.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benches.rivals import BLOCKING, DURABLE, SELECT, Rival, close
from benches.workload import Request, answer, fresh, prompt, same, spread

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from langchain_core.caches import BaseCache

    from benches.conftest import Measure

ROWS = 4000
SIZE = 1024
# Operations in a round, by how many of them are concurrent.
LOOKUPS = {1: 128, 64: 512}
UPDATES = {1: 64, 64: 256}

and_select = pytest.mark.parametrize("rival", [*DURABLE, SELECT], ids=str)
every_blocking_rival = pytest.mark.parametrize("rival", BLOCKING, ids=str)
every_rival = pytest.mark.parametrize("rival", DURABLE, ids=str)
Filled = Callable[[Rival], Path]


def concurrent(group: str, *widths: int) -> pytest.MarkDecorator:
    """Parametrise with `width`, a group of its own for each."""
    names = [f"{group}, {width} concurrent" for width in widths]
    return pytest.mark.parametrize(
        "width",
        [
            pytest.param(width, marks=pytest.mark.benchmark(group=name))
            for width, name in zip(widths, names, strict=True)
        ],
    )


@cache
def rows() -> list[bytes]:
    return [prompt(index, SIZE) for index in range(ROWS)]


@pytest.fixture(scope="module")
def filled(folder: Callable[[], Path], loop: AbstractEventLoop) -> Filled:
    """The folder where the rival's file has `ROWS` rows: the same one in every turn."""

    @cache
    def fill(rival: Rival) -> Path:
        place = folder()
        opened = rival.open(place)
        updates = [(*request, answer(index)) for index, request in enumerate(fresh(rows()))]
        loop.run_until_complete(spread(opened.aupdate, updates, 64))
        close(opened)
        return place

    return fill


class Reopened:
    """Opens a rival's cache anew for each round: nothing that it is asked for is in memory."""

    def __init__(self, rival: Rival, place: Path, loop: AbstractEventLoop) -> None:
        self._rival, self._place, self._loop = rival, place, loop
        self._opened: BaseCache | None = None

    def __call__(self) -> BaseCache:
        self.close()
        self._opened = self._rival.open(self._place)
        # The first lookup of a process makes connections and threads. It is not what is timed.
        (unknown,) = fresh([b"never asked for"])
        assert self._loop.run_until_complete(self._opened.alookup(*unknown)) is None
        return self._opened

    def close(self) -> None:
        if self._opened is not None:
            close(self._opened)

    def check(self, prompts: Sequence[bytes], indexes: Sequence[int]) -> None:
        """Look the prompts up, and compare what is found with the answers of the indexes."""
        found = self._loop.run_until_complete(spread(self().alookup, fresh(prompts), 64))
        wrong = [i for i, each in zip(indexes, found, strict=True) if not same(each, i)]
        assert not wrong, f"{self._rival}: {len(wrong)} of {len(found)} answers are wrong"
        self.close()


@and_select
@concurrent("persistent hit", 1, 64)
def test_hit(
    measure: Measure, rival: Rival, filled: Filled, loop: AbstractEventLoop, turn: int, width: int
) -> None:
    reopened, choose = Reopened(rival, filled(rival), loop), random.Random(turn)

    def prepare() -> tuple[BaseCache, list[Request]]:
        return reopened(), fresh(choose.sample(rows(), LOOKUPS[width]))

    def look_up(prepared: tuple[BaseCache, list[Request]]) -> int:
        opened, requests = prepared
        results = loop.run_until_complete(spread(opened.alookup, requests, width))
        return sum(result is not None for result in results)

    measure(rival, look_up, prepare, operations=LOOKUPS[width])
    indexes = choose.sample(range(ROWS), 64)
    reopened.check([rows()[index] for index in indexes], indexes)


@every_rival
@concurrent("persistent miss", 1)
def test_miss(
    measure: Measure,
    rival: Rival,
    filled: Filled,
    loop: AbstractEventLoop,
    number: Iterator[int],
    width: int,
) -> None:
    reopened = Reopened(rival, filled(rival), loop)

    def prepare() -> tuple[BaseCache, list[Request]]:
        return reopened(), fresh(prompt(index, SIZE) for index in islice(number, LOOKUPS[width]))

    def look_up(prepared: tuple[BaseCache, list[Request]]) -> int:
        opened, requests = prepared
        results = loop.run_until_complete(spread(opened.alookup, requests, width))
        return sum(result is None for result in results)

    measure(rival, look_up, prepare, operations=LOOKUPS[width])
    reopened.close()


@every_blocking_rival
@pytest.mark.benchmark(group="persistent hit, blocking")
def test_blocking_hit(
    measure: Measure, rival: Rival, filled: Filled, loop: AbstractEventLoop, turn: int
) -> None:
    reopened, choose = Reopened(rival, filled(rival), loop), random.Random(turn)

    def prepare() -> tuple[BaseCache, list[Request]]:
        return reopened(), fresh(choose.sample(rows(), LOOKUPS[1]))

    def look_up(prepared: tuple[BaseCache, list[Request]]) -> int:
        opened, requests = prepared
        return sum(opened.lookup(*request) is not None for request in requests)

    measure(rival, look_up, prepare, operations=LOOKUPS[1])
    reopened.close()


@every_blocking_rival
@pytest.mark.benchmark(group="persistent miss, blocking")
def test_blocking_miss(
    measure: Measure, rival: Rival, filled: Filled, loop: AbstractEventLoop, number: Iterator[int]
) -> None:
    reopened = Reopened(rival, filled(rival), loop)

    def prepare() -> tuple[BaseCache, list[Request]]:
        return reopened(), fresh(prompt(index, SIZE) for index in islice(number, LOOKUPS[1]))

    def look_up(prepared: tuple[BaseCache, list[Request]]) -> int:
        opened, requests = prepared
        return sum(opened.lookup(*request) is None for request in requests)

    measure(rival, look_up, prepare, operations=LOOKUPS[1])
    reopened.close()


@pytest.fixture(scope="module")
def growing(folder: Callable[[], Path]) -> Filled:
    """The folder whose file grows by the updates of every turn."""
    return cache(lambda rival: folder())


@every_rival
@concurrent("durable update", 1, 64)
def test_update(
    measure: Measure,
    rival: Rival,
    growing: Filled,
    loop: AbstractEventLoop,
    number: Iterator[int],
    width: int,
) -> None:
    reopened = Reopened(rival, growing(rival), loop)
    opened, updates = reopened(), UPDATES[width]
    answers = [answer(index) for index in range(updates)]
    latest: list[bytes] = []

    def prepare() -> list[tuple[Any, ...]]:
        latest[:] = [prompt(index, SIZE) for index in islice(number, updates)]
        return [(*request, each) for request, each in zip(fresh(latest), answers, strict=True)]

    def update(calls: list[tuple[Any, ...]]) -> int:
        return len(loop.run_until_complete(spread(opened.aupdate, calls, width)))

    measure(rival, update, prepare, operations=updates)
    if (stats := getattr(opened, "stats", None)) is not None:
        # One that returned before its commit was timed short: a stalled disk may do that to a few,
        # and the median is of the others.
        assert stats().writes_unconfirmed <= updates
    reopened.check(latest, range(updates))

"""What coordination costs who meets nobody: memory with the defaults, and without single_flight."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from langchain_core.caches import BaseCache

from benches.rivals import ALONE, MEMORY, Rival
from benches.workload import Request, answer, fresh, prompt, same

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.outputs import ChatGeneration

    from benches.conftest import Measure

KB = 1024
ENTRIES, LOOKUPS, UPDATES = 512, 256, 128

both = pytest.mark.parametrize("rival", [MEMORY[0], ALONE], ids=str)
Filled = Callable[[Rival], BaseCache]


@cache
def prompts() -> list[bytes]:
    return [prompt(index, KB) for index in range(ENTRIES)]


@pytest.fixture(scope="module")
def filled(folder: Callable[[], Path]) -> Filled:
    """The same cache in every turn."""

    @cache
    def fill(rival: Rival) -> BaseCache:
        opened = rival.open(folder())
        for index, request in enumerate(fresh(prompts())):
            opened.update(*request, answer(index))
        return opened

    return fill


@both
@pytest.mark.benchmark(group="memory hit, single_flight")
def test_hit(measure: Measure, filled: Filled, rival: Rival, turn: int) -> None:
    opened, choose = filled(rival), random.Random(turn)

    def look_up(requests: list[Request]) -> int:
        return sum([opened.lookup(*request) is not None for request in requests])

    measure(
        rival,
        look_up,
        lambda: fresh(choose.sample(prompts(), LOOKUPS)),
        operations=LOOKUPS,
        rounds=4,
    )
    (request,) = fresh(prompts()[:1])
    assert same(opened.lookup(*request), 0)


@both
@pytest.mark.benchmark(group="memory miss, single_flight")
def test_miss(measure: Measure, filled: Filled, rival: Rival, number: Iterator[int]) -> None:
    opened = filled(rival)

    def look_up(requests: list[Request]) -> int:
        return sum([opened.lookup(*request) is None for request in requests])

    measure(
        rival,
        look_up,
        lambda: fresh(prompt(index, KB) for index in islice(number, LOOKUPS)),
        operations=LOOKUPS,
        rounds=4,
    )


@both
@pytest.mark.benchmark(group="memory update, single_flight")
def test_update(measure: Measure, filled: Filled, rival: Rival, number: Iterator[int]) -> None:
    opened = filled(rival)
    answers = [answer(index) for index in range(UPDATES)]

    def prepare() -> list[tuple[Request, list[ChatGeneration]]]:
        requests = fresh(prompt(index, KB) for index in islice(number, UPDATES))
        return list(zip(requests, answers, strict=True))

    def update(pairs: list[tuple[Request, list[ChatGeneration]]]) -> int:
        for request, generations in pairs:
            opened.update(*request, generations)
        return len(pairs)

    measure(rival, update, prepare, operations=UPDATES, rounds=4)

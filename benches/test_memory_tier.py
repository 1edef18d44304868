"""What stays in the process: hits, misses and updates of the caches' memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from langchain_core.caches import BaseCache

from benches.rivals import MEMORY, Rival, close
from benches.workload import Request, answer, fresh, prompt, same

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.outputs import ChatGeneration

    from benches.conftest import Measure

KB = 1024
# Prompt size: entries in the cache (GPTCache's default is at most 1,000), and lookups in a round.
# A prompt is made just before its lookup, so a round's prompts should fit a processor's cache.
HITS = {KB: (512, 256), 10 * KB: (256, 128), 100 * KB: (64, 16)}
UPDATES = 128

every_rival = pytest.mark.parametrize("rival", MEMORY, ids=str)
Populated = Callable[[Rival, int], BaseCache]


@pytest.fixture(scope="module")
def populated(folder: Callable[[], Path]) -> Iterator[Populated]:
    """The rival's cache, filled with prompts of one size: the same one in every turn."""

    @cache
    def fill(rival: Rival, size: int) -> BaseCache:
        filled = rival.open(folder())
        for index, request in enumerate(fresh(prompts(size))):
            filled.update(*request, answer(index))
        opened.append(filled)
        return filled

    opened: list[BaseCache] = []
    yield fill
    for filled in opened:
        close(filled)


@cache
def prompts(size: int) -> list[bytes]:
    return [prompt(index, size) for index in range(HITS[size][0])]


@every_rival
@pytest.mark.parametrize(
    "size",
    [
        pytest.param(size, marks=pytest.mark.benchmark(group=f"memory hit, {size // KB} KB prompt"))
        for size in HITS
    ],
)
def test_hit(measure: Measure, populated: Populated, rival: Rival, size: int, turn: int) -> None:
    filled, choose = populated(rival, size), random.Random(turn)
    entries, lookups = HITS[size]

    def look_up(requests: list[Request]) -> int:
        hits = 0
        for request_prompt, llm_string in requests:
            if filled.lookup(request_prompt, llm_string) is not None:
                hits += 1
        return hits

    measure(
        rival,
        look_up,
        lambda: fresh(choose.sample(prompts(size), lookups)),
        operations=lookups,
        rounds=4,
    )
    for index in choose.sample(range(entries), 8):
        (request,) = fresh([prompts(size)[index]])
        assert same(filled.lookup(*request), index)


@every_rival
@pytest.mark.benchmark(group="memory miss")
def test_miss(measure: Measure, populated: Populated, rival: Rival, number: Iterator[int]) -> None:
    filled, lookups = populated(rival, KB), HITS[KB][1]

    def look_up(requests: list[Request]) -> int:
        misses = 0
        for request_prompt, llm_string in requests:
            if filled.lookup(request_prompt, llm_string) is None:
                misses += 1
        return misses

    measure(
        rival,
        look_up,
        lambda: fresh(prompt(index, KB) for index in islice(number, lookups)),
        operations=lookups,
        rounds=4,
    )


@every_rival
@pytest.mark.benchmark(group="memory update")
def test_update(
    measure: Measure, rival: Rival, folder: Callable[[], Path], number: Iterator[int]
) -> None:
    # Full from the start, as after some minutes of use: GPTCache evicts, and pickles 1,000 entries.
    filled = rival.open(folder())
    answers = [answer(index) for index in range(UPDATES)]
    for index, request in enumerate(fresh(prompt(index, KB) for index in range(1000))):
        filled.update(*request, answers[index % UPDATES])
    latest: list[bytes] = []

    def prepare() -> list[tuple[Request, list[ChatGeneration]]]:
        latest[:] = [prompt(index, KB) for index in islice(number, UPDATES)]
        return list(zip(fresh(latest), answers, strict=True))

    def update(pairs: list[tuple[Request, list[ChatGeneration]]]) -> int:
        for (request_prompt, llm_string), generations in pairs:
            filled.update(request_prompt, llm_string, generations)
        return len(pairs)

    measure(rival, update, prepare, operations=UPDATES, rounds=4)
    for index, request in enumerate(fresh(latest)):
        assert same(filled.lookup(*request), index)
    close(filled)

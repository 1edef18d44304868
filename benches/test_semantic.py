"""What similar questions cost: exact hits beside them, and misses that find no answer to serve."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage
from langchain_core.outputs import Generation

from benches.report import SEMANTIC_HIT, SEMANTIC_MISS, SEMANTIC_REFUSED, VECTORS
from benches.rivals import NUMPY, PLAIN, SUBJECT, WITH_SEMANTIC, Rival, close
from benches.workload import Request, answer, fresh, prompt, same
from llmemo import LLMCache, Semantic
from llmemo.store_io.calls import Call, run_inline

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.caches import BaseCache
    from numpy.typing import NDArray

    from benches.conftest import Measure

KB = 1024
DIMENSIONS = 384
"""Of all-MiniLM-L6-v2."""
ENTRIES, LOOKUPS, MISSES = 512, 256, 64
NEIGHBOURS = 8
"""Neighbours that llmemo looks at, and that the rival finds."""
TOPICS = 500
"""Groups of questions that are near each other: 20 questions each, of 10,000."""
MANY = 2**30
BATCH = 500


class Drawn(Embeddings):
    """Vectors drawn by a text's hash: as far apart as can be, or near those of the same topic."""

    def __init__(self, topics: int | None) -> None:
        self._topics = topics

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self._vector(text).tolist() for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]

    def _vector(self, text: str) -> NDArray[np.float32]:
        number = int("".join(filter(str.isdecimal, text)))
        own = _gaussian(number)
        return own if self._topics is None else _gaussian(-1 - number % self._topics) * 3 + own


def _gaussian(seed: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(abs(seed) * 2 + (seed < 0))
    return drawn.standard_normal(DIMENSIONS, dtype=np.float32)


def text(number: int) -> str:
    return f"What has to be done with parcel {number} in the depot?"


def question(number: int) -> bytes:
    return dumps([HumanMessage(text(number))]).encode()


Filled = Callable[[int, "int | None"], LLMCache]


@pytest.fixture(scope="module")
def filled() -> Iterator[Filled]:
    """A cache that knows the answers to `size` questions of one partition, without a file."""

    @cache
    def fill(size: int, topics: int | None) -> LLMCache:
        made = LLMCache(max_bytes=MANY, semantic=Semantic(Drawn(topics), timeout=60))
        opened.append(made)
        asyncio.run(_fill(made, size))
        return made

    opened: list[LLMCache] = []
    yield fill
    for made in opened:
        made.close()


async def _fill(made: LLMCache, size: int) -> None:
    for first in range(0, size, BATCH):
        numbers = range(first, first + BATCH)
        requests = fresh(map(question, numbers))
        answers = [[Generation(text=str(number))] for number in numbers]
        pairs = zip(requests, answers, strict=True)
        await asyncio.gather(*(made.aupdate(*request, found) for request, found in pairs))


@pytest.fixture(scope="module")
def populated(folder: Callable[[], Path]) -> Iterator[Callable[[Rival], BaseCache]]:
    """The rival's cache with some answers: the same one in every turn."""

    @cache
    def fill(rival: Rival) -> BaseCache:
        made = rival.open(folder())
        for index, request in enumerate(fresh(prompt(index, KB) for index in range(ENTRIES))):
            made.update(*request, answer(index))
        opened.append(made)
        return made

    opened: list[BaseCache] = []
    yield fill
    for made in opened:
        close(made)


@pytest.mark.parametrize("rival", [WITH_SEMANTIC, PLAIN], ids=str)
@pytest.mark.benchmark(group=SEMANTIC_HIT)
def test_exact_hit(
    measure: Measure, populated: Callable[[Rival], BaseCache], rival: Rival, turn: int
) -> None:
    made, choose = populated(rival), random.Random(turn)
    prompts = [prompt(index, KB) for index in range(ENTRIES)]

    def look_up(requests: list[Request]) -> int:
        return sum(made.lookup(*request) is not None for request in requests)

    measure(
        rival,
        look_up,
        lambda: fresh(choose.sample(prompts, LOOKUPS)),
        operations=LOOKUPS,
        rounds=4,
    )
    (request,) = fresh([prompts[7]])
    assert same(made.lookup(*request), 7)


def _miss(measure: Measure, made: LLMCache, numbers: Iterator[int], reason: str) -> None:
    """Time misses of questions whose vectors are known, that end for `reason`."""
    tier: Any = made._tiers.semantic

    def prepare() -> list[Request]:
        chosen = list(islice(numbers, MISSES))
        for each in chosen:
            assert run_inline(tier.embedder.vector(text(each), Call.blocking)) is not None
        return fresh(map(question, chosen))

    def look_up(requests: list[Request]) -> int:
        return sum(made.lookup(*request) is None for request in requests)

    before = _abstained(made)
    rival = Rival(SUBJECT, lambda _: made)
    measure(rival, look_up, prepare, operations=MISSES, rounds=2)
    assert set(_abstained(made) - before) == {reason}


def _abstained(made: LLMCache) -> Counter[str]:
    found = made.stats().semantic
    assert found is not None
    return Counter(found.abstained)


def _scan(measure: Measure, size: int, numbers: Iterator[int]) -> None:
    """Time an exact search of as many float32 vectors by numpy."""
    vectors = _matrix(size)

    def prepare() -> list[NDArray[np.float32]]:
        return [_gaussian(number) for number in islice(numbers, MISSES)]

    def search(asked: list[NDArray[np.float32]]) -> int:
        found = 0
        for vector in asked:
            scores = vectors @ vector
            nearest = np.argpartition(scores, -NEIGHBOURS)[-NEIGHBOURS:]
            found += len(nearest) == NEIGHBOURS
        return found

    measure(NUMPY, search, prepare, operations=MISSES, rounds=2)


@cache
def _matrix(size: int) -> NDArray[np.float32]:
    return np.random.default_rng(size).standard_normal((size, DIMENSIONS), dtype=np.float32)


by_size = pytest.mark.parametrize(
    "size",
    [
        pytest.param(size, marks=pytest.mark.benchmark(group=SEMANTIC_MISS.format(size)))
        for size in VECTORS
    ],
)


@pytest.mark.parametrize("rival", [SUBJECT, NUMPY.name])
@by_size
def test_miss(
    measure: Measure, filled: Filled, number: Iterator[int], size: int, rival: str
) -> None:
    if rival == SUBJECT:
        _miss(measure, filled(size, None), number, "no_neighbour")
    else:
        _scan(measure, size, number)


@pytest.mark.benchmark(group=SEMANTIC_REFUSED.format(VECTORS[0]))
@pytest.mark.usefixtures("turn")
def test_miss_whose_neighbours_are_refused(
    measure: Measure, filled: Filled, number: Iterator[int]
) -> None:
    _miss(measure, filled(VECTORS[0], TOPICS), number, "guard_numbers")

"""The bound on wrong hits, and the share of hits, on streams of requests."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from support.doubles import ROUNDS
from support.question_streams import EqualVectors, Precomputed, RandomVectors, Request, stream
from support.served_streams import Served, counted, seeded, serve
from support.slices import some
from support.support_streams import support_stream
from support.twins import Twin, Twins, serve_twins, topic

from llmemo import LLMCache, Semantic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.embeddings import Embeddings

SEEDS = range(20 if ROUNDS > 1 else 1)
RUNS = 60 if ROUNDS > 1 else 3
ERRORS = [0.02, 0.05, 0.1]


def answered(
    requests: Sequence[Request], embeddings: Embeddings, max_error: float, seed: int
) -> Served:
    with LLMCache(semantic=Semantic(embeddings, max_error=max_error)) as cache:
        served = serve(seeded(cache, seed), requests)
        assert len(served.hits) == counted(cache).hits
    return served


def right_twins(count: int, start: int = 0) -> list[Twin]:
    return [Twin(topic(at), f"fact {at}", f"fact {at}") for at in range(start, start + count)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "max_error"),
    # One of the bounds a day, for both kinds of streams.
    some([(make, bound) for make in (stream, support_stream) for bound in ERRORS], len(ERRORS)),
)
def test_hits_are_many_and_seldom_wrong(
    make: Callable[[int], list[Request]], max_error: float
) -> None:
    results = []
    for seed in SEEDS:
        requests = make(seed)
        vectors = Precomputed([each.question for each in requests])
        results.append(answered(requests, vectors, max_error, seed))
    too_wrong = [at for at, served in enumerate(results) if served.error > max_error]
    assert len(too_wrong) <= 0.05 * len(SEEDS), too_wrong
    if max_error >= 0.05:
        shares = [served.share for served in results]
        assert sum(shares) / len(shares) >= 0.2, shares


@pytest.mark.parametrize("max_error", ERRORS)
@pytest.mark.parametrize(
    "vectors",
    [EqualVectors(), RandomVectors(), RandomVectors(dimension=4)],
    ids=["equal", "random", "random of few dimensions"],
)
def test_vectors_that_mean_nothing_make_no_hits(vectors: Embeddings, max_error: float) -> None:
    requests = stream(1, 300 * min(ROUNDS, 4))
    assert answered(requests, vectors, max_error, seed=1).hits == []


@pytest.mark.parametrize("max_error", ERRORS)
def test_answers_that_all_differ_make_no_hits(max_error: float) -> None:
    twins = [Twin(topic(at), f"at first {at}", f"then {at}") for at in range(400)]
    with LLMCache(semantic=Semantic(Twins(), max_error=max_error)) as cache:
        assert serve_twins(seeded(cache, 1), twins).hits == []
        assert counted(cache).wrong == counted(cache).checks == 400


@pytest.mark.slow
def test_would_be_hits_that_are_wrong_too_often_are_seldom_certified() -> None:
    certified = 0
    for run in range(RUNS):
        rng = random.Random(run)
        twins = [
            Twin(word, answer, "another" if rng.random() < 0.06 else fresh)
            for word, answer, fresh in right_twins(700, start=700 * run)
        ]
        with LLMCache(semantic=Semantic(Twins(), max_error=0.05)) as cache:
            served = serve_twins(seeded(cache, run), twins)
            certified += bool(served.hits) or counted(cache).threshold is not None
    assert certified <= RUNS * 4 / 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("max_error", ERRORS if ROUNDS > 1 else [0.05])
def test_hits_end_when_all_answers_change(max_error: float, seed: int) -> None:
    changed, known = 2500, 5000
    twins = [each._replace(fresh="of late") for each in right_twins(changed + 200, start=10_000)]
    with LLMCache(semantic=Semantic(Twins(), max_error=max_error)) as cache:
        # So many right checks that only the detector sees the change soon.
        before = serve_twins(seeded(cache, seed), right_twins(known))
        assert len(before.hits) > 0.8 * known
        assert before.wrong == []
        after = serve_twins(cache, twins)
        assert counted(cache).threshold is None
    assert after.wrong == after.hits
    assert len(after.hits) <= 200
    assert max(after.hits) < changed

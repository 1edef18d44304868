"""What is told of near matches: events, figures, money, and explanations."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from support.doubles import Clock
from support.near import (
    Meaning,
    ask,
    certify,
    keep,
    look,
    meant,
    near_cache,
    said_of,
    semantic,
    told,
    wording,
)

from llmemo import options, track
from llmemo.semantic.tier import REPEATS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmemo import LLMCache


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "store", "store without memory"])
def cache(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[LLMCache]:
    settings: dict[str, Any] = {"max_bytes": 0} if "without" in request.param else {}
    where = None if request.param == "memory" else tmp_path / "cache.db"
    with near_cache(where, clock=clock, **settings) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
        yield cache


def test_a_tracker_is_told_of_a_near_match(cache: LLMCache, clock: Clock) -> None:
    clock.now += 30
    with track() as tracker:
        assert look(cache, wording(1, "tides")) == said_of("tides")
    (event,) = tracker.events
    assert event.outcome == "semantic"
    assert event.score == pytest.approx(0.98, abs=0.02)
    assert event.neighbour == wording(0, "tides")
    assert event.age == pytest.approx(30)
    assert event.tier == ("store" if cache.stats().entries == 0 else "memory")
    assert event.key
    assert (tracker.hits, tracker.misses) == (1, 0)


def test_a_tracker_is_told_of_a_near_match_that_was_not_served() -> None:
    with near_cache() as cache:
        keep(cache, wording(0, "tides"))
        with track() as tracker:
            assert look(cache, wording(1, "tides")) is None
            assert look(cache, wording(1, "moons")) is None
        first, second = tracker.events
        assert (first.outcome, first.reason) == ("miss", "absent")
        assert first.score == pytest.approx(0.98, abs=0.02)
        assert first.neighbour == wording(0, "tides")
        assert (second.score, second.neighbour) == (None, None)


def test_figures_add_up(cache: LLMCache) -> None:
    before = cache.stats()
    look(cache, wording(0, "tides"))
    look(cache, wording(1, "tides"))
    look(cache, wording(1, "moons"))
    after = cache.stats()
    assert after.hits - before.hits == 2
    assert after.misses - before.misses == 1
    exact = sum([after.memory_hits, after.store_hits, after.coalesced, after.stale])
    assert after.hits == exact + told(cache).hits
    assert told(cache).hits == 1
    assert told(cache).threshold == pytest.approx(0.96)
    assert 0 < told(cache).bound <= 0.5
    assert sum(told(cache).abstained.values()) == after.misses


def generation(text: str) -> ChatGeneration:
    usage: Any = {"input_tokens": 1_000, "output_tokens": 100, "total_tokens": 1_100}
    metadata = {"model_name": "pricey"}
    message = AIMessage(text, usage_metadata=usage, response_metadata=metadata)
    return ChatGeneration(message=message)


@pytest.mark.parametrize("where", ["memory", "store"])
def test_a_near_match_saves_what_its_answer_cost(tmp_path: Path, where: str) -> None:
    store = tmp_path / "cache.db" if where == "store" else None
    with near_cache(store, prices={"pricey": (10.0, 20.0)}) as cache:
        certify(cache)
        cache.update(wording(0, "tides"), "m", [generation("all about tides")])
        with track() as tracker:
            hit = cache.lookup(wording(1, "tides"), "m")
        assert hit is not None
        stats = cache.stats()
        assert (stats.input_tokens_saved, stats.output_tokens_saved) == (1_000, 100)
        assert stats.money_saved == pytest.approx(0.012)
        (event,) = tracker.events
        assert event.worth.money == pytest.approx(0.012)
        assert sum(it.worth.money for it in tracker.events) == pytest.approx(0.012)


async def _aexplained(cache: LLMCache, text: str) -> Any:
    return await cache.aexplain(text, "m")


@pytest.fixture(params=["explain", "aexplain"])
def explained(request: pytest.FixtureRequest) -> Any:
    if request.param == "explain":
        return lambda cache, text: cache.explain(text, "m")
    return lambda cache, text: asyncio.run(_aexplained(cache, text))


def test_a_near_match_is_explained(cache: LLMCache, explained: Any) -> None:
    before = cache.stats()
    found = explained(cache, wording(1, "tides"))
    assert found.outcome == "semantic"
    assert found.semantic == (f"nearest 0.98: served ({wording(0, 'tides')!r})",)
    assert "semantic: nearest 0.98: served" in str(found)
    assert cache.stats() == before
    assert explained(cache, wording(0, "tides")).outcome == "hit"


def test_a_neighbour_that_a_guard_refuses_is_explained(explained: Any) -> None:
    with near_cache() as cache:
        certify(cache)
        cache.clear()
        keep(cache, "open 3 files")
        found = explained(cache, "open 4 files")
        assert found.outcome == "miss"
        assert found.semantic[0] == "nearest 0.98: refused, number 4 was 3 ('open 3 files')"
        assert look(cache, "open 4 files") is None
        assert told(cache).abstained["guard_numbers"] == 1


def test_a_difference_that_the_embedder_does_not_see_is_explained(explained: Any) -> None:
    embeddings = Meaning()
    embeddings.answer = lambda texts: [[1.0, 2.0, 3.0] for _ in texts]
    with near_cache(semantic=semantic(embeddings)) as cache:
        keep(cache, "ค่าส่งเท่าไหร่")
        found = explained(cache, "คืนเงินเท่าไหร่")
        assert found.outcome == "miss"
        assert "nearest 1.00: refused, the embedder sees no difference" in found.semantic[0]
        assert look(cache, "คืนเงินเท่าไหร่") is None
        assert told(cache).abstained["guard_unread"] == 1


def test_a_neighbour_that_is_not_certified_is_explained(explained: Any) -> None:
    with near_cache() as cache:
        keep(cache, wording(0, "tides"))
        found = explained(cache, wording(1, "tides"))
        assert found.outcome == "miss"
        assert "not served yet, 3 more checks without an error are needed" in found.semantic[0]
        assert "long free text never certifies" in found.semantic[-1]
        ask(cache, wording(1, "tides"))
        assert "2 more checks" in explained(cache, wording(2, "tides")).semantic[0]
    with near_cache(semantic=semantic(judge=lambda stored, fresh: True)) as cache:
        keep(cache, wording(0, "tides"))
        assert not any("free text" in it for it in explained(cache, wording(1, "tides")).semantic)


def test_a_question_without_a_neighbour_is_explained(cache: LLMCache, explained: Any) -> None:
    (line,) = explained(cache, wording(1, "moons")).semantic[:1]
    assert line == "no question of the same context has a score of 0.8 or more"


def test_a_request_that_is_not_compared_is_explained(explained: Any) -> None:
    def question(text: str) -> str | None:
        return None if "quiet" in text else text

    with near_cache(semantic=semantic(question=question)) as cache:
        assert explained(cache, "quiet").semantic == (
            "the request does not end in a question of plain text",
        )
        assert explained(cache, "x " * 800).semantic == (
            "the question is longer than an embedder reads",
        )


def test_an_embedder_in_trouble_is_explained(explained: Any) -> None:
    embeddings = Meaning()
    embeddings.answer = lambda texts: None
    with near_cache(semantic=semantic(embeddings)) as cache:
        found = explained(cache, wording(1, "moons"))
        assert found.semantic == ("the embedder gives no vector for the question",)


def test_a_score_below_the_certified_one_is_explained(explained: Any) -> None:
    embeddings = Meaning()
    with near_cache(semantic=semantic(embeddings)) as cache:
        embeddings.answer = lambda texts: meant(texts, score=0.86)
        for number in range(8):
            ask(cache, wording(number, "moons"), answer=f"{number}")
        keep(cache, wording(0, "tides"))
        embeddings.answer = meant
        certify(cache)
        assert told(cache).threshold > 0.87
        embeddings.answer = lambda texts: meant(texts, score=0.86)
        found = explained(cache, wording(1, "tides"))
        assert found.outcome == "miss"
        assert "not served, below the certified 0." in found.semantic[0]
        assert look(cache, wording(1, "tides")) is None


def test_a_request_that_was_given_near_matches_often_enough_is_explained(
    cache: LLMCache, explained: Any
) -> None:
    for _ in range(REPEATS_MAX):
        assert explained(cache, wording(1, "tides")).outcome == "semantic"
        assert look(cache, wording(1, "tides"))
    found = explained(cache, wording(1, "tides"))
    assert found.outcome == "miss"
    assert f"not served, the request was given near matches {REPEATS_MAX} times" in str(found)
    assert look(cache, wording(1, "tides")) is None
    assert explained(cache, wording(2, "tides")).outcome == "semantic"


def test_near_matches_that_are_turned_off_are_not_explained(
    cache: LLMCache, explained: Any
) -> None:
    with options(semantic=False):
        found = explained(cache, wording(1, "tides"))
    assert (found.outcome, found.semantic) == ("miss", ())


def test_a_neighbour_that_is_gone_is_not_explained_as_served(
    cache: LLMCache, explained: Any
) -> None:
    assert cache.delete(wording(0, "tides"), "m")
    found = explained(cache, wording(1, "tides"))
    assert found.outcome == "miss"


@pytest.mark.parametrize("where", ["memory", "store"])
def test_what_a_ttl_has_ended_is_not_explained_as_served(
    tmp_path: Path, clock: Clock, where: str, explained: Any
) -> None:
    store = tmp_path / "cache.db" if where == "store" else None
    with near_cache(store, ttl=10, clock=clock) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
        clock.now += 11
        assert explained(cache, wording(1, "tides")).outcome == "miss"
        assert look(cache, wording(1, "tides")) is None

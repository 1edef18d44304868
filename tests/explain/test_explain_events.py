"""`event.explain()`: why that lookup missed then, whatever has been stored since."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import create_model
from support.counting_model import CountingModel
from support.doubles import FakeStore, answer
from support.near import certify, keep, look, near_cache, wording

from llmemo import (
    CacheClosedError,
    CacheMiss,
    LLMCache,
    LookupEvent,
    SQLiteStore,
    options,
    track,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def event_of(runnable: Any, given: str = "2 + 2?") -> LookupEvent:
    with track() as tracker:
        runnable.invoke(given)
    return tracker.events[-1]


def test_a_miss_stays_a_miss_after_its_answer_was_stored(
    make_cache: Callable[..., LLMCache], clock: Clock
) -> None:
    cache = make_cache(clock=clock)
    model = CountingModel(cache=cache)
    first = event_of(model)
    assert first.explain().reason == (
        "no entry for this request at that time; its answer has been stored since (0 s later)"
    )
    clock.now += 5
    second = event_of(model.bind(seed=1))
    clock.now += 5
    third = event_of(model.bind(seed=1, user="me"))
    told = second.explain()
    assert (told.outcome, told.key) == ("miss", second.key)
    assert [it.differences[0].partition(":")[0] for it in told.nearest] == ["seed"]
    nearest = [len(it.differences) for it in third.explain().nearest]
    assert nearest == [1, 2], "what was stored later is not compared"
    assert event_of(model).explain().outcome == "hit"
    assert first.explain().nearest == ()


def test_a_hit_says_where_it_came_from(tmp_path: Path, clock: Clock) -> None:
    with LLMCache(tmp_path / "cache.db", clock=clock) as cache:
        event_of(CountingModel(cache=cache))
    clock.now += 7
    with LLMCache(tmp_path / "cache.db", clock=clock) as cache:
        model = CountingModel(cache=cache)
        stored, remembered = event_of(model), event_of(model)
        assert str(stored.explain()) == "hit: in the store, made 7 s before"
        assert str(remembered.explain()) == "hit: in memory, made 7 s before"
        assert stored.explain().key == stored.key


def test_an_answer_that_had_expired(tmp_path: Path, clock: Clock) -> None:
    with LLMCache(tmp_path / "cache.db", ttl=10, clock=clock, max_bytes=0) as cache:
        model = CountingModel(cache=cache)
        event_of(model)
        clock.now += 13
        late = event_of(model)
        clock.now += 100
        assert late.explain().reason == "its answer had expired 3 s before"


def test_an_answer_that_the_store_did_not_give(clock: Clock) -> None:
    is_away = False

    def fail(method: str) -> None:
        if is_away and method == "get":
            raise OSError

    with LLMCache(FakeStore(fail), clock=clock, max_bytes=0) as cache:
        model = CountingModel(cache=cache)
        model.invoke("x")
        clock.now += 4
        is_away = True
        with track() as tracker, options(mode="only"), pytest.raises(CacheMiss):
            model.invoke("x")
        is_away = False
        told = tracker.events[0].explain()
        assert told.reason.startswith("its answer, stored 4 s before, was not read: the store")


def test_refreshes_and_bypasses_say_so() -> None:
    model = CountingModel(cache=LLMCache())
    with options(mode="refresh"):
        assert "a fresh answer was wanted" in event_of(model).explain().reason
    with options(mode="bypass"):
        told = event_of(model).explain()
    assert str(told) == 'bypass: options(mode="bypass") was in force'
    told = event_of(model.bind(callback=lambda: 1)).explain()
    assert (told.outcome, told.parameter) == ("bypass", "callback")
    assert "a value that cannot be told" in told.reason or "address" in told.reason


def test_an_early_refresh_says_so(clock: Clock) -> None:
    cache = LLMCache(ttl=10, early_refresh=1e9, clock=clock)
    model = CountingModel(cache=cache)
    event_of(model)
    clock.now += 9.99
    refreshed = event_of(model)
    assert refreshed.reason == "early"
    assert "was about to expire" in refreshed.explain().reason


def test_classes_and_objects_are_those_of_the_lookup() -> None:
    """No run is open any more, and the class may be another one by now."""

    def schema(kind: Any) -> Any:
        return create_model("Answer", __module__="somewhere", x=(kind, ...))

    model = CountingModel(cache=LLMCache())
    one, other = (event_of(model.bind(response_format=schema(it))) for it in (int, str))
    assert one.explain().nearest == ()
    (told,) = other.explain().nearest
    assert str(told) == "response_format: the schema of a class in it differs"
    event_of(model.bind(day=date(2026, 1, 2)))
    assert event_of(model.bind(day=date(2026, 1, 3))).explain().outcome == "miss"


def test_events_are_compared_printed_and_pickled_without_the_texts() -> None:
    model = CountingModel(cache=LLMCache())
    event = event_of(model, "a secret question")
    bare = LookupEvent("miss", key=event.key, reason="absent")
    assert event == bare
    assert hash(event) == hash(bare)
    assert repr(event) == repr(bare)
    made = pickle.dumps(event)
    assert b"secret" not in made
    for other in (pickle.loads(made), copy.deepcopy(event), bare):
        assert other == event
        with pytest.raises(CacheClosedError, match="explain the original"):
            other.explain()
    assert not hasattr(event, "__dict__")


def test_an_event_keeps_neither_cache_nor_model() -> None:
    cache = LLMCache()
    event = event_of(CountingModel(cache=cache))
    assert event.explain().outcome == "miss"
    del cache
    gc.collect()
    with pytest.raises(CacheClosedError, match="closed or gone"):
        event.explain()


def test_after_close_there_is_nothing_to_explain(make_cache: Callable[..., LLMCache]) -> None:
    cache = make_cache()
    event = event_of(CountingModel(cache=cache))
    cache.close()
    with pytest.raises(CacheClosedError, match="closed or gone"):
        event.explain()
    with track() as tracker:
        assert cache.lookup("p", "m") is None
    with pytest.raises(CacheClosedError):
        tracker.events[0].explain()


def test_lookups_by_hand_have_events_too(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "cache.db", store_requests=True)
    with LLMCache(store, max_bytes=0) as cache:
        cache.update("2 + 2?", "m", answer("4"))
        with track() as tracker:
            assert cache.lookup("2 + 3?", "m") is None
        (event,) = tracker.events
        assert event.explain().nearest[0].differences == ("prompt: differs from character 5",)
        assert cache.stats().misses == 1, "explaining counts nothing"


def test_near_matches_say_what_the_event_knows() -> None:
    with near_cache() as cache:
        keep(cache, wording(0, "tides"))
        with track() as tracker:
            look(cache, wording(1, "tides"))
        assert tracker.events[0].explain().semantic[0].startswith("nearest 0.98: not served (")
        certify(cache)
        with track() as tracker:
            look(cache, wording(2, "tides"))
        told = tracker.events[0].explain()
        assert told.outcome == "semantic"
        assert told.semantic[0].startswith("nearest 0.98: served (")


@pytest.mark.anyio
async def test_many_tasks_each_have_their_own() -> None:
    async with LLMCache() as cache:
        model = CountingModel(cache=cache)
        with track() as tracker:
            await asyncio.gather(*(model.bind(seed=it).ainvoke("x") for it in range(5)))
        told = await asyncio.to_thread(lambda: [it.explain() for it in tracker.events])
        assert {it.outcome for it in told} == {"miss"}
        assert len({it.key for it in told}) == 5

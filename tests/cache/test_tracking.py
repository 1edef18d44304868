"""Seeing what a cache does: `track`, and what hits save."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from support.doubles import Clock, answer
from support.scripted import Scripted

from llmemo import LLMCache, LookupEvent, Worth, options, track

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeCache = Callable[..., LLMCache]

pytestmark = pytest.mark.anyio


def used(sent: int, made: int, model: str = "small-1") -> list[ChatGeneration]:
    """An answer that says what it has cost."""
    usage: Any = {"input_tokens": sent, "output_tokens": made, "total_tokens": sent + made}
    message = AIMessage("x", usage_metadata=usage, response_metadata={"model_name": model})
    return [ChatGeneration(message=message)]


def test_each_lookup_says_what_became_of_it(make_cache: MakeCache) -> None:
    clock = Clock()
    cache = make_cache(clock=clock)
    has_memory = cache._tiers.settings.max_bytes > 0
    with track() as tracker:
        assert cache.lookup("p", "m") is None
        cache.update("p", "m", answer("p"))
        clock.now += 5
        assert cache.lookup("p", "m") == answer("p")
        assert cache.lookup("p", "[('k', <object object at 0x7f0000000000>)]") is None
    assert (tracker.hits, tracker.misses, len(tracker.events)) == (1, 1, 3)
    miss, hit, bypass = tracker.events
    key = cache._tiers.key("p", "m")
    assert key is not None
    assert miss == LookupEvent("miss", key=key.hex(), reason="absent")
    assert hit == LookupEvent("hit", "memory" if has_memory else "store", 5.0, key.hex())
    assert bypass == LookupEvent("bypass", reason="address")


def test_a_hit_in_a_store_says_so_and_how_old_it_is(make_cache: MakeCache) -> None:
    clock = Clock()
    first = make_cache(clock=clock)
    if first._tiers.store is None:
        return
    first.update("p", "m", answer("p"))
    clock.now += 100
    with track() as tracker:
        make_cache(clock=clock).lookup("p", "m")
    assert [(event.tier, event.age) for event in tracker.events] == [("store", 100.0)]


def test_trackers_nest_and_end() -> None:
    cache = LLMCache()
    with track() as outer:
        cache.lookup("a", "m")
        with track() as inner:
            cache.lookup("b", "m")
    cache.lookup("c", "m")
    assert (len(outer.events), len(inner.events)) == (2, 1)


async def test_a_tracker_reaches_tasks_and_threads_and_no_others() -> None:
    cache = LLMCache()
    model = Scripted(act=lambda text: f"answer to {text}", cache=cache)
    with track() as tracker:
        await asyncio.gather(*(model.ainvoke(f"{n}") for n in range(3)))
        await asyncio.to_thread(model.invoke, "0")
        model.batch(["1", "2"])
        other = threading.Thread(target=lambda: cache.lookup("q", "m"))
        other.start()
        other.join()
    assert (tracker.hits, tracker.misses) == (3, 3)


def test_modes_are_seen() -> None:
    cache = LLMCache()
    cache.update("p", "m", answer("p"))
    with track() as tracker:
        with options(mode="bypass"):
            cache.lookup("p", "m")
        with options(mode="refresh"):
            cache.lookup("p", "m")
        cache.close()
        cache.lookup("p", "m")
    told = [(event.outcome, event.reason) for event in tracker.events]
    assert told == [("bypass", "requested"), ("miss", "refresh"), ("miss", "closed")]


def test_nothing_that_was_stored_is_touched(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.update("p", "m", used(3, 4))
    with track():
        assert cache.lookup("p", "m") == used(3, 4)
    assert cache.lookup("p", "m") == used(3, 4)


def test_tokens_and_money_that_hits_save(make_cache: MakeCache) -> None:
    prices = {"small": (1.0, 10.0), "small-1-turbo": (100.0, 1000.0)}
    cache = make_cache(prices=prices)
    cache.update("p", "m", used(2_000, 500, "small-1-mini"))
    cache.update("q", "m", used(7, 5, "unknown"))
    cache.update("r", "m", answer("r"))
    with track() as tracker:
        for _ in range(3):
            for prompt in "pqr":
                assert cache.lookup(prompt, "m") is not None
    stats = cache.stats()
    assert (stats.input_tokens_saved, stats.output_tokens_saved) == (6_021, 1_515)
    assert stats.money_saved == pytest.approx(3 * (2_000 * 1.0 + 500 * 10.0) / 1_000_000)
    assert tracker.saved[:2] == (6_021, 1_515)
    assert tracker.saved.money == pytest.approx(stats.money_saved)
    assert tracker.events[0].worth == Worth(2_000, 500, 0.007)

"""What an LLMCache does with entries, whichever tiers it has."""

from __future__ import annotations

import asyncio
import copy
import gc
from typing import TYPE_CHECKING

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from support.doubles import Clock

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeCache = Callable[..., LLMCache]


def said(text: str) -> list[Generation]:
    return [ChatGeneration(message=AIMessage(content=text, response_metadata={"model_name": "m"}))]


def test_a_hit_is_a_nonempty_list_of_equal_fresh_objects(make_cache: MakeCache) -> None:
    cache = make_cache()
    answer = said("hello")
    cache.update("p", "l", answer)
    first, second = cache.lookup("p", "l"), cache.lookup("p", "l")
    assert type(first) is list
    assert first == second == answer
    assert first is not second
    assert first[0] is not second[0]


def test_a_tuple_of_generations_is_kept_and_comes_back_as_a_list(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.update("p", "l", tuple(said("hello")))
    assert cache.lookup("p", "l") == said("hello")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("ab", "c"), ("a", "bc")),
        (("p", "l"), ("l", "p")),
        (("p", ""), ("", "p")),
        (("p\0", "l"), ("p", "\0l")),
        (("p---l", ""), ("p", "l---")),
        (("\ud800", "l"), ("\udfff", "l")),
        (("é", "l"), ("e\u0301", "l")),
    ],
)
def test_different_requests_never_share(
    make_cache: MakeCache, one: tuple[str, str], other: tuple[str, str]
) -> None:
    cache = make_cache()
    cache.update(*one, said("one"))
    assert cache.lookup(*other) is None
    cache.update(*other, said("other"))
    assert cache.lookup(*one) == said("one")
    assert cache.lookup(*other) == said("other")


def test_namespaces_never_share(make_cache: MakeCache) -> None:
    caches = {name: make_cache(namespace=name) for name in ("", "a", "b", "ab")}
    for name, cache in caches.items():
        assert cache.lookup("p", "l") is None, name
        cache.update("p", "l", said(f"for {name}"))
    for name, cache in caches.items():
        assert cache.lookup("p", "l") == said(f"for {name}")


def test_an_update_replaces(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.update("p", "l", said("old"))
    cache.update("p", "l", said("new"))
    assert cache.lookup("p", "l") == said("new")


def test_delete_removes_one_entry_and_says_whether_there_was_one(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.update("p", "l", said("one"))
    cache.update("q", "l", said("two"))
    assert cache.delete("p", "l") is True
    assert cache.delete("p", "l") is False
    assert cache.lookup("p", "l") is None
    assert cache.lookup("q", "l") == said("two")


@pytest.mark.anyio
async def test_the_async_methods_do_the_same(make_cache: MakeCache) -> None:
    cache = make_cache()
    assert await cache.alookup("p", "l") is None
    await cache.aupdate("p", "l", said("one"))
    assert await cache.alookup("p", "l") == said("one")
    assert await cache.adelete("p", "l") is True
    assert await cache.adelete("p", "l") is False
    await cache.aupdate("p", "l", said("two"))
    await cache.aclear()
    assert await cache.alookup("p", "l") is None
    assert await cache.aclose() == 0
    assert await cache.alookup("p", "l") is None


def test_time_to_live(make_cache: MakeCache) -> None:
    clock = Clock()
    cache = make_cache(ttl=10, clock=clock)
    cache.update("p", "l", said("one"))
    clock.now += 9.99
    assert cache.lookup("p", "l") == said("one")
    clock.now += 0.01
    assert cache.lookup("p", "l") is None
    assert cache.stats().expired >= 1
    cache.update("p", "l", said("two"))
    assert cache.lookup("p", "l") == said("two")


def test_time_to_live_is_kept_over_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    with LLMCache(tmp_path / "c.db", ttl=10, clock=clock) as cache:
        cache.update("p", "l", said("one"))
    with LLMCache(tmp_path / "c.db", clock=clock) as cache:
        assert cache.lookup("p", "l") == said("one")
        clock.now += 10
        # In memory it came from the store: it ends there at the same time.
        assert cache.lookup("p", "l") is None
    with LLMCache(tmp_path / "c.db", clock=clock) as cache:
        assert cache.lookup("p", "l") is None
        assert cache.stats().expired == 1


def test_the_default_clock_is_the_systems() -> None:
    cache = LLMCache(ttl=3600)
    cache.update("p", "l", said("one"))
    assert cache.lookup("p", "l") == said("one")


def test_max_entries_drops_the_least_recently_used() -> None:
    cache = LLMCache(max_entries=2)
    cache.update("a", "l", said("a"))
    cache.update("b", "l", said("b"))
    assert cache.lookup("a", "l") is not None
    cache.update("c", "l", said("c"))
    assert cache.lookup("b", "l") is None
    assert cache.lookup("a", "l") is not None
    assert cache.lookup("c", "l") is not None
    assert (cache.stats().entries, cache.stats().evictions) == (2, 1)


def test_max_bytes_bounds_memory_whatever_goes_in() -> None:
    cache = LLMCache(max_bytes=100_000)
    for number in range(1_000):
        cache.update(f"{number} {'p' * (number % 700)}", f"model {number}", said("a" * 500))
        assert cache.stats().bytes <= 100_000
    assert 20 < cache.stats().entries < 1_000
    assert cache.lookup(f"999 {'p' * (999 % 700)}", "model 999") == said("a" * 500)


def test_what_is_larger_than_memory_is_not_kept_and_counted() -> None:
    cache = LLMCache(max_bytes=10_000)
    cache.update("small", "l", said("one"))
    cache.update("large", "l", said("x" * 20_000))
    assert cache.lookup("large", "l") is None
    assert cache.lookup("small", "l") == said("one")
    assert cache.stats().skipped == {"too_large": 1}
    assert cache.stats().updates == 1


def test_what_is_larger_than_memory_still_goes_to_the_store(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "c.db", max_bytes=10_000) as cache:
        cache.update("large", "l", said("x" * 20_000))
        assert cache.lookup("large", "l") == said("x" * 20_000)
        assert cache.stats().skipped == {}


def test_memory_answers_before_the_store(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "c.db") as cache:
        cache.update("p", "l", said("one"))
    with LLMCache(tmp_path / "c.db") as cache:
        for _ in range(3):
            assert cache.lookup("p", "l") == said("one")
        assert cache.lookup("q", "l") is None
        stats = cache.stats()
    assert (stats.store_hits, stats.memory_hits, stats.hits, stats.misses) == (1, 2, 3, 1)


def test_a_secret_separates_caches(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "c.db", secret="one") as cache:
        cache.update("p", "l", said("mine"))
    with LLMCache(tmp_path / "c.db", secret=b"other") as cache:
        assert cache.lookup("p", "l") is None
    with LLMCache(tmp_path / "c.db", secret=b"one") as cache:
        assert cache.lookup("p", "l") == said("mine")


def test_stats_begin_at_zero_and_repr_and_truth_are_plain() -> None:
    cache = LLMCache()
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.updates, stats.entries, stats.bytes) == (0, 0, 0, 0, 0)
    assert stats.bypassed == stats.skipped == stats.errors == {}
    # Code about caches tests their truth: an empty cache must not look like no cache.
    assert bool(cache)
    assert not hasattr(cache, "__len__")
    assert copy.deepcopy(cache) is cache


def test_the_same_cache_in_a_hundred_event_loops(make_cache: MakeCache) -> None:
    cache = make_cache()
    for number in range(100):

        async def once(number: int = number) -> None:
            await cache.aupdate(f"p{number}", "l", said(str(number)))
            if number:
                assert await cache.alookup(f"p{number - 1}", "l") == said(str(number - 1))

        asyncio.run(once())
    assert cache.stats().errors == {}


@pytest.mark.slow
def test_fifty_thousand_entries_do_not_hold_up_the_garbage_collector() -> None:
    cache = LLMCache()
    gc.collect()
    before = len(gc.get_objects())
    for number in range(50_000):
        cache.update(f"prompt {number}", "l", [Generation(text="answer")])
    gc.collect()
    assert cache.stats().entries == 50_000
    # What the collector does not know of costs it nothing.
    assert len(gc.get_objects()) - before < 1_000

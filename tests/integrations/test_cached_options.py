"""Options, admission, trackers and counts of cached models: on every path the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from support.cached_calls import PATHS, run
from support.doubles import Clock
from support.streaming_models import Asked, Beside, OnlyStreams, Streams, SyncStreams

from llmemo import REQUIRED, CacheMiss, LLMCache, NamespaceRequiredError, cached, options, track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    MakeCache = Callable[..., LLMCache]

HAS_V3 = hasattr(BaseChatModel, "_chat_model_stream_v3")
every_path = pytest.mark.parametrize(
    "path", [path for path in PATHS if HAS_V3 or not path.endswith("v3")]
)


@pytest.fixture(params=["memory", "sqlite without memory"])
def make_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeCache]:
    made: list[LLMCache] = []

    def make(**settings: Any) -> LLMCache:
        if request.param != "memory":
            settings = {"store": tmp_path / "cache.db", "max_bytes": 0, **settings}
        made.append(LLMCache(**settings))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


def counts(cache: LLMCache) -> tuple[int, int, int]:
    """Hits, misses, updates; the rest has to be nothing."""
    stats = cache.stats()
    assert (stats.bypassed, stats.skipped, stats.errors) == ({}, {}, {})
    return stats.hits, stats.misses, stats.updates


@every_path
@pytest.mark.parametrize("kind", [Asked, Streams, SyncStreams, OnlyStreams, Beside])
def test_each_call_is_counted_once(kind: type[Asked], path: str) -> None:
    if kind is Asked and "v3" in path:
        pytest.skip("LangChain's third version is for models that stream")
    with LLMCache() as cache:
        model = cached(kind(), cache)
        plain = run(path, kind())
        for number in range(3):
            with track() as tracked:
                assert run(path, model) == plain
            assert counts(cache) == (number, 1, 1)
            (event,) = tracked.events
            assert event.outcome == ("hit" if number else "miss")
            assert event.tier == ("memory" if number else None)
            assert event.key is not None
        assert cache.stats().memory_hits == 2


@every_path
def test_bypass(path: str, make_cache: MakeCache) -> None:
    cache = make_cache()
    model = cached(Streams(), cache)
    run(path, model)
    with options(mode="bypass"), track() as tracked:
        run(path, model)
        run(path, model, "Why now?")
    assert [event.outcome for event in tracked.events] == ["bypass", "bypass"]
    assert len(model.asked) == 3
    run(path, model)
    run(path, model, "Why now?")
    assert len(model.asked) == 4
    assert set(cache.stats().bypassed) == {"requested"}


@every_path
def test_refresh(path: str, make_cache: MakeCache) -> None:
    cache = make_cache()
    run(path, cached(Streams(), cache))
    other = cached(Streams(), cache)
    with options(mode="refresh"), track() as tracked:
        run(path, other)
    assert [(event.outcome, event.reason) for event in tracked.events] == [("miss", "refresh")]
    assert len(other.asked) == 1
    run(path, other)
    assert len(other.asked) == 1
    assert cache.stats().updates == 2


@every_path
def test_only(path: str, make_cache: MakeCache) -> None:
    model = cached(Streams(), make_cache())
    with options(mode="only"), pytest.raises(CacheMiss):
        run(path, model)
    assert model.asked == []
    expected = run(path, model)
    with options(mode="only"), track() as tracked:
        assert run(path, model) == expected
    assert [event.outcome for event in tracked.events] == ["hit"]
    assert len(model.asked) == 1


@every_path
def test_ttl(path: str, make_cache: MakeCache) -> None:
    clock = Clock()
    cache = make_cache(clock=clock, early_refresh=0.0)
    model = cached(Streams(), cache)
    with options(ttl=100):
        run(path, model)
    clock.now += 99
    run(path, model)
    assert len(model.asked) == 1
    clock.now += 2
    run(path, model)
    assert len(model.asked) == 2


@every_path
def test_namespaces(path: str, make_cache: MakeCache) -> None:
    cache = make_cache(namespace=REQUIRED)
    model = cached(Streams(), cache)
    with pytest.raises(NamespaceRequiredError):
        run(path, model)
    for name in ("one", "other", "one", "other"):
        with options(namespace=name):
            run(path, model)
    assert len(model.asked) == 2
    assert cache.stats().hits == 2


@every_path
def test_what_admission_refuses(path: str, make_cache: MakeCache) -> None:
    cache = make_cache(admit=lambda answer: "three" not in answer[0].text)
    model = cached(Streams(), cache)
    for _ in range(2):
        run(path, model)
    assert len(model.asked) == 2
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.updates) == (0, 2, 0)
    assert stats.skipped == {"not_admitted": 2}


@every_path
def test_no_cache(path: str) -> None:
    set_llm_cache(None)
    model = cached(Streams())
    expected = run(path, Streams())
    for _ in range(2):
        assert run(path, model) == expected
    assert len(model.asked) == 2


@every_path
def test_the_global_cache_of_the_moment(path: str) -> None:
    model = cached(Streams())
    for number in (1, 2):
        set_llm_cache(LLMCache())
        try:
            for _ in range(2):
                run(path, model)
        finally:
            set_llm_cache(None)
        assert len(model.asked) == number


@every_path
def test_closed(path: str, make_cache: MakeCache) -> None:
    cache = make_cache()
    model = cached(Streams(), cache)
    expected = run(path, model)
    cache.close()
    for _ in range(2):
        assert run(path, model) == expected
    assert len(model.asked) == 3


def test_many_at_once_are_counted_once_each(make_cache: MakeCache) -> None:
    async def main(way: str) -> None:
        cache = make_cache()
        model = cached(Streams(), cache)
        with track() as tracked:
            await asyncio.gather(*(PATHS[way](model, way, {}) for _ in range(20)))
        assert len(model.asked) == 1
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.updates) == (19, 1, 1)
        assert stats.coalesced + stats.memory_hits + stats.store_hits == 19
        assert stats.coalesced > 0
        assert (tracked.hits, tracked.misses) == (19, 1)

    for way in ("ainvoke", "astream", "v2"):
        asyncio.run(main(way))

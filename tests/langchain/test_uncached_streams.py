"""Streams for which LangChain asks no cache: the model's cache counts each of them once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListLLM
from langchain_core.outputs import GenerationChunk
from langchain_core.runnables import RunnableLambda
from support.counting_model import CountingModel
from support.streaming_models import Streams

from llmemo import CacheClosedError, LLMCache, accelerate, cached, options, track
from llmemo.langchain import uncached_streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def cache() -> Iterator[LLMCache]:
    """The global one."""
    made = LLMCache()
    set_llm_cache(made)
    yield made
    set_llm_cache(None)


def by_stream(model: Any) -> None:
    assert list(model.stream("?"))


def by_astream(model: Any) -> None:
    async def read() -> list[Any]:
        return [chunk async for chunk in model.astream("?")]

    assert asyncio.run(read())


def in_a_chain(model: Any) -> None:
    assert list((RunnableLambda(lambda it: it) | model).stream("?"))


def by_events(model: Any) -> None:
    async def read() -> list[Any]:
        return [event async for event in model.astream_events("?", version="v2")]

    assert asyncio.run(read())


WAYS = [by_stream, by_astream, in_a_chain, by_events]


@pytest.mark.parametrize("read", WAYS)
def test_a_stream_under_a_global_cache(cache: LLMCache, read: Callable[[Any], None]) -> None:
    with track() as tracker:
        read(Streams())
        read(Streams())
    assert cache.stats().bypassed == {"stream": 2}
    assert [(it.outcome, it.reason) for it in tracker.events] == [("bypass", "stream")] * 2
    assert (cache.stats().hits, cache.stats().misses) == (0, 0)


@pytest.mark.parametrize("read", WAYS[:2])
def test_the_models_own_cache_is_told_and_no_other(
    cache: LLMCache, read: Callable[[Any], None]
) -> None:
    own = LLMCache()
    read(Streams(cache=own))
    assert own.stats().bypassed == {"stream": 1}
    read(Streams(cache=False))
    assert cache.stats().bypassed == {}


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("default", "LangChain asks no cache for a stream: use cached(model) or accelerate"),
        ("bypass", 'options(mode="bypass") was in force'),
    ],
)
def test_its_event_explains_it(mode: Any, says: str) -> None:
    cache = LLMCache()
    with options(mode=mode), track() as tracker:
        by_stream(Streams(cache=cache))
    (event,) = tracker.events
    told = event.explain()
    assert (told.outcome, told.key, told.nearest) == ("bypass", None, ())
    assert told.reason.startswith(says)
    cache.close()
    with pytest.raises(CacheClosedError, match="closed or gone"):
        event.explain()


def test_on_event_is_told() -> None:
    events: list[Any] = []
    by_stream(Streams(cache=LLMCache(on_event=events.append)))
    assert [(it.outcome, it.reason) for it in events] == [("bypass", "stream")]


@pytest.mark.parametrize("read", WAYS)
def test_a_stream_of_a_cached_model_is_not_past_the_cache(
    cache: LLMCache, read: Callable[[Any], None]
) -> None:
    model = cached(Streams())
    read(model)
    read(model)
    with accelerate(streams=True):
        read(Streams())
    assert cache.stats().bypassed == {}
    assert cache.stats().hits == 2


@pytest.mark.parametrize("read", WAYS)
def test_a_model_without_streams_asks_the_cache(
    cache: LLMCache, read: Callable[[Any], None]
) -> None:
    read(CountingModel())
    assert cache.stats().bypassed == {}
    assert cache.stats().misses == 1


def test_a_call_that_asks_is_known_at_once(
    cache: LLMCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def look() -> tuple[str, Any]:
        looked.append("")
        return "", None

    monkeypatch.setattr(uncached_streams, "caller", look)
    Streams().invoke("?")
    asyncio.run(Streams().ainvoke("?"))
    assert looked == []
    by_stream(Streams())
    assert looked == [""]


def test_calls_that_ask_are_not_streams(cache: LLMCache) -> None:
    model = Streams()
    model.invoke("?")
    asyncio.run(model.ainvoke("?"))
    model.batch(["1", "2"])
    asyncio.run(model.abatch(["1", "2"]))
    FakeListLLM(responses=["a"]).invoke("?")
    asyncio.run(FakeListLLM(responses=["a"]).ainvoke("?"))
    assert cache.stats().bypassed == {}


class Completion(FakeListLLM):
    """A completion model that streams."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[GenerationChunk]:
        for text in self.responses:
            yield GenerationChunk(text=text)


@pytest.mark.parametrize("read", WAYS[:2])
def test_a_stream_of_a_completion_model(cache: LLMCache, read: Callable[[Any], None]) -> None:
    read(Completion(responses=["a", "b"]))
    assert cache.stats().bypassed == {"stream": 1}


def test_a_stream_inside_a_call_that_asks(cache: LLMCache) -> None:
    inner = Streams()

    class Outer(CountingModel):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            assert list(inner.stream("?"))
            return super()._generate(*args, **kwargs)

    Outer().invoke("?")
    assert cache.stats().bypassed == {"stream": 1}
    assert cache.stats().misses == 1


def test_where_the_caller_asked_for_it_that_is_the_reason(cache: LLMCache) -> None:
    with options(mode="bypass"):
        by_stream(Streams())
    assert cache.stats().bypassed == {"requested": 1}


def test_a_closed_cache_counts_nothing_and_the_stream_goes_on(cache: LLMCache) -> None:
    cache.close()
    by_stream(Streams())
    assert cache.stats().bypassed == {}


@pytest.mark.parametrize("error", [ValueError("?"), RecursionError("?")])
def test_what_goes_wrong_is_counted(cache: LLMCache, error: Exception) -> None:
    def fail(_: object) -> None:
        raise error

    own = LLMCache(on_event=fail)
    by_stream(Streams(cache=own))
    assert own.stats().bypassed == {"stream": 1}
    assert own.stats().errors == {"on_event": 1}

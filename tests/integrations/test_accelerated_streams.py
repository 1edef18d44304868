"""`accelerate(streams=True)`: every model's streams ask the cache; and nothing is left behind."""

from __future__ import annotations

import asyncio
import importlib
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import get_llm_cache, set_llm_cache
from langchain_core.language_models import FakeListChatModel

from llmemo import CacheMiss, LLMCache, accelerate, cached, options
from llmemo.integrations import stream_patch

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE: Any = importlib.import_module("langchain_core.language_models.chat_models").BaseChatModel
NAMES = [
    *stream_patch.ENTRIES,
    *(name for name in stream_patch.LATER_ENTRIES if hasattr(BASE, name)),
]


@pytest.fixture
def global_cache() -> Iterator[LLMCache]:
    before = get_llm_cache()
    with LLMCache() as cache:
        set_llm_cache(cache)
        yield cache
    set_llm_cache(before)


def model_of(**fields: Any) -> FakeListChatModel:
    return FakeListChatModel(responses=["one", "two", "three", "four"], **fields)


def text_of(model: Any, question: str = "?") -> str:
    return "".join(chunk.content for chunk in model.stream(question))


def methods() -> dict[str, object]:
    return {name: vars(BASE)[name] for name in NAMES}


def test_streams_ask_the_global_cache(global_cache: LLMCache) -> None:
    model = model_of()
    with accelerate(streams=True) as acceleration:
        assert acceleration.streams
        assert text_of(model) == text_of(model) == model.invoke("?").content == "one"

        async def astreamed() -> str:
            return "".join([str(chunk.content) async for chunk in model.astream("?")])

        assert asyncio.run(astreamed()) == "one"
    assert text_of(model) == "two"
    assert global_cache.stats().hits == 3
    assert model.cache is None


def test_a_hit_tells_its_tokens(global_cache: LLMCache) -> None:
    async def events(version: Any) -> list[str]:
        found = model_of().astream_events("?", version=version)
        return [event["event"] for event in [it async for it in found]]

    with accelerate(streams=True):
        cold = asyncio.run(events("v2"))
        assert cold.count("on_chat_model_stream") >= 3
        assert asyncio.run(events("v2")) == cold
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of some versions
            assert asyncio.run(events("v1")) == cold
    assert global_cache.stats().misses == 1


def test_only_holds_for_streams(global_cache: LLMCache) -> None:
    model = model_of()
    with accelerate(streams=True):
        assert text_of(model) == "one"
        with options(mode="only"):
            assert text_of(model) == "one"
            with pytest.raises(CacheMiss):
                text_of(model, "another")
    with options(mode="only"), pytest.raises(CacheMiss):
        text_of(model)


@pytest.mark.parametrize("cache", [False, InMemoryCache()], ids=["none", "another"])
def test_models_without_such_a_cache_are_left_alone(global_cache: LLMCache, cache: Any) -> None:
    model = model_of(cache=cache)
    with accelerate(streams=True):
        assert [text_of(model), text_of(model)] == ["one", "two"]
    assert global_cache.stats().misses == 0


def test_a_models_own_cache_goes_first(global_cache: LLMCache) -> None:
    with LLMCache() as own, accelerate(streams=True):
        model = model_of(cache=own)
        assert [text_of(model), text_of(model)] == ["one", "one"]
        assert own.stats().hits == 1
    assert global_cache.stats().misses == 0


def test_a_cached_model_is_asked_once(global_cache: LLMCache) -> None:
    with LLMCache() as own, accelerate(streams=True):
        model = cached(model_of(), own)
        assert [text_of(model), text_of(model), model.invoke("?").content] == ["one"] * 3
        assert (own.stats().hits, own.stats().misses) == (2, 1)
    assert global_cache.stats().misses == global_cache.stats().hits == 0


def test_the_last_undo_puts_everything_back() -> None:
    before = methods()
    first, second = accelerate(streams=True), accelerate(streams=True)
    assert methods() != before
    first.undo()
    first.undo()
    assert methods() != before
    second.undo()
    assert methods() == before


def test_a_method_that_another_program_has_wrapped_stays(
    global_cache: LLMCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of()
    acceleration = accelerate(streams=True)
    patched = BASE.stream

    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        return patched(self, *args, **kwargs)

    monkeypatch.setattr(BASE, "stream", wrapped)
    acceleration.undo()
    assert BASE.stream is wrapped
    assert [text_of(model), text_of(model)] == ["one", "two"]
    monkeypatch.undo()
    # (What it had replaced.)
    BASE.stream = patched.__wrapped__


@pytest.mark.parametrize("how", ["parameters", "behaviour"])
def test_another_langchain_is_left_alone(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "parameters":
        monkeypatch.setattr(BASE, "stream", lambda self, prompt: iter(()))
    else:
        monkeypatch.setattr(stream_patch, "_works", lambda: False)
    before = methods()
    with pytest.warns(RuntimeWarning, match="streams in another way"):
        acceleration = accelerate(streams=True)
    with acceleration:
        assert acceleration.active
        assert not acceleration.streams
        assert methods() == before

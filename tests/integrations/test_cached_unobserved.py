"""Calls that no handler observes take a short way: it asks and gives what the long one does."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_debug
from langchain_core.language_models import FakeListChatModel

from llmemo import CacheMiss, LLMCache, cached, options

if TYPE_CHECKING:
    from collections.abc import Iterator

managers: Any = importlib.import_module("langchain_core.callbacks.manager")


class Told(BaseCallbackHandler):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.runs = 0

    def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        self.runs += 1


def plain(**fields: Any) -> FakeListChatModel:
    return FakeListChatModel(responses=["one", "two", "three"], **fields)


async def astreamed(model: Any, config: Any = None) -> list[str]:
    return [chunk.content async for chunk in model.astream("?", config)]


def streamed(model: Any, config: Any = None) -> list[str]:
    return [chunk.content for chunk in model.stream("?", config)]


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that LangChain's callback managers begin."""
    found: list[str] = []
    for name in ("CallbackManager", "AsyncCallbackManager"):
        real = getattr(managers, name).on_chat_model_start

        def noted(self: Any, *args: Any, real: Any = real, kind: str = name, **kwargs: Any) -> Any:
            found.append(kind)
            return real(self, *args, **kwargs)

        monkeypatch.setattr(getattr(managers, name), "on_chat_model_start", noted)
    return found


def test_hits_and_streams_begin_no_run(starts: list[str]) -> None:
    with LLMCache() as cache:
        model = cached(plain(), cache)
        first = streamed(model)
        assert first == streamed(model) == asyncio.run(astreamed(model))
        assert model.invoke("?").content == "one"
        assert asyncio.run(model.ainvoke("?")).content == "one"
        assert starts == []
        assert (cache.stats().hits, cache.stats().misses) == (4, 1)
        model.invoke("another")
        assert starts == ["CallbackManager"]


def test_the_long_way_gives_the_same() -> None:
    handler = Told()
    with LLMCache() as cache, LLMCache() as other:
        short, long = cached(plain(), cache), cached(plain(), other)
        config = {"callbacks": [handler]}
        for number in range(2):
            assert streamed(short) == streamed(long, config)
            assert asyncio.run(astreamed(short)) == asyncio.run(astreamed(long, config))
            assert short.invoke("?").content == long.invoke("?", config).content == "one"  # type: ignore[arg-type]
            assert handler.runs == 3 * (number + 1)
        assert cache.stats() == other.stats()


@pytest.mark.parametrize("where", ["the call", "the model", "the chain"])
def test_every_handler_is_told(where: str) -> None:
    handler = Told()
    given = {"callbacks": [handler]}
    with LLMCache() as cache:
        model: Any = cached(plain(callbacks=[handler] if where == "the model" else None), cache)
        config = given if where == "the call" else None
        if where == "the chain":
            model, config = model | (lambda message: message), given
        for number in (1, 2):
            model.invoke("?", config)
            assert handler.runs == number


def test_a_global_setting_is_a_handler(capsys: pytest.CaptureFixture[str]) -> None:
    with LLMCache() as cache:
        model = cached(plain(), cache)
        set_debug(value=True)
        try:
            for _ in range(2):
                model.invoke("?")
                assert "Entering LLM run" in capsys.readouterr().out
        finally:
            set_debug(value=False)


def test_a_class_that_has_its_own_invoke_keeps_it() -> None:
    class Polite(FakeListChatModel):
        def invoke(self, *args: Any, **kwargs: Any) -> Any:
            answer = super().invoke(*args, **kwargs)
            return answer.model_copy(update={"content": f"{answer.content}, please"})

        def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
            yield from super().stream(*args, **kwargs)
            yield "the end"

    with LLMCache() as cache:
        model = cached(Polite(responses=["one", "two"]), cache)
        assert [model.invoke("?").content for _ in range(2)] == ["one, please"] * 2
        assert [list(model.stream("?"))[-1] for _ in range(2)] == ["the end"] * 2
        assert cache.stats().misses == 1


def test_only_holds_without_a_cache() -> None:
    model = cached(plain())
    with options(mode="only"):
        for read in (streamed, lambda it: asyncio.run(astreamed(it)), lambda it: it.invoke("?")):
            with pytest.raises(CacheMiss):
                read(model)


def test_a_recording_has_no_more_room_than_memory() -> None:
    with LLMCache(max_bytes=20_000) as cache:
        model = cached(FakeListChatModel(responses=["x" * 20_000, "two"]), cache)
        assert len(streamed(model)) >= 20_000
        assert cache.stats().skipped == {"too_large": 1}
        assert cache.stats().bytes < 20_000
        assert "".join(streamed(model)) == "two"

"""`on_event`: the user's function is told of each lookup, and cannot harm the call."""

from __future__ import annotations

import asyncio
import functools
import gc
import pickle
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import FakeListLLM
from support.counting_model import CountingModel
from support.doubles import answer

from llmemo import CacheMiss, ConfigurationError, LLMCache, LookupEvent, cached, options, track

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

heard: list[LookupEvent] = []


def hear(event: LookupEvent) -> None:
    """As a function of a module, which pickles."""
    heard.append(event)


def test_each_lookup_is_told_as_to_a_tracker(tmp_path: Path) -> None:
    events: list[LookupEvent] = []
    with LLMCache(tmp_path / "cache.db", on_event=events.append) as cache, track() as tracker:
        model = CountingModel(cache=cache)
        model.invoke("1")
        model.invoke("1")
        asyncio.run(model.ainvoke("1"))
        with options(mode="refresh"):
            model.invoke("1")
        with options(mode="bypass"):
            model.invoke("1")
    told = [(event.outcome, event.tier, event.reason) for event in events]
    assert told == [
        ("miss", None, "absent"),
        ("hit", "memory", None),
        ("hit", "memory", None),
        ("miss", None, "refresh"),
        ("bypass", None, "requested"),
    ]
    assert events == tracker.events
    assert len({event.key for event in events[:4]}) == 1


def test_direct_lookups_completions_and_cached_models_are_told() -> None:
    events: list[LookupEvent] = []
    cache = LLMCache(on_event=events.append)
    cache.update("?", "model", answer("4"))
    assert cache.lookup("?", "model") is not None
    FakeListLLM(responses=["a", "b"], cache=cache).generate(["1", "1"])
    model = cached(CountingModel(), cache)
    model.invoke("2")
    model.invoke("2")
    outcomes = [event.outcome for event in events]
    assert outcomes == ["hit", "miss", "miss", "miss", "hit"]
    assert cache.stats().hits == 2


def test_it_is_called_in_the_thread_of_the_caller(tmp_path: Path) -> None:
    threads: list[int] = []
    with LLMCache(
        tmp_path / "cache.db", on_event=lambda _: threads.append(threading.get_ident())
    ) as cache:
        cache.lookup("?", "model")
        asyncio.run(cache.alookup("?", "model"))
    assert threads == [threading.get_ident()] * 2


def test_what_it_raises_is_counted_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: LookupEvent) -> None:
        raise ValueError("the prompt")

    cache = LLMCache(on_event=fail)
    model = CountingModel(cache=cache)
    texts = [model.invoke("?").text for _ in range(3)]
    assert texts == ["answer 1"] * 3
    assert cache.stats().errors == {"on_event": 3}
    assert [record.getMessage() for record in caplog.records if record.name == "llmemo"] == [
        "llmemo: on_event has raised an error (ValueError)"
    ]


class SoftLimitError(Exception):
    pass


@pytest.mark.parametrize("outcome", ["miss", "hit"])
def test_what_a_signal_handler_raises_meanwhile_reaches_the_caller(outcome: str) -> None:
    def interrupt(event: LookupEvent) -> None:
        if event.outcome == outcome and not interrupted:
            interrupted.append(event)
            signal.raise_signal(signal.SIGALRM)

    def handler(number: int, frame: Any) -> None:
        raise SoftLimitError

    interrupted: list[LookupEvent] = []
    cache = LLMCache(on_event=interrupt)
    model = CountingModel(cache=cache)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        if outcome == "hit":
            model.invoke("?")
        with pytest.raises(SoftLimitError):
            model.invoke("?")
    finally:
        signal.signal(signal.SIGALRM, before)
    # Nobody waits for the caller that was interrupted.
    assert model.invoke("?").text == "answer 1"
    assert cache.stats().errors == {}


def test_a_miss_that_must_not_be_is_told_before_it_is_raised() -> None:
    events: list[LookupEvent] = []
    cache = LLMCache(on_event=events.append)
    with options(mode="only"), pytest.raises(CacheMiss):
        CountingModel(cache=cache).invoke("?")
    assert [event.outcome for event in events] == ["miss"]


def test_it_goes_along_in_a_pickle_like_any_function() -> None:
    heard.clear()
    cache = LLMCache(on_event=hear)
    data = pickle.dumps(cache)
    assert pickle.loads(data) is cache
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(LLMCache(on_event=lambda event: None))


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"on_event='x'.*LookupEvent"):
        LLMCache(on_event="x")  # type: ignore[arg-type]


class Later:
    async def __call__(self, event: LookupEvent) -> None:
        """Of an object that is called."""

    async def tell(self, event: LookupEvent) -> None:
        """Of an object."""

    async def each(self, event: LookupEvent) -> AsyncIterator[int]:
        """With `yield`."""
        yield 1


@pytest.mark.parametrize(
    "wrong", [Later(), Later().tell, Later().each, functools.partial(Later.tell, Later())]
)
def test_what_nothing_would_await_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="nothing would await it: give a function"):
        LLMCache(on_event=wrong)


def test_a_coroutine_that_is_returned_is_counted_and_leaves_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    later = Later()
    cache = LLMCache(on_event=lambda event: later.tell(event))  # noqa: PLW0108 (seen as async)
    assert cache.lookup("?", "model") is None
    gc.collect()  # pytest makes an error of "was never awaited"
    assert cache.stats().errors == {"on_event": 1}
    assert "nothing awaits" in caplog.text


def test_a_task_runs_by_itself() -> None:
    heard: list[LookupEvent] = []

    async def hear_later(event: LookupEvent) -> None:
        heard.append(event)

    async def ask() -> None:
        tasks: list[asyncio.Task[None]] = []

        def begin(event: LookupEvent) -> asyncio.Task[None]:
            tasks.append(asyncio.create_task(hear_later(event)))
            return tasks[-1]

        cache = LLMCache(on_event=begin)
        await cache.alookup("?", "model")
        await asyncio.gather(*tasks)
        assert cache.stats().errors == {}

    asyncio.run(ask())
    assert len(heard) == 1

"""`on_event`: the user's function is told of each lookup, and cannot harm the call."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gc
import json
import pickle
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import FakeListLLM
from pydantic import TypeAdapter
from support.counting_model import CountingModel
from support.doubles import answer

from llmemo import CacheMiss, ConfigurationError, LLMCache, LookupEvent, cached, options, track
from llmemo.pipeline.looked_up import LONGEST

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


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("is_async", [False, True])
def test_its_own_cancellation_does_not_end_the_call(
    error: type[BaseException], is_async: bool
) -> None:
    def fail(_: LookupEvent) -> None:
        raise error

    cache = LLMCache(on_event=fail)
    model = CountingModel(cache=cache)
    for _ in range(2):
        said = asyncio.run(model.ainvoke("?")) if is_async else model.invoke("?")
        assert said.text == "answer 1"
    assert cache.stats().errors == {"on_event": 2}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_ends_it(error: type[BaseException]) -> None:
    def fail(_: LookupEvent) -> None:
        raise error

    cache = LLMCache(on_event=fail)
    with pytest.raises(error):
        CountingModel(cache=cache).invoke("?")
    assert cache.stats().errors == {}


def test_a_task_that_is_cancelled_meanwhile_is_cancelled() -> None:
    async def ask() -> None:
        task = asyncio.current_task()
        assert task is not None
        cache = LLMCache(on_event=lambda _: task.cancel())
        await CountingModel(cache=cache).ainvoke("?")
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(ask())


def test_the_fields_of_an_event_have_no_prompt() -> None:
    lines: list[str] = []
    cache = LLMCache(on_event=lambda event: lines.append(json.dumps(dataclasses.asdict(event))))
    model = CountingModel(cache=cache)
    with track() as tracker:
        for _ in range(2):
            model.invoke("secret")
    assert cache.stats().errors == {}
    assert [json.loads(line)["outcome"] for line in lines] == ["miss", "hit"]
    assert "secret" not in "".join(lines)
    adapter = TypeAdapter(LookupEvent)
    assert [adapter.validate_json(adapter.dump_json(it)) for it in tracker.events] == tracker.events
    assert b"secret" not in adapter.dump_json(tracker.events[0])


def test_events_keep_no_long_texts() -> None:
    events: list[LookupEvent] = []
    cache = LLMCache(on_event=events.append)
    model = CountingModel(cache=cache)
    for text in ("short", "x" * LONGEST):
        for _ in range(2):
            model.invoke(text)
    kept: list[Any] = [pickle.dumps(event._explainer.request) for event in events]  # type: ignore[attr-defined]
    assert [b"short" in data for data in kept] == [True, False, False, False]
    assert max(map(len, kept)) < LONGEST
    short, _, long, hit = [event.explain() for event in events]
    assert "32 Ki characters" in long.reason
    assert (short.outcome, long.outcome, hit.outcome) == ("miss", "miss", "hit")
    assert "32 Ki" not in short.reason + hit.reason


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

"""Tracers of other versions, and broken ones: counted, said once, and no call fails."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.tracers import BaseTracer
from langchain_core.tracers.base import AsyncBaseTracer
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from support.counting_model import CountingModel
from support.streaming_models import Streams

from llmemo import LLMCache, LookupEvent, cached
from llmemo import cache as cache_module
from llmemo.langchain import traced_runs
from llmemo.langchain.trace_marks import TRACERS, Tracing
from llmemo.telemetry.event_facts import facts_of, tags_of
from llmemo.telemetry.stats import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# Of langchain-core 1.0 itself, on a newer Pydantic.
pytestmark = pytest.mark.filterwarnings("ignore:The .* method is deprecated")


class Broken(BaseTracer):
    """Its runs cannot be had at the time of a lookup."""

    broken = True
    ended = 0

    @property
    def run_map(self) -> Any:
        if sys._getframe(1).f_code.co_name == "_mark_run":
            raise OSError("the prompt")
        return self.__dict__["run_map"]

    @run_map.setter
    def run_map(self, runs: Any) -> None:
        self.__dict__["run_map"] = runs

    def _persist_run(self, run: Any) -> None:
        self.ended += 1


class Plain(BaseCallbackHandler):
    """Traces nothing."""

    def __init__(self) -> None:
        self.ended = 0

    def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
        self.ended += 1


class Odd(Plain):
    """Answers to everything with an error."""

    def __getattr__(self, name: str) -> Any:
        raise OSError(name)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_tracer_that_raises_is_counted_and_the_answer_comes(
    caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    cache, tracer = LLMCache(), Broken()
    model = CountingModel(cache=cache)
    config: Any = {"callbacks": [tracer]}
    for _ in range(3):
        asked: Any = model.ainvoke("?", config) if is_async else None
        said = asyncio.run(asked) if is_async else model.invoke("?", config)
        assert said.text == "answer 1"
    assert tracer.ended == 3
    assert cache.stats().errors == {"trace": 3}
    assert [record.getMessage() for record in caplog.records if record.name == "llmemo"] == [
        "llmemo: a tracer could not be told of a lookup (Broken: OSError)"
    ]


@pytest.mark.parametrize("kind", [Plain, Odd])
def test_a_handler_that_traces_nothing_leaves_hits_as_fast_as_they_are(kind: Any) -> None:
    cache, handler = LLMCache(), kind()
    model = CountingModel(cache=cache)
    for _ in range(3):
        model.invoke("?", {"callbacks": [handler]})
    assert kind in traced_runs.quiet
    assert handler.ended == 3
    assert (cache.stats().hits, cache.stats().errors) == (2, {})


@pytest.mark.parametrize("handlers", [[], [Plain()]])
def test_a_hit_that_nothing_traces_is_answered_at_first_sight(
    monkeypatch: pytest.MonkeyPatch, handlers: list[Any]
) -> None:
    model = CountingModel(cache=LLMCache())
    config: Any = {"callbacks": handlers}
    for _ in range(2):
        model.invoke("?", config)
    looked: list[object] = []
    monkeypatch.setattr(cache_module, "fetch", lambda *args, **kwargs: looked.append(args))
    assert model.invoke("?", config).text == "answer 1"
    assert asyncio.run(model.ainvoke("?", config)).text == "answer 1"
    assert looked == []
    tracer = Collects()
    model.invoke("?", {"callbacks": [*handlers, tracer]})
    assert len(looked) == 1


def test_classes_made_for_each_request_do_not_add_up() -> None:
    before = set(traced_runs.quiet)
    cache = LLMCache()
    model = CountingModel(cache=cache)
    made: list[weakref.ref[Any]] = []

    def handler(number: int) -> BaseCallbackHandler:
        class Made(Plain):
            def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
                assert number >= 0

        made.append(weakref.ref(Made))
        return Made()

    for number in range(10):
        model.invoke("?", {"callbacks": [handler(number)]})
    assert traced_runs.quiet == before
    assert cache.stats().hits == 9
    gc.collect()
    assert [reference() for reference in made] == [None] * 10


def test_a_class_that_its_module_replaces_again_and_again_does_not_add_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = set(traced_runs.quiet)
    model = CountingModel(cache=LLMCache())
    try:
        for _ in range(traced_runs.QUIET_MAX + 10):
            made: Any = type("Made", (Plain,), {"__module__": __name__})
            monkeypatch.setattr(sys.modules[__name__], "Made", made, raising=False)
            model.invoke("?", {"callbacks": [made()]})
        assert len(traced_runs.quiet) == traced_runs.QUIET_MAX
    finally:
        traced_runs.quiet.intersection_update(before)


class Collects(BaseTracer):
    """A tracer of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Any] = []

    def _persist_run(self, run: Any) -> None:
        self.runs.append(run)


class AsyncCollects(AsyncBaseTracer):
    """The same, for tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Any] = []

    async def _persist_run(self, run: Any) -> None:
        self.runs.append(run)


@pytest.mark.parametrize("kind", [Collects, AsyncCollects])
def test_any_tracer_of_langchains_kind_is_told_and_sees_the_answer_as_it_is(kind: Any) -> None:
    model = CountingModel(cache=LLMCache())

    async def ask() -> Any:
        tracer = kind()
        config: Any = {"callbacks": [tracer], "tags": ["mine"], "metadata": {"own": 1}}
        answer = await model.ainvoke("?", config)
        (run,) = tracer.runs
        return run, answer

    miss, _ = asyncio.run(ask())
    hit, answer = asyncio.run(ask())
    assert miss.tags == ["mine", "llmemo:miss"]
    assert hit.tags == ["mine", "llmemo:hit"]
    assert hit.extra["metadata"]["llmemo_hit"] is True
    assert hit.extra["metadata"]["own"] == 1
    told = hit.outputs["generations"][0][0]["message"]["kwargs"]
    assert told["usage_metadata"] == answer.usage_metadata


@pytest.fixture
def exporting() -> Iterator[type[Collects]]:
    """A tracer that sends usage somewhere."""

    class Sends(Collects):
        # Told in the task: callers come one after the other, however busy the machine is.
        run_inline = True

    name = (Sends.__module__, Sends.__name__)
    TRACERS[name] = Tracing(TRACERS["langchain_core.tracers.core", "_TracerCore"].mark, {"a": 0})
    yield Sends
    del TRACERS[name]


def test_an_async_tracer_is_told_another_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    core = TRACERS["langchain_core.tracers.core", "_TracerCore"]
    name = (AsyncCollects.__module__, AsyncCollects.__name__)
    monkeypatch.setitem(TRACERS, name, core._replace(usage={"a": 0}))
    model = CountingModel(cache=LLMCache())

    async def ask() -> Any:
        tracer = AsyncCollects()
        await model.ainvoke("?", {"callbacks": [tracer]})
        (run,) = tracer.runs
        return run.outputs["generations"][0][0]["message"]["kwargs"].get("usage_metadata")

    assert [asyncio.run(ask()) for _ in range(2)] == [None, {"a": 0}]


def test_runs_of_one_call_are_told_apart(exporting: Callable[[], Any]) -> None:
    """They share their list of handlers."""
    model = CountingModel(cache=LLMCache())
    model.invoke("1")
    tracer = exporting()
    inputs = [model._convert_input(text) for text in ("1", "2", "1")]
    model.generate_prompt(inputs, callbacks=[tracer])
    said = [
        (
            run.extra["metadata"]["llmemo_hit"],
            run.outputs["generations"][0][0]["message"]["kwargs"].get("usage_metadata"),
        )
        for run in tracer.runs
    ]
    assert said == [(True, {"a": 0}), (False, None), (True, {"a": 0})]


def test_a_response_of_an_unknown_shape_goes_through_as_it_is(exporting: Callable[[], Any]) -> None:
    tracer, tally = exporting(), Tally()
    ended: list[object] = []

    def on_llm_end(response: object, **run: Any) -> None:
        ended.append(response)

    tracer.on_llm_end = on_llm_end
    manager = SimpleNamespace(run_id=None, handlers=[tracer])
    traced = traced_runs.traced_run(manager)
    assert traced is not None
    traced.tell(LookupEvent("hit", "memory"), tally)
    handler: Any = manager.handlers[0]
    assert isinstance(handler, Collects)
    strange: Any = object()
    on_end: Any = handler.on_llm_end
    on_end(strange, run_id=1)
    assert ended == [strange]
    assert tally.snapshot()[2]["errors"] == {"trace": 1}


def test_a_run_that_misses_after_a_hit_is_a_call(exporting: Callable[[], Any]) -> None:
    """As where a cache of the user's does not take what this one had."""
    cache = LLMCache()

    class Second(LLMCache):
        def lookup(self, prompt: str, llm_string: str) -> Any:
            cache.lookup(prompt, llm_string)
            return super().lookup(prompt, llm_string)

        def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
            cache.update(prompt, llm_string, return_val)

    model = CountingModel(cache=Second())
    tracer = exporting()
    for _ in range(2):
        model.invoke("?", {"callbacks": [tracer]})
    run = tracer.runs[-1]
    assert run.tags == ["llmemo:miss"]
    assert run.extra["metadata"]["llmemo_hit"] is False
    assert "llmemo_tier" not in run.extra["metadata"]
    message = run.outputs["generations"][0][0]["message"]["kwargs"]
    assert message.get("usage_metadata") != {"a": 0}


class Slow(CountingModel):
    """Others have asked the same before it answers."""

    async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
        for _ in range(50):
            await asyncio.sleep(0)
        return self._generate(*args)


def test_callers_that_wait_for_another_are_told_of_hits(exporting: Callable[[], Any]) -> None:
    model = Slow(cache=LLMCache())
    streaming = cached(Streams(), LLMCache())

    async def read(tracer: Any) -> str:
        chunks = streaming.astream("?", {"callbacks": [tracer]})
        return "".join([chunk.text async for chunk in chunks])

    async def all_of_them(ask: Callable[[Any], Any]) -> list[Any]:
        tracers = [exporting() for _ in range(3)]
        await asyncio.gather(*map(ask, tracers))
        return [run for tracer in tracers for run in tracer.runs]

    ways: list[Callable[[Any], Any]] = [
        lambda tracer: model.ainvoke("?", {"callbacks": [tracer]}),
        read,
    ]
    for ask in ways:
        runs = asyncio.run(all_of_them(ask))
        facts = [run.extra["metadata"] for run in runs]
        assert [it.get("llmemo_tier") for it in facts] == [None, "flight", "flight"]
        messages = [run.outputs["generations"][0][0]["message"]["kwargs"] for run in runs]
        assert [it.get("usage_metadata") for it in messages] == [None, {"a": 0}, {"a": 0}]


def test_collected_runs_show_hits() -> None:
    model = CountingModel(cache=LLMCache())
    model.invoke("?")
    collector = RunCollectorCallbackHandler()
    model.invoke("?", {"callbacks": [collector]})
    assert collector.traced_runs[0].tags == ["llmemo:hit"]


class Awaits(AsyncCallbackHandler):
    """No tracer, and async."""


def test_async_handlers_that_trace_nothing() -> None:
    model = CountingModel(cache=LLMCache())
    for _ in range(2):
        assert asyncio.run(model.ainvoke("?", {"callbacks": [Awaits()]})).text == "answer 1"
    assert Awaits in traced_runs.quiet


def test_tags_of_hits_that_are_not_like_others() -> None:
    assert tags_of(LookupEvent("hit", "memory", is_stale=True)) == ["llmemo:hit", "llmemo:stale"]
    assert tags_of(LookupEvent("semantic", "store")) == ["llmemo:hit", "llmemo:semantic"]
    facts = facts_of(LookupEvent("semantic", "store", 1.23456, "ab", True, score=0.9))
    assert facts == {
        "hit": True,
        "outcome": "semantic",
        "tier": "store",
        "age": 1.235,
        "key": "ab",
        "stale": True,
        "score": 0.9,
    }


def test_an_expired_answer_after_a_failure_is_told_as_stale() -> None:
    now, failing = [0.0], list[int]()
    cache = LLMCache(ttl=10, stale_if_error=100, clock=lambda: now[0])

    class Fails(CountingModel):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            if failing:
                raise OSError
            return super()._generate(*args, **kwargs)

    model = Fails(cache=cache)
    model.invoke("?")
    now[0] = 20.0
    failing.append(1)
    with pytest.raises(OSError):  # noqa: PT011 (it has no text)
        model.invoke("?")
    tracer = Collects()
    assert model.invoke("?", {"callbacks": [tracer]}).text == "answer 1"
    (run,) = tracer.runs
    assert run.tags == ["llmemo:hit", "llmemo:stale"]
    assert run.extra["metadata"]["llmemo_age"] == 20

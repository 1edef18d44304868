"""What LangChain makes of a cached model does what it does of the plain one, cold and warm."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("langchain_openai")

from langchain.chat_models import init_chat_model
from langchain_core.messages import HumanMessage
from langchain_core.runnables import ConfigurableField
from pydantic import BaseModel
from support import cached_calls as calls
from support.cached_calls import CLIENTS
from support.stream_server import Ask, StreamServer, Turn, turn_of

from llmemo import LLMCache, cached

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Wrap = Callable[[Any], Any]
    Made = Callable[..., Any]

pytestmark = [pytest.mark.clients]

QUESTION = "Report the weather, in JSON."


class Report(BaseModel):
    """A report."""

    city: str
    degrees: float = 1.0


SCHEMA = {**Report.model_json_schema(), "title": "Report"}
SAID = {"city": "Oslo", "degrees": 2.5}
FIELD = ConfigurableField(id="warmth")


def in_json(ask: Ask) -> Turn:
    """By the tool there is, or as JSON where that is wanted."""
    if ask.tools:
        return Turn(calls=((ask.tools[0], SAID),))
    wants = {"response_format", "output_config", "output_format", "text"}
    return Turn(json.dumps(SAID)) if wants & ask.body.keys() else turn_of(ask)


def _structured(method: str, *, include_raw: bool = False) -> Made:
    return lambda make, wrap: wrap(make()).with_structured_output(
        Report, method=method, include_raw=include_raw
    )


def _alternatives(make: Made, wrap: Wrap) -> Any:
    other = wrap(make(temperature=0.7))
    return wrap(make()).configurable_alternatives(FIELD, default_key="plain", warm=other)


def _initialised(make: Made, **options: Any) -> Any:
    plain = make()
    kind = type(plain).__name__
    provider = "anthropic" if kind == "ChatAnthropic" else "openai"
    url = plain.anthropic_api_url if provider == "anthropic" else plain.openai_api_base
    fixed = {"base_url": url, "api_key": "unused", "max_retries": 0, "temperature": 0.1}
    if getattr(plain, "use_responses_api", None):
        fixed["use_responses_api"] = True
    return init_chat_model("some-model", model_provider=provider, **fixed, **options)


ROWS: dict[str, Made] = {
    "bind_tools": lambda make, wrap: wrap(make()).bind_tools([calls.weather]),
    "bound before": lambda make, wrap: wrap(make().bind_tools([calls.weather])),
    "function_calling": _structured("function_calling"),
    "json_mode": _structured("json_mode"),
    "json_schema": _structured("json_schema"),
    "json_schema raw": _structured("json_schema", include_raw=True),
    "a schema": lambda make, wrap: wrap(make()).with_structured_output(SCHEMA),
    "with_retry": lambda make, wrap: wrap(make()).with_retry(),
    "with_fallbacks": lambda make, wrap: wrap(make()).with_fallbacks([wrap(make(temperature=1))]),
    "configurable_fields": lambda make, wrap: (
        wrap(make())
        .configurable_fields(temperature=FIELD)
        .with_config(configurable={"warmth": 0.3})
    ),
    "first alternative": _alternatives,
    "other alternative": lambda make, wrap: _alternatives(make, wrap).with_config(
        configurable={"warmth": "warm"}
    ),
    "stop": lambda make, wrap: wrap(make()).bind(stop=["end"]),
    "no streams": lambda make, wrap: wrap(make(disable_streaming=True)),
    "no streams with tools": lambda make, wrap: wrap(
        make(disable_streaming="tool_calling")
    ).bind_tools([calls.weather]),
    "init_chat_model": lambda make, wrap: wrap(_initialised(make)),
    "init_chat_model, a field": lambda make, wrap: wrap(
        _initialised(make, configurable_fields=("temperature",))
    ).with_config(configurable={"temperature": 0.4}),
    "init_chat_model, any field": lambda make, wrap: wrap(
        _initialised(make, configurable_fields="any", config_prefix="my")
    ).bind_tools([calls.weather]),
    "init_chat_model, structured": lambda make, wrap: wrap(
        _initialised(make, configurable_fields="any")
    ).with_structured_output(Report),
    "init_chat_model, structured before": lambda make, wrap: wrap(
        _initialised(make, configurable_fields="any").with_structured_output(Report)
    ),
}


@pytest.fixture
def server(server: StreamServer) -> StreamServer:
    server.turn = in_json
    return server


def compare(row: str, client: str, paths: list[str], server: StreamServer) -> None:
    """Each path of a row: uncached, cold, and warm twice."""

    def make(**options: Any) -> Any:
        return CLIENTS[client](server.url, **options)

    plain = ROWS[row](make, lambda model: model)
    for path in paths:
        with LLMCache() as cache:
            model = ROWS[row](make, lambda model, to=cache: cached(model, to))
            expected = calls.told(path, plain, QUESTION)
            server.bodies.clear()
            for _ in range(2):
                assert calls.told(path, model, QUESTION) == expected, path
            assert calls.run(path, model, QUESTION) == expected[0], path
            assert server.requests == 1, path
            stats = cache.stats()
        assert (stats.hits, stats.misses, stats.updates) == (2, 1, 1), path
        assert (stats.skipped, stats.bypassed, stats.errors) == ({}, {}, {})


@pytest.mark.parametrize("row", ROWS)
def test_openai(row: str, server: StreamServer) -> None:
    compare(row, "openai", ["invoke", *([] if "raw" in row else ["astream"])], server)


# LangChain runs the branches of a parallel in any order, and passes on what they say so.
@pytest.mark.parametrize("row", [row for row in ROWS if "raw" not in row])
def test_openai_events(row: str, server: StreamServer) -> None:
    compare(row, "openai", ["v2"], server)


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("client", ["responses", "anthropic"])
def test_other_clients(row: str, client: str, server: StreamServer) -> None:
    if (row, client) == ("json_mode", "anthropic"):
        pytest.skip("it has no such mode")
    compare(row, client, ["ainvoke", *([] if "raw" in row else ["stream"])], server)


def test_a_field_that_is_chosen_is_another_question(server: StreamServer) -> None:
    def make(**options: Any) -> Any:
        return CLIENTS["openai"](server.url, **options)

    with LLMCache() as one, LLMCache() as other:
        models = [
            cached(make(), one).configurable_fields(temperature=FIELD),
            cached(_initialised(make, configurable_fields=("temperature",)), other),
        ]
        for model, name in zip(models, ("warmth", "temperature"), strict=True):
            server.bodies.clear()
            for degrees in (0.2, 0.9, 0.2):
                model.invoke("Why?", {"configurable": {name: degrees}})
                list(model.stream("Why?", {"configurable": {name: degrees}}))
            assert [body["temperature"] for body in server.bodies] == [0.2, 0.9]


def test_several_answers_to_one_question(server: StreamServer) -> None:
    plain = CLIENTS["openai"](server.url, n=2)
    with LLMCache() as cache:
        model = cached(plain, cache)
        expected = calls.comparable(plain.generate([[HumanMessage("Why?")]]).generations)
        server.bodies.clear()
        for _ in range(3):
            got = calls.comparable(model.generate([[HumanMessage("Why?")]]).generations)
            assert got == expected
            assert len(got[0]) == 2
        assert server.requests == 1


def test_the_fallback_answers_and_is_kept(server: StreamServer) -> None:
    def broken(ask: Ask) -> Turn:
        return Turn("Fine.", fails_at=1 if ask.body.get("temperature") == 0 else None)

    server.turn = broken

    def make(temperature: float) -> Any:
        return CLIENTS["openai"](server.url, temperature=temperature)

    with LLMCache() as cache:
        model = cached(make(0), cache).with_fallbacks([cached(make(1), cache)])
        for asked in (2, 3, 4):
            assert model.invoke("Why?").text == "Fine."
            assert server.requests == asked  # the first one is asked each time
        assert (cache.stats().updates, cache.stats().hits) == (1, 2)


def test_a_retry_asks_again(server: StreamServer) -> None:
    answers = iter([Turn("A", fails_at=0), Turn("B", fails_at=2), Turn("C"), Turn("D")])
    server.turn = lambda ask: next(answers)
    with LLMCache() as cache:
        model = cached(CLIENTS["openai"](server.url), cache)
        again = model.with_retry(wait_exponential_jitter=False)
        assert again.invoke("Why?").text == again.invoke("Why?").text
        assert server.requests == 3
        assert (cache.stats().updates, cache.stats().hits) == (1, 1)


def test_a_second_cache_reads_structured_chunks(server: StreamServer, tmp_path: Path) -> None:
    file = tmp_path / "cache.db"
    told = []
    for _ in range(2):
        with LLMCache(file) as cache:
            model = cached(CLIENTS["openai"](server.url), cache)
            told.append(calls.run("stream", model.with_structured_output(Report), QUESTION))
            assert cache.stats().skipped == cache.stats().errors == {}
    assert told[0] == told[1]
    assert told[0][-1] == {"class": "Report", **SAID}
    assert server.requests == 1

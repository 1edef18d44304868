"""Near matches of real clients over a socket, of cached models, streams, agents, and parsers."""

from __future__ import annotations

import asyncio
import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("langchain_openai")

from langchain.agents import create_agent
from langchain_core.exceptions import OutputParserException
from langchain_core.globals import set_llm_cache
from pydantic import BaseModel
from support import cached_calls as calls
from support.attempts import PARSER, Person, again, chat
from support.cached_calls import CLIENTS, PATHS, finish
from support.near import certify, keep, look, near_cache, told, topic_of, wording
from support.scripted import Scripted
from support.stream_server import Ask, StreamServer, Turn

from llmemo import cached

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmemo import LLMCache

every_client = pytest.mark.parametrize("client", CLIENTS)

client_tests = pytest.mark.clients


def about(ask: Ask) -> Turn:
    return Turn(f"This is all about {topic_of(ask.text)}.")


@pytest.fixture
def server(server: StreamServer) -> StreamServer:
    server.turn = about
    return server


@pytest.fixture(autouse=True)
def no_betas() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(params=["memory", "store"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LLMCache]:
    where = tmp_path / "cache.db" if request.param == "store" else None
    with near_cache(where) as cache:
        yield cache


def text_of(result: Any) -> str:
    """The text of what a path of a model returns: a message, or chunks, maybe as `comparable`."""
    if not isinstance(result, list):
        return str(result.text)
    return "".join(_text(it["content"]) if isinstance(it, dict) else it.text for it in result)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content)


def rehearse(model: Any, server: StreamServer) -> None:
    """Certify near matches of a model, by four calls; the provider is then asked nothing yet."""
    for number in range(4):
        model.invoke(wording(number, "rehearsals"))
    server.reset()
    server.turn = about


@client_tests
@every_client
def test_a_warm_paraphrase_sends_no_request(
    server: StreamServer, cache: LLMCache, client: str
) -> None:
    model = CLIENTS[client](server.url)
    set_llm_cache(cache)
    try:
        rehearse(model, server)
        first = model.invoke(wording(0, "tides"))
        assert server.requests == 1
        found = [model.invoke(wording(1, "tides")), asyncio.run(model.ainvoke(wording(2, "tides")))]
        assert server.requests == 1
    finally:
        set_llm_cache(None)
    assert {it.text for it in found} == {"This is all about tides."}
    assert told(cache).hits == 2
    # Each is a message of its own, and says what the first one cost.
    assert len({it.id for it in [first, *found]}) == 3
    assert all(it.usage_metadata is not None for it in found)
    assert [it.usage_metadata["output_tokens"] for it in found] == [
        first.usage_metadata["output_tokens"]
    ] * 2


@client_tests
@every_client
@pytest.mark.parametrize("path", PATHS)
def test_a_paraphrase_is_served_on_every_path_of_a_cached_model(
    server: StreamServer, client: str, path: str
) -> None:
    with near_cache() as cache:
        model = cached(CLIENTS[client](server.url), cache)
        rehearse(model, server)
        first = model.invoke(wording(0, "tides"))
        assert server.requests == 1
        result = finish(PATHS[path](model, wording(1, "tides"), None))
        assert server.requests == 1
        assert told(cache).hits == 1
        assert first.text == "This is all about tides."
        if path in {"invoke", "ainvoke", "batch", "abatch", "stream", "astream"}:
            assert text_of(result) == first.text
        else:
            assert "tides." in str(result)


@client_tests
@every_client
@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_stream_is_learned_from_and_served_to_other_calls(
    server: StreamServer, client: str, way: str
) -> None:
    options = {"stream_usage": True} if client == "openai" else {}
    with near_cache() as cache:
        model = cached(CLIENTS[client](server.url, **options), cache)
        rehearse(model, server)
        finish(PATHS[way](model, wording(0, "tides"), None))
        assert server.requests == 1
        again = finish(PATHS[way](model, wording(1, "tides"), None))
        assert server.requests == 1
        assert text_of(again) == "This is all about tides."


@client_tests
def test_an_answer_that_only_streams_may_have_is_no_neighbour(server: StreamServer) -> None:
    with near_cache() as cache:
        model = cached(CLIENTS["openai"](server.url, stream_usage=False), cache)
        rehearse(model, server)
        list(model.stream(wording(0, "tides")))
        assert server.requests == 1
        # It lacks the usage that a call without a stream is told.
        message = model.invoke(wording(1, "tides"))
        assert server.requests == 2
        assert message.usage_metadata is not None


class Fact(BaseModel):
    """What a question is about."""

    topic: str


@client_tests
@pytest.mark.parametrize("client", ["openai", "responses"])
def test_answers_by_a_schema_are_near_matches(server: StreamServer, client: str) -> None:
    """They are their text, and its object beside it."""

    def fact(ask: Ask) -> Turn:
        return Turn(json.dumps({"topic": topic_of(ask.text)}))

    with near_cache() as cache:
        model = cached(CLIENTS[client](server.url), cache)
        asks = model.with_structured_output(Fact, method="json_schema")
        server.turn = fact
        rehearsals = [asks.invoke(wording(number, "rehearsals")) for number in range(4)]
        assert rehearsals == [Fact(topic="rehearsals")] * 4
        assert told(cache).threshold is not None
        assert asks.invoke(wording(0, "tides")) == Fact(topic="tides")
        asked = server.requests
        assert asks.invoke(wording(1, "tides")) == Fact(topic="tides")
        assert server.requests == asked


def using_tools(ask: Ask) -> Turn:
    if "weather" in ask.tools and not ask.results and "tides" in ask.text:
        return Turn("Let me see.", calls=(("weather", {"city": "Oslo"}),))
    return Turn(f"This is all about {topic_of(ask.text)}. {' '.join(ask.results)}".strip())


@client_tests
@every_client
def test_an_agent_is_served_texts_and_no_tool_calls(
    server: StreamServer, cache: LLMCache, client: str
) -> None:
    server.turn = using_tools
    model = cached(CLIENTS[client](server.url), cache)
    agent = create_agent(model, [calls.weather])

    def run(text: str) -> str:
        return str(agent.invoke({"messages": [("user", text)]})["messages"][-1].text)

    for number in range(4):
        run(wording(number, "rehearsals"))
    assert told(cache).threshold is not None
    asked = server.requests
    assert run(wording(5, "rehearsals")) == "This is all about rehearsals."
    assert server.requests == asked
    hits = told(cache).hits
    for number in range(3):
        assert run(wording(number, "tides")) == "This is all about tides. rain in Oslo"
    assert server.requests == asked + 6
    assert told(cache).hits == hits


@client_tests
def test_agents_with_other_tools_share_nothing(server: StreamServer) -> None:
    with near_cache() as cache:
        model = cached(CLIENTS["openai"](server.url), cache)
        server.turn = about
        agents = [create_agent(model, tools) for tools in ([calls.weather], [calls.clock])]
        for number in range(5):
            agents[0].invoke({"messages": [("user", wording(number, "tides"))]})
        assert told(cache).hits == 1
        agents[1].invoke({"messages": [("user", wording(6, "tides"))]})
        assert told(cache).hits == 1


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("is_retried", [False, True])
def test_a_near_match_that_a_parser_refuses_is_not_served_again(
    cache: LLMCache, *, is_async: bool, is_retried: bool
) -> None:
    model = chat(cache, "no number", "no number", "no number", "no number", '{"age": 7}')
    for number in range(4):
        model.invoke(wording(number, "tides"))
    assert told(cache).threshold is not None
    model.asked.clear()
    chain = again(model | PARSER) if is_retried else model | PARSER

    def run(text: str) -> Any:
        return asyncio.run(chain.ainvoke(text)) if is_async else chain.invoke(text)

    if is_retried:
        # One neighbour after the other is refused; a retry asks the model.
        assert run(wording(5, "tides")) == Person(age=7)
        assert len(model.asked) == 1
        assert run(wording(5, "tides")) == Person(age=7)
        assert len(model.asked) == 1
    else:
        for number in range(5, 9):
            with pytest.raises(OutputParserException):
                run(wording(number, "tides"))
        # Each of the four was served once.
        assert model.asked == []
        assert run(wording(9, "tides")) == Person(age=7)
        assert model.asked == [wording(9, "tides")]
    assert cache.stats().skipped["not_parsed"] >= 1


def test_a_batch_is_served_one_by_one(cache: LLMCache) -> None:
    certify(cache)
    model = Scripted(act=lambda text: "all about tides", cache=cache, asked=[])
    model.invoke(wording(0, "tides"))
    answers = model.batch([wording(number, "tides") for number in range(6)])
    assert {answer.text for answer in answers} == {"all about tides"}
    assert model.asked == [wording(0, "tides")]


def test_models_share_nothing(cache: LLMCache) -> None:
    certify(cache)
    keep(cache, wording(0, "tides"), llm="one")
    assert look(cache, wording(1, "tides"), llm="other") is None
    assert look(cache, wording(1, "tides"), llm="one") == "all about tides"

"""What a near match is told of the response that it comes of: nothing that finds it again."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("langchain_openai")

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, Generation
from support.cached_calls import CLIENTS, PATHS, finish
from support.near import certify, near_cache, told, topic_of, wording
from support.scripted import Scripted
from support.stream_server import Ask, StreamServer, Turn, mark_of

from llmemo import cached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

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


def ask(model: Any, path: str, question: Any) -> Any:
    return finish(PATHS[path](model, question, None))


async def all_of(chunks: AsyncIterator[Any]) -> list[Any]:
    return [chunk async for chunk in chunks]


def rehearse(model: Any, path: str) -> None:
    """Certify near matches of a model, by four calls."""
    for number in range(4):
        ask(model, path, wording(number, "rehearsals"))


@client_tests
@every_client
@pytest.mark.parametrize(
    ("first", "second", "is_stored"),
    [
        *((path, path, False) for path in PATHS),
        ("invoke", "astream", True),
        ("stream", "ainvoke", True),
        ("astream", "stream", True),
    ],
)
def test_a_near_match_names_no_response(
    server: StreamServer, tmp_path: Path, client: str, first: str, second: str, *, is_stored: bool
) -> None:
    options = {"stream_usage": True} if client == "openai" else {}
    with near_cache(tmp_path / "cache.db" if is_stored else None) as cache:
        model = cached(CLIENTS[client](server.url, **options), cache)
        rehearse(model, first)
        original = ask(model, first, wording(0, "tides"))
        mark = mark_of(server.bodies[-1])
        asked = server.requests
        again = ask(model, first, wording(0, "tides"))
        for exact in (original, again):
            # Where others are streamed, LangChain names them.
            assert mark in str(exact) or client != "responses"
        near = ask(model, second, wording(1, "tides"))
        assert server.requests == asked
        assert told(cache).hits == 1
    assert "tides" in str(near)
    assert mark not in str(near)


@client_tests
@every_client
@pytest.mark.parametrize("is_fresh", [False, True])
def test_a_near_match_is_streamed_in_chunks_of_its_own(
    server: StreamServer, client: str, *, is_fresh: bool
) -> None:
    with near_cache(fresh_ids=is_fresh) as cache:
        options = {"stream_usage": True} if client == "openai" else {}
        model = cached(CLIENTS[client](server.url, **options), cache)
        rehearse(model, "stream")
        original = ask(model, "stream", wording(0, "tides"))
        found = [ask(model, "stream", wording(number, "tides")) for number in (1, 2)]
        assert told(cache).hits == 2
    # It comes in the chunks that the provider sent.
    assert [len(chunks) for chunks in found] == [len(original)] * 2
    ids = [{chunk.id for chunk in chunks} for chunks in found]
    known = {chunk.id for chunk in original}
    # (Of a response the first chunk has an id of its own.)
    assert all(1 <= len(each) <= len(known) for each in ids), ids
    assert not ids[0] & ids[1]
    assert not (ids[0] | ids[1]) & known


@client_tests
@pytest.mark.parametrize("path", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("version", ["v0", "responses/v1"])
def test_the_next_turn_does_not_continue_another_conversation(
    server: StreamServer, path: str, version: str
) -> None:
    """Of a client that names the response before, so that its server has the conversation."""
    with near_cache() as cache:
        client = CLIENTS["responses"](
            server.url, use_previous_response_id=True, output_version=version
        )
        model = cached(client, cache)
        rehearse(model, path)
        ask(model, path, wording(0, "tides"))
        asked = server.requests
        if path == "astream":
            near = asyncio.run(all_of(model.astream(wording(1, "tides"))))
        else:
            near = ask(model, path, wording(1, "tides"))
        assert server.requests == asked
        message = near if isinstance(near, AIMessage) else sum(near[1:], near[0])
        assert message.text == "This is all about tides."
        question = HumanMessage(wording(1, "tides"))
        model.invoke([question, message, HumanMessage("And what of the moon?")])
        assert server.requests == asked + 1
        body = server.bodies[-1]
    assert "previous_response_id" not in body
    # Without an id the server is told of all turns.
    assert [item["role"] for item in body["input"]] == ["user", "assistant", "user"]


class Native(Scripted):
    """Makes events of its own."""

    def _stream_chat_model_events(self, messages: Any, **_: Any) -> Iterator[dict[str, Any]]:
        text = f"all about {topic_of(messages[-1].text)}"
        named = {"id": "resp_1"}
        yield {"event": "message-start", "role": "ai", "id": "msg_1", "metadata": named}
        block = {"type": "text", "text": "", "id": "msg_1"}
        yield {"event": "content-block-start", "index": 0, "content": block}
        delta = {"type": "text-delta", "text": text}
        yield {"event": "content-block-delta", "index": 0, "delta": delta}
        yield {"event": "content-block-finish", "index": 0, "content": {**block, "text": text}}
        yield {"event": "message-finish", "reason": "stop", "metadata": named}


@pytest.mark.skipif(
    not hasattr(BaseChatModel, "_chat_model_stream_v3"),
    reason="this langchain-core has no such events",
)
def test_events_of_a_near_match_name_no_response() -> None:
    with near_cache() as cache:
        model = cached(Native(act=None), cache)
        rehearse(model, "v3")
        exact, near = (ask(model, "v3", wording(number, "rehearsals")) for number in (0, 5))
        assert told(cache).hits == 1
    assert near[1].text == exact[1].text == "all about rehearsals"
    for name in ("msg_1", "resp_1"):
        assert name in str(exact)
        assert name not in str(near)


def test_names_of_responses_in_metadata_are_removed() -> None:
    told_of = {
        "id": "resp_1",
        "model_id": "a model",
        "container": {"id": "container_1"},
        "ResponseMetadata": {"RequestId": "1", "HTTPHeaders": {"x-amzn-requestid": "1", "a": "b"}},
        "request_id": "1",
        "service_tier": "default",
    }
    message = AIMessage(
        [{"type": "text", "text": "yes", "id": "msg_1", "annotations": []}],
        id="msg_1",
        response_metadata=told_of,
    )
    answer: list[Generation] = [
        ChatGeneration(message=message, generation_info={"id": "gen_1", "finish_reason": "stop"})
    ]
    with near_cache(fresh_ids=False) as cache:
        certify(cache)
        cache.update(wording(0, "tides"), "m", answer)
        exact = cache.lookup(wording(0, "tides"), "m")
        near: Any = cache.lookup(wording(5, "tides"), "m")
    assert exact == answer
    found = near[0].message
    assert found.response_metadata == {
        "model_id": "a model",
        "ResponseMetadata": {"HTTPHeaders": {"a": "b"}},
        "service_tier": "default",
    }
    assert found.content == [{"type": "text", "text": "yes", "annotations": []}]
    assert found.id.startswith("lc_run--")
    assert near[0].generation_info == {"finish_reason": "stop"}


def test_ids_that_langchain_made_are_left_to_fresh_ids() -> None:
    answer: list[Generation] = [ChatGeneration(message=AIMessage("yes", id="lc_run--1"))]
    for is_fresh in (False, True):
        with near_cache(fresh_ids=is_fresh) as cache:
            certify(cache)
            cache.update(wording(0, "tides"), "m", answer)
            near: Any = cache.lookup(wording(5, "tides"), "m")
        assert (near[0].message.id != "lc_run--1") == is_fresh

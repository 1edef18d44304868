"""Answers of the Responses API: a hit gets an id of its own, and the provider's stays beside it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import SecretStr
from support.providers import Provider, response

from llmemo._core import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo import LLMCache

    MakeCache = Callable[..., LLMCache]

KEY = bytes(32)
NEW = "lc_run--[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


class Own(AIMessage):
    """A class of a user's."""


def hit(
    name: str, *, fresh_ids: bool = True, kind: type[AIMessage] = AIMessage, **metadata: Any
) -> Any:
    """The message of a hit."""
    message = kind(content="hello", id=name, response_metadata=metadata)
    value = encode([ChatGeneration(message=message)], KEY)
    found: Any = decode(value, KEY, fresh_ids=fresh_ids)
    assert type(found[0].message) is kind
    return found[0].message


RENEWED: list[tuple[str, dict[str, Any]]] = [
    ("resp_1", {"id": "resp_1"}),
    ("resp_1", {"model": "m", "id": "resp_1", "object": "response"}),
    ("resp_" + "x" * 500, {"id": "resp_" + "x" * 500}),
    # xAI's.
    ("7f3a", {"id": "7f3a", "object": "response"}),
]

KEPT: list[tuple[str, dict[str, Any]]] = [
    ("resp_1", {}),
    ("resp_1", {"id": None}),
    ("resp_1", {"id": "resp_2"}),
    ("resp_1", {"id": ["resp_1"]}),
    ("resp_1", {"ids": {"id": "resp_1"}}),
    ("resp_\ud800", {"id": "resp_\ud800"}),
    ("resp_1", {"id": "resp_\ud800"}),
    ("chatcmpl-1", {"id": "chatcmpl-1", "object": "chat.completion"}),
    ("7f3a", {"id": "7f3a", "object": "\ud800"}),
    ("msg_1", {"id": "msg_1"}),
    # With output_version="v0": sent with the message.
    ("msg_1", {"id": "resp_1", "object": "response"}),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [AIMessage, Own])
@pytest.mark.parametrize(("name", "metadata"), RENEWED)
def test_what_the_provider_is_never_sent_is_renewed(
    name: str, metadata: dict[str, Any], kind: type[AIMessage]
) -> None:
    found = [hit(name, kind=kind, **metadata) for _ in range(100)]
    assert len({message.id for message in found}) == 100
    for message in found:
        assert re.fullmatch(NEW, message.id)
        assert message.response_metadata == metadata
    assert hit(name, fresh_ids=False, kind=kind, **metadata).id == name


@pytest.mark.parametrize("kind", [AIMessage, Own])
@pytest.mark.parametrize(("name", "metadata"), KEPT)
def test_what_stands_nowhere_else_is_kept(
    name: str, metadata: dict[str, Any], kind: type[AIMessage]
) -> None:
    message = hit(name, kind=kind, **metadata)
    assert (message.id, message.response_metadata) == (name, metadata)


def test_ids_that_were_equal_stay_equal() -> None:
    answer: list[Generation] = [
        ChatGeneration(message=AIMessage("a", id=name, response_metadata={"id": name}))
        for name in ("resp_1", "resp_2", "resp_1")
    ]
    found: Any = decode(encode(answer, KEY), KEY, fresh_ids=True)
    ids = [generation.message.id for generation in found]
    assert ids[0] == ids[2] != ids[1]


# Through a real client.


def stream(whole: dict[str, Any]) -> str:
    [item] = whole["output"]
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {
            "type": "response.output_text.delta",
            "item_id": item["id"],
            "output_index": 0,
            "content_index": 0,
            "delta": item["content"][0]["text"],
            "logprobs": [],
        },
        {"type": "response.completed", "response": whole},
    ]
    return "".join(
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n"
        for number, event in enumerate(events)
    )


def answer(body: dict[str, Any], number: int) -> dict[str, Any] | str:
    whole = response(f"Answer {number}.", number)
    return stream(whole) if body.get("stream") else whole


def model_of(server: Provider, cache: LLMCache | bool, **settings: Any) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        model="gpt-5",
        api_key=SecretStr("k"),
        base_url=server.url,
        use_responses_api=True,
        cache=cache,
        **settings,
    )


def thread(model: Any, questions: list[str]) -> list[Any]:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, MessagesState, StateGraph

    def chat(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"][-1:])]}

    builder = StateGraph(MessagesState)
    builder.add_node("chat", chat)
    builder.add_edge(START, "chat")
    graph: Any = builder.compile(checkpointer=InMemorySaver())
    out: dict[str, Any] = {}
    for question in questions:
        out = graph.invoke({"messages": [("user", question)]}, {"configurable": {"thread_id": "1"}})
    messages: list[Any] = out["messages"]
    return messages


@pytest.mark.clients
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("version", [None, "responses/v1", "v1"])
def test_a_thread_keeps_every_reply(
    make_cache: MakeCache, version: str | None, *, streaming: bool
) -> None:
    settings = {"output_version": version, "streaming": streaming}
    with Provider(answer) as server:
        model = model_of(server, make_cache(), **settings)
        messages = thread(model, ["Opening hours?", "Address?", "Opening hours?"])
        assert len(server.bodies) == 2
    assert [message.type for message in messages] == ["human", "ai"] * 3
    texts = [message.text for message in messages[1::2]]
    assert texts == ["Answer 1.", "Answer 2.", "Answer 1."]
    names = [message.response_metadata["id"] for message in messages[1::2]]
    assert names == ["resp_1", "resp_2", "resp_1"]


@pytest.mark.clients
@pytest.mark.parametrize("version", [None, "v0", "v1"])
def test_the_provider_is_sent_the_same_whether_a_reply_was_a_hit(
    make_cache: MakeCache, version: str | None
) -> None:
    for settings in ({}, {"use_previous_response_id": True}):
        followed = []
        with Provider(answer) as server:
            model = model_of(server, make_cache(), output_version=version, **settings)
            for _ in range(2):
                # The second is a hit, and what follows is sent with it.
                reply = model.invoke("Opening hours?")
                after = [HumanMessage("Opening hours?"), reply, HumanMessage("And today?")]
                model.model_copy(update={"cache": False}).invoke(after)
                followed.append(server.bodies[-1])
            assert len(server.bodies) == 3
        assert followed[0] == followed[1]
        previous = "resp_1" if settings else None
        assert followed[0].get("previous_response_id") == previous

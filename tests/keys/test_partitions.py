"""Semantic lookups compare questions within a partition: everything else has to be equal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
)
from support.partitions import (
    CALL,
    FINGERPRINTS,
    LLM,
    MEMORY,
    conversation,
    found,
    partition,
    question,
    text,
)

from llmemo._core import Memory, RequestBypassed
from llmemo.keys.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

MADE_UP = "lc_0b7f1c9e-4a34-4f26-8f0e-0123456789ab"
IMAGE = {"type": "image", "url": "https://example.com/a.png"}


# Questions.


def test_the_question_is_the_text_of_the_last_message() -> None:
    assert found(conversation(HumanMessage("And in Oslo?"))) == (
        partition(conversation(HumanMessage("And in Bari?"))),
        "And in Oslo?",
    )
    assert question(HumanMessageChunk(content="héllo \U0001f600\n").content) == "héllo \U0001f600\n"


@pytest.mark.parametrize(
    ("content", "asked"),
    [
        ([text("a")], "a"),
        ([text("a"), text("b\n"), text("c")], "a\nb\n\nc"),
        ([{"text": "a", "type": "text"}], "a"),
        ([text("a", id=MADE_UP)], "a"),
    ],
)
def test_text_blocks_are_one_question(content: list[Any], asked: str) -> None:
    assert question(content) == asked


@pytest.mark.parametrize(
    "content",
    [
        "",
        [],
        [text("")],
        [text("a"), text("")],
        ["a"],
        [text("a"), "b"],
        [text("a"), IMAGE],
        [IMAGE],
        [{"type": "file", "base64": "AA==", "mime_type": "application/pdf"}],
        [text("a", id="made by a user")],
        [text("a", cache_control={"type": "ephemeral"})],
        [text("a", annotations=[])],
        [{"text": "a"}],
    ],
)
def test_other_content_is_no_question(content: Any) -> None:
    assert question(content) is None
    assert found(conversation(HumanMessage(content))) is None


@pytest.mark.parametrize("content", ["\ud800", "a\udfff", [text("\ud83d"), text("\ude00")]])
def test_a_lone_surrogate_is_in_no_question(content: Any) -> None:
    assert question(content) is None
    assert MEMORY.partition(Request("a\ud800", LLM, is_text=True), "") is None
    # Elsewhere it does not matter.
    history = [HumanMessage("\ud800"), AIMessage("b"), HumanMessage("c")]
    assert found(history) == (partition(history), "c")


@pytest.mark.parametrize(
    "last",
    [
        AIMessage("x"),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("x", tool_call_id="call_1"),
        SystemMessage("x"),
        ChatMessage(content="x", role="user"),
    ],
)
def test_a_request_that_ends_otherwise_has_no_question(last: BaseMessage) -> None:
    assert found(conversation(last)) is None
    assert found([last]) is None


# What counts.

CHANGES: list[Callable[[list[BaseMessage]], object]] = [
    lambda it: it.pop(0),
    lambda it: setattr(it[0], "content", "Be long."),
    lambda it: setattr(it[1], "content", "What is the weather in Bari?"),
    lambda it: setattr(it[2], "tool_calls", [{**CALL, "args": {"city": "Bari"}}]),
    lambda it: setattr(it[3], "content", "Rain."),
    lambda it: setattr(it[3], "tool_call_id", "call_2"),
    lambda it: setattr(it[4], "content", "It is sunny. "),
    lambda it: setattr(it[4], "response_metadata", {"model_provider": "openai"}),
    lambda it: it.insert(0, it.pop(1)),
    lambda it: it.insert(1, it[1]),
    lambda it: it.append(HumanMessage("q")),
    lambda it: setattr(it[-1], "name", "Ann"),
    lambda it: setattr(it[-1], "additional_kwargs", {"a": 1}),
    lambda it: setattr(it[-1], "response_metadata", {"a": 1}),
    lambda it: setattr(it[-1], "content", [text("q")]),
    lambda it: setattr(it[-1], "content", [text("q"), text("q")]),
]


def test_all_messages_and_arguments_count() -> None:
    partitions = {partition(conversation(HumanMessage("q")))}
    for at, change in enumerate(CHANGES):
        messages = conversation(HumanMessage("q"))
        change(messages)
        one = partition(messages)
        assert one not in partitions, at
        partitions.add(one)


def test_settings_namespace_supplement_and_schemas_count() -> None:
    messages = [HumanMessage("q")]
    with_class = LLM.replace("0.5", "<class 'm.A'>")
    request = Request(dumps(messages), with_class)
    secret = Memory(2**20, fingerprint_secret=FINGERPRINTS, secret=b"s")

    def of(result: tuple[bytes, str] | None) -> bytes:
        assert result is not None
        return result[0]

    partitions = [
        partition(messages),
        partition(messages, LLM.replace("0.5", "0.6")),
        partition(messages, LLM.replace("None", "['x']")),
        partition(messages, LLM.replace("('stop'", "('tools', [{'name': 'f'}]), ('stop'")),
        partition(messages, "a model"),
        partition(messages, namespace="team"),
        partition(messages, supplement=b"a"),
        *(of(MEMORY.partition(request, "", {"m.A": bytes([it]) * 32})) for it in (1, 2)),
        of(secret.partition(Request(dumps(messages), LLM), "")),
    ]
    assert len(set(partitions)) == len(partitions)


# What does not count.


def test_a_second_run_of_an_agent_has_the_same_partition() -> None:
    def run(number: int, last: BaseMessage) -> list[BaseMessage]:
        usage = {"input_tokens": number, "output_tokens": 1, "total_tokens": number + 1}
        cost: Any = {**usage, "total_cost": 0} if number else usage
        call = AIMessage("", tool_calls=[CALL], id=f"lc_run--{number}", usage_metadata=cost)
        result = ToolMessage("Sunny.", tool_call_id="call_1", id=f"t{number}", artifact=number)
        return [HumanMessage("What is it?", id=f"h{number}"), call, result, AIMessage("x"), last]

    first = run(0, HumanMessage("And Oslo?", id="a"))
    assert partition(first) == partition(run(1, HumanMessage("And Bari?", id="b")))
    assert partition(first) == partition(run(2, HumanMessageChunk(content="And Bari?")))
    streamed = [
        *run(3, HumanMessage("x"))[:3],
        AIMessageChunk(content="x"),
        HumanMessage("And Bari?"),
    ]
    assert partition(first) == partition(streamed)


def test_made_up_ids_of_blocks_do_not_count() -> None:
    other = MADE_UP.replace("0", "f")
    history: list[list[BaseMessage]] = [
        [AIMessage([text("a", id=one)]), HumanMessage([text(f"q{one}", id=one)])]
        for one in (MADE_UP, other)
    ]
    assert partition(history[0]) == partition(history[1])


# Texts.


def test_the_prompt_of_a_completion_model_is_its_question() -> None:
    def of(prompt: str, is_text: bool = True) -> tuple[bytes, str] | None:
        return MEMORY.partition(Request(prompt, LLM, is_text=is_text), "")

    result = of("2 + 2?")
    assert result is not None
    assert result[1] == "2 + 2?"
    messages = dumps([HumanMessage("2 + 2?")])
    for prompt in ("2 + 3?", messages, "[x]"):
        assert of(prompt) == (result[0], prompt)
    assert of("") is None
    # By hand, no model was seen.
    assert of("2 + 3?", is_text=False) == (result[0], "2 + 3?")
    assert of(messages, is_text=False) == (partition([HumanMessage("q")]), "2 + 2?")
    assert result[0] != partition([HumanMessage("q")])


class Note(HumanMessage):
    """A user's class: it may send something else."""


@pytest.mark.parametrize("last", [HumanMessage("q"), Note(content="q")])
def test_messages_of_a_users_class_have_no_question(last: HumanMessage) -> None:
    # Else the whole history would be the question.
    assert found([Note(content="a"), AIMessage("b"), last]) is None


# Keys.


def test_what_has_no_key_has_no_partition() -> None:
    function = "[('f', <function f at 0x7f00>)]"
    messages = dumps([HumanMessage("q"), AIMessage("x")])
    for request in (
        Request(messages, function),
        Request(messages, "[('f', <class 'm.A'>)]"),
        Request(messages, "[('_type', 'chat-ollama')]"),
        Request(dumps([HumanMessage([{"type": "x", "value": object()}])]), LLM),
    ):
        with pytest.raises(RequestBypassed) as of_key:
            MEMORY.key(request, "")
        with pytest.raises(RequestBypassed) as of_partition:
            MEMORY.partition(request, "")
        assert of_partition.value.args == of_key.value.args

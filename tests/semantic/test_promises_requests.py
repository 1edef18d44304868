"""Near matches of real requests: all but the last question has to be equal."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fow_cache  # type: ignore[import-untyped]
import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
)
from support.cached_calls import clock, openai, weather
from support.counting_model import CountingModel
from support.question_streams import Precomputed
from support.question_swaps import Pair
from support.question_variations import variations
from support.served_streams import KNOWN, certified, counted
from support.slices import some
from support.stream_server import StreamServer, Turn

from llmemo import LLMCache, options

PAIRS = [
    Pair("the same words", pair.asked, pair.asked) if at % 4 == 0 else pair
    for at, pair in enumerate(variations(random.Random(6), 20))
]
"""A quarter has equal questions: they would be served most readily."""

EQUAL = sum(pair.asked == pair.stored for pair in PAIRS)
"""Pairs that are exact hits of the same request."""

CALL: Any = {"name": "weather", "args": {"city": "Rome"}, "id": "call_1", "type": "tool_call"}
HISTORY: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage("I have a question."),
    AIMessage("Ask it.", id="run-1"),
]
"""A conversation; ids that LangChain makes do not count."""

Ask = Callable[[Any, str], object]
"""Asks a model a question."""


def after(
    history: Sequence[BaseMessage], *, ends_in: Callable[[str], BaseMessage] = HumanMessage
) -> Ask:
    return lambda model, question: model.invoke([*history, ends_in(question)])


def within(namespace: str) -> Ask:
    def ask(model: Any, question: str) -> None:
        with options(namespace=namespace):
            model.invoke(question)

    return ask


def at(temperature: float) -> Ask:
    return lambda model, question: model.model_copy(update={"temperature": temperature}).invoke(
        question
    )


def with_tools(*tools: Callable[..., str]) -> Ask:
    return lambda model, question: model.bind_tools(tools).invoke(question)


def as_tool(text: str) -> ToolMessage:
    return ToolMessage(text, tool_call_id="call_1")


CALLED = [HumanMessage("Is it warm?"), AIMessage("", tool_calls=[CALL])]

DIFFERENT: dict[str, tuple[Ask, Ask]] = {
    "namespace": (within("one"), within("other")),
    "system prompt": (after([SystemMessage("Be brief.")]), after([SystemMessage("Be polite.")])),
    "no system prompt": (after([SystemMessage("Be brief.")]), after([])),
    "history": (after(HISTORY), after([*HISTORY[:2], AIMessage("Which one?")])),
    "longer history": (after(HISTORY), after([*HISTORY, HumanMessage("Wait."), AIMessage("Yes?")])),
    "order of history": (after(HISTORY), after([*HISTORY[1:], HISTORY[0]])),
    "tools": (with_tools(weather), with_tools(weather, clock)),
    "no tools": (with_tools(weather), after([])),
    "temperature": (at(0.0), at(0.7)),
    "name": (after([]), after([], ends_in=lambda text: HumanMessage(text, name="Ann"))),
}

NO_QUESTION: dict[str, Ask] = {
    "a tool's message": after(CALLED, ends_in=as_tool),
    "a model's message": after(HISTORY[:2], ends_in=AIMessage),
    "a system message": after(HISTORY, ends_in=SystemMessage),
    "an image": after(
        HISTORY,
        ends_in=lambda text: HumanMessage(
            [{"type": "text", "text": text}, {"type": "image", "url": "https://example.com/a.png"}]
        ),
    ),
}


def served(first: Ask, then: Ask, make: Callable[[LLMCache], Any]) -> int:
    """How many of the pairs are answered without a second call."""
    vectors = Precomputed([KNOWN, *(text for pair in PAIRS for text in pair[1:])])
    hits = 0
    for _, asked, stored in PAIRS:
        with certified(vectors) as cache:
            model, calls = make(cache)
            first(model, stored)
            assert calls() == 1
            then(model, asked)
            hits += calls() == 1
    return hits


def counting(cache: LLMCache) -> tuple[Any, Callable[[], int]]:
    model = CountingModel(cache=cache)
    return model, lambda: len(model.calls)


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_rest_is_never_served(name: str) -> None:
    first, then = DIFFERENT[name]
    assert served(first, then, counting) == 0


@pytest.mark.parametrize("name", some(list(DIFFERENT), 2))
def test_the_same_rest_is_served(name: str) -> None:
    for ask in DIFFERENT[name]:
        assert served(ask, ask, counting) >= 10


@pytest.mark.parametrize("name", NO_QUESTION)
def test_what_ends_in_no_question_is_never_served(name: str) -> None:
    ask = NO_QUESTION[name]
    assert served(ask, ask, counting) == EQUAL


@pytest.mark.slow
def test_a_client_over_a_socket() -> None:
    with StreamServer() as server:
        server.turn = lambda ask: Turn(text=f"You asked: {ask.text}")

        def make(cache: LLMCache) -> tuple[Any, Callable[[], int]]:
            before = server.requests
            return openai(server.url, cache=cache), lambda: server.requests - before

        ask = after(HISTORY)
        assert served(ask, ask, make) >= 10
        assert served(ask, after(HISTORY[1:]), make) == 0
        assert served(with_tools(weather), with_tools(clock), make) == 0
        assert served(ask, after(HISTORY, ends_in=AIMessage), make) == 0


def conversation_traps() -> list[tuple[list[BaseMessage], list[BaseMessage]]]:
    """Conversations of fow-cache whose answers differ. Count them only."""
    folder = Path(fow_cache.__file__).parent / "data"
    lines = [
        line
        for file in sorted(folder.glob("conv-*/*.jsonl"))
        for line in file.read_text("utf-8").splitlines()
    ]
    rows = [row for row in map(json.loads, lines) if not row["same_answer"]]
    return [(convert_to_messages(row["a"]), convert_to_messages(row["b"])) for row in rows]


@pytest.mark.slow
def test_conversations_with_another_history_are_never_served() -> None:
    traps = conversation_traps()
    assert len(traps) == 120
    questions = [str(messages[-1].content) for pair in traps for messages in pair]
    hits = 0
    with certified(Precomputed([KNOWN, *questions])) as cache:
        for stored, asked in traps:
            model = CountingModel(cache=cache)
            model.invoke(stored)
            model.invoke(asked)
            hits += len(model.calls) == 1
        stats = cache.stats()
    assert hits == counted(cache).hits == stats.hits == 0

"""What a call says beside the text of its model: options, prompts, objects in prompts."""

from __future__ import annotations

import array
import datetime
import json
import reprlib
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import LLM, BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation
from pydantic import BaseModel, Field

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Callable


class Echo(LLM):
    """Says what it was asked, and how."""

    @property
    def _llm_type(self) -> str:
        return "echo"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return f"{prompt!r} {stop} {kwargs}"


class Ear(BaseChatModel):
    """Takes objects in its messages."""

    @property
    def _llm_type(self) -> str:
        return "ear"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        said = f"{[it.content for it in messages]} {kwargs}"
        return ChatResult(generations=[ChatGeneration(message=AIMessage(said))])


@pytest.fixture
def cache() -> LLMCache:
    return LLMCache()


def test_options_of_a_completion_call_count(cache: LLMCache) -> None:
    llm = Echo(cache=cache)
    calls: list[Callable[[], str]] = [
        lambda: llm.invoke("q"),
        lambda: llm.bind(model="b").invoke("q"),
        lambda: llm.invoke("q", max_tokens=5),
        lambda: llm.invoke("q", max_tokens=6),
        lambda: llm.invoke("q", stop=["x"]),
        lambda: llm.invoke("q", when=datetime.date(2026, 1, 1)),
    ]
    answers = [call() for call in calls]
    assert len(set(answers)) == len(calls)
    assert [call() for call in calls] == answers
    assert cache.stats().misses == len(calls)
    assert llm.generate(["q", "q"], max_tokens=5).generations[1][0].text == answers[2]


@pytest.mark.anyio
async def test_options_of_an_awaited_completion_call_count(cache: LLMCache) -> None:
    llm = Echo(cache=cache)
    answers = [await llm.ainvoke("q"), await llm.bind(model="b").ainvoke("q")]
    assert answers[0] != answers[1]
    assert await llm.abatch(["q", "q"]) == [answers[0]] * 2
    assert cache.stats().misses == 2


def message_text(tokens: int, space: str = "") -> str:
    """The text of a message as LangChain writes it, which a user may send to a completion model."""
    kwargs = {"content": "hi", "usage_metadata": {"total_tokens": tokens}}
    name = ["langchain", "schema", "messages", "AIMessage"]
    it = [{"lc": 1, "type": "constructor", "id": name, "kwargs": kwargs}]
    return json.dumps(it) + space


def test_a_completion_prompt_is_text_whatever_it_looks_like(cache: LLMCache) -> None:
    llm = Echo(cache=cache)
    prompts = [message_text(1), message_text(2), message_text(1, " ")]
    answers = [llm.invoke(prompt) for prompt in prompts]
    assert answers == [f"{prompt!r} None {{}}" for prompt in prompts]
    # By hand they are taken for messages, which say the same: two other requests.
    text = "[('_type', 'echo'), ('stop', None)]"
    cache.update(prompts[0], text, [Generation(text="by hand")])
    assert cache.lookup(prompts[1], text) is not None
    assert [llm.invoke(prompt) for prompt in prompts] == answers


def test_plain_values_as_options_of_a_call_have_a_key(cache: LLMCache) -> None:
    model = Ear(cache=cache)
    options: list[Any] = [{"when": datetime.date(2026, 1, day)} for day in (1, 2)]
    answers = [model.invoke("q", **it).content for it in options]
    assert answers[0] != answers[1]
    assert [model.invoke("q", **it).content for it in options] == answers
    assert (cache.stats().bypassed, cache.stats().misses) == ({}, 2)
    model.invoke("q", when=object())
    assert cache.stats().bypassed == {"address": 2}


class Vector:
    """Is shown in part, as the arrays of numpy and their likes are."""

    def __init__(self, values: list[int]) -> None:
        self.values = values

    def __repr__(self) -> str:
        return f"Vector({reprlib.repr(self.values)})"


class Quiet(BaseModel):
    """Leaves a field out of its repr."""

    shown: int
    hidden: int = Field(repr=False)


def content(value: Any) -> list[BaseMessage]:
    return [HumanMessage([{"type": "data", "data": value}])]


def test_an_object_in_a_message_that_is_shown_in_part_goes_past_the_cache(cache: LLMCache) -> None:
    model = Ear(cache=cache)
    for value in (Vector([0] * 1000), Vector([0] * 999 + [7])):
        model.invoke(content(value))
    assert cache.stats().bypassed == {"truncated": 4}
    assert cache.stats().entries == 0


@pytest.mark.parametrize(
    "values",
    [
        [array.array("d", [0.0] * 2000), array.array("d", [0.0] * 1999 + [1.0])],
        [Quiet(shown=1, hidden=1), Quiet(shown=1, hidden=2)],
        [{"x": {1, 2}}, {"x": {1, 3}}],
        [datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 2)],  # noqa: DTZ001
    ],
    ids=["array", "model", "set", "date"],
)
def test_an_object_in_a_message_that_can_be_told_counts(cache: LLMCache, values: list[Any]) -> None:
    model = Ear(cache=cache)
    for value in values:
        model.invoke(content(value))
    assert cache.stats().misses == 2
    for value in values:
        model.invoke(content(value))
    assert (cache.stats().misses, cache.stats().hits, cache.stats().bypassed) == (2, 2, {})


def test_arrays_of_numpy_are_told_whole(cache: LLMCache) -> None:
    numpy = pytest.importorskip("numpy")
    model = Ear(cache=cache)
    silence, bang = numpy.zeros(16000), numpy.zeros(16000)
    bang[8000] = 1
    for sound in (silence, bang, silence.astype("f4"), silence.reshape(2, 8000)):
        model.invoke(content(sound))
    assert cache.stats().misses == 4
    model.invoke(content(silence))
    assert (cache.stats().misses, cache.stats().hits) == (4, 1)
    # Pointers say nothing.
    model.invoke(content(numpy.array([object()])))
    assert sum(cache.stats().bypassed.values()) == 2


THIN = [
    "[('_type', 'chat-ollama'), ('stop', None)]",
    "[('_type', 'ollama-llm'), ('stop', None)]",
    "[('_type', 'perplexitychat'), ('stop', None)]",
]


@pytest.mark.parametrize("text", THIN)
def test_a_text_that_is_known_to_be_thin_has_no_key_by_hand(cache: LLMCache, text: str) -> None:
    cache.update("p", text, [Generation(text="x")])
    assert cache.lookup("p", text) is None
    assert cache.stats().bypassed == {"thin_text": 2}
    assert "the cache can see it" in cache.explain("p", text).reason

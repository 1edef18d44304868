"""`mark_hits`: messages of hits say so. Keys leave the mark out, and it is never stored."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import FakeListLLM, chat_models
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, Generation, GenerationChunk
from langchain_core.runnables import RunnableGenerator, RunnableLambda
from support.counting_model import CountingModel
from support.doubles import Clock
from support.streaming_models import Streams

from llmemo import (
    ConfigurationError,
    LLMCache,
    LookupEvent,
    accelerate,
    cached,
    message_key,
    track,
)
from llmemo.pipeline.hit_marks import mark

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LLM = "model---[('stop', None)]"
KEY_LENGTH = 64


def mark_of(message: Any) -> Any:
    """The mark of the only hit; None if there is none."""
    marks = message.response_metadata.get("llmemo", [])
    assert len(marks) <= 1
    return marks[0] if marks else None


def test_messages_of_hits_are_marked_and_those_of_the_model_are_not(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "cache.db", mark_hits=True) as cache:
        model = CountingModel(cache=cache)
        assert mark_of(model.invoke("?")) is None
        mark = mark_of(model.invoke("?"))
        assert mark_of(asyncio.run(model.ainvoke("?")))["hit"] is True
    assert mark["hit"] is True
    assert mark["tier"] == "memory"
    assert 0 <= mark["age"] < 600
    assert len(mark["key"]) == KEY_LENGTH
    with LLMCache(tmp_path / "cache.db", mark_hits=True) as cache:
        assert mark_of(CountingModel(cache=cache).invoke("?"))["tier"] == "store"
    # What was stored has none.
    with LLMCache(tmp_path / "cache.db") as cache:
        assert mark_of(CountingModel(cache=cache).invoke("?")) is None


def test_off_a_hit_equals_the_answer() -> None:
    cache = LLMCache(fresh_ids=False)
    stored = [ChatGeneration(message=AIMessage("4", id="run-1", response_metadata={"a": 1}))]
    cache.update("?", LLM, stored)
    assert cache.lookup("?", LLM) == stored


@pytest.mark.parametrize("recorded", [True, False])
def test_hits_of_streams_are_marked_in_their_sum(recorded: bool) -> None:
    model = cached(Streams(), LLMCache(mark_hits=True))
    ask = model.stream if recorded else lambda text: [model.invoke(text)]
    for chunk in ask("?"):
        assert mark_of(chunk) is None

    async def read() -> list[Any]:
        return [chunk async for chunk in model.astream("?")]

    for chunks in (list(model.stream("?")), asyncio.run(read())):
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole += chunk
        assert mark_of(whole)["tier"] == "memory"
        assert whole.text == "one two three"
    assert mark_of(model.invoke("?"))["hit"] is True


def test_completions_are_marked_in_their_info() -> None:
    model = FakeListLLM(responses=["a", "b"], cache=LLMCache(mark_hits=True))
    model.invoke("?")
    (generation,) = model.generate(["?"]).generations[0]
    assert generation.generation_info is not None
    assert generation.generation_info["llmemo"][0]["hit"] is True


@pytest.mark.parametrize("runnable", [RunnableLambda, RunnableGenerator])
def test_the_sum_of_two_hits_has_both_marks(runnable: Any) -> None:
    clock = Clock()
    model = cached(Streams(), LLMCache(mark_hits=True, clock=clock))
    for text in "ab":
        list(model.stream(text))
        clock.now += 1.5

    def both(_: Any) -> Iterator[Any]:
        yield from model.stream("a")
        yield from model.stream("b")

    whole = runnable(both).invoke("x")
    assert whole.text == "one two three" * 2
    marks = whole.response_metadata["llmemo"]
    assert [(mark["hit"], mark["tier"], mark["age"]) for mark in marks] == [
        (True, "memory", 3.0),
        (True, "memory", 1.5),
    ]
    assert len({mark["key"] for mark in marks}) == 2


@pytest.mark.parametrize("stale", [True, False])
def test_the_sum_of_two_completions_has_both_marks(stale: bool) -> None:
    events = [LookupEvent("hit", "memory", 1.5, "ab", stale), LookupEvent("semantic", "store", 2.5)]
    chunks = [GenerationChunk(text="4"), GenerationChunk(text="5")]
    for chunk, event in zip(chunks, events, strict=True):
        mark([chunk], event)
    whole = chunks[0] + chunks[1]
    assert whole.generation_info is not None
    assert [it["age"] for it in whole.generation_info["llmemo"]] == [1.5, 2.5]


@pytest.mark.parametrize("kind", [AIMessage, AIMessageChunk])
def test_a_marked_message_in_the_next_turn_has_the_same_key(kind: Any) -> None:
    cache = LLMCache()
    marks = [{}, *({"llmemo": [{"hit": True, "age": age}] * n} for age, n in ((1.5, 1), (2, 2)))]
    keys, node_keys = set(), set()
    for marked in marks:
        turn = kind("4", response_metadata={"model_name": "m", **marked, "id": "x"})
        prompt = dumps([HumanMessage("2 + 2?"), turn, HumanMessage("Sure?")])
        with track() as tracker:
            cache.lookup(prompt, LLM)
        keys.add(tracker.events[0].key)
        node_keys.add(message_key({"messages": [turn]}))
    assert len(keys) == 1
    assert len(node_keys) == 1


@pytest.mark.parametrize(
    "metadata",
    [
        {"inner": {"llmemo": 1}},
        {"llmemo2": 1},
    ],
)
def test_only_the_mark_itself_is_left_out(metadata: dict[str, Any]) -> None:
    cache = LLMCache()
    plain = dumps([AIMessage("4", response_metadata={"a": 1})])
    other = dumps([AIMessage("4", response_metadata={"a": 1, **metadata})])
    also = dumps([AIMessage("4", additional_kwargs={"llmemo": 1}, response_metadata={"a": 1})])
    with track() as tracker:
        for prompt in (plain, other, also):
            cache.lookup(prompt, LLM)
    assert len({event.key for event in tracker.events}) == 3


def test_a_conversation_is_warm_in_its_second_run() -> None:
    cache = LLMCache(mark_hits=True)
    model = CountingModel(cache=cache)
    for _ in range(3):
        turns: list[Any] = [HumanMessage("1")]
        for text in ("2", "3"):
            turns += [model.invoke(turns), HumanMessage(text)]
        model.invoke(turns)
    assert len(model.calls) == 3


class Many(list[Any]):
    """A list of another class, which `encode` takes."""


@pytest.mark.parametrize("kind", [list, tuple, Many])
def test_a_mark_beside_others_answers_is_not_stored(kind: Any) -> None:
    cache = LLMCache()
    marked = AIMessage("4", response_metadata={"llmemo": {"hit": True}, "a": 1})
    info = {"llmemo": {"hit": True}}
    given = kind(
        [
            Generation(text="1"),
            ChatGeneration(message=marked),
            Generation(text="2", generation_info=info),
        ]
    )
    cache.update("?", LLM, given)
    found: Any = cache.lookup("?", LLM)
    assert [each.text for each in found] == ["1", "4", "2"]
    assert found[1].message.response_metadata == {"a": 1}
    assert not found[2].generation_info
    assert "llmemo" in marked.response_metadata  # the caller's stays


class Hostile:
    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(name)


def test_a_stranger_beside_a_marked_answer_is_refused_without_a_question() -> None:
    cache = LLMCache()
    marked = Generation(text="4", generation_info={"llmemo": {"hit": True}})
    for stranger in (Hostile(), None, 7, "text"):
        cache.update("?", LLM, [marked, stranger])  # type: ignore[list-item]
    assert cache.stats().errors == {}
    assert cache.stats().updates == 0
    assert sum(cache.stats().skipped.values()) == 4


def test_a_mark_is_never_stored() -> None:
    cache = LLMCache()
    marked = AIMessage("4", response_metadata={"llmemo": {"hit": True}, "a": 1})
    given = [ChatGeneration(message=marked, generation_info={"llmemo": {}, "b": 2})]
    cache.update("?", LLM, given)
    (kept,) = cache.lookup("?", LLM) or []
    assert isinstance(kept, ChatGeneration)
    assert kept.message.response_metadata == {"a": 1}
    assert kept.generation_info == {"b": 2}
    # The caller's own is left alone.
    assert marked.response_metadata == {"llmemo": {"hit": True}, "a": 1}


def test_dumps_in_rust_are_those_of_langchain() -> None:
    model = CountingModel(cache=LLMCache(mark_hits=True))
    model.invoke("?")
    hit = model.invoke("?")
    assert mark_of(hit) is not None
    plain = dumps([hit])
    with accelerate():
        assert vars(chat_models)["dumps"]([hit]) == plain


def test_only_a_flag_will_do() -> None:
    with pytest.raises(ConfigurationError, match="mark_hits"):
        LLMCache(mark_hits="yes")  # type: ignore[arg-type]

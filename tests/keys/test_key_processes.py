"""One request has one key: in every process, from text and from chunks, before a hit and after."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListLLM, GenericFakeChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
    ToolMessageChunk,
)
from support import TESTS, oracle

from llmemo._core import Memory
from llmemo.keys.request import Request

MEMORY = Memory(2**20, fingerprint_secret=os.urandom(192))
CITIES = frozenset({"Oslo", "Paris", "Rome", "Athens", "it's"})


class Recorder(InMemoryCache):
    """LangChain's own cache, which writes down the keys of what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []
        self.texts: set[str] = set()

    def lookup(self, prompt: str, llm_string: str) -> Any:
        key = MEMORY.key(Request(prompt, llm_string), "")
        assert key == oracle.key(prompt, llm_string, "")
        self.keys.append(key.hex())
        self.texts.add(prompt)
        return super().lookup(prompt, llm_string)


def keys_of(*requests: Any, **settings: Any) -> list[str]:
    """What a model's cache is asked for, through LangChain."""
    recorder = Recorder()
    model = GenericFakeChatModel(messages=iter([AIMessage("a")] * 99), cache=recorder)
    for request in requests:
        model.bind(**settings).invoke(request)
    return recorder.keys


def call(number: int) -> dict[str, Any]:
    return {"name": "add", "args": {"a": number, "b": [1.5, None]}, "id": "call_1"}


def chunks() -> list[AIMessageChunk]:
    pieces: list[list[dict[str, Any]]] = [
        [{"name": "add", "args": '{"a": 3', "id": "call_1", "index": 0}],
        [{"name": None, "args": ', "b": [1.5, null]}', "id": None, "index": 0}],
        [],
    ]
    usage: Any = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}
    texts = ("Let ", "me ", "add.")
    return [
        AIMessageChunk(content=text, tool_call_chunks=piece, usage_metadata=usage, id="run-1")  # type: ignore[arg-type]
        for text, piece in zip(texts, pieces, strict=True)
    ]


def test_a_request_from_text_and_from_chunks_has_one_key() -> None:
    same: list[Any] = [
        "Hello!",
        [HumanMessage("Hello!")],
        [HumanMessage("Hello!", id="mine")],
        [("human", "Hello!")],
        [HumanMessageChunk(content="Hel") + HumanMessageChunk(content="lo!")],
    ]
    assert len(set(keys_of(*same))) == 1
    assert len(set(keys_of("Hello!", [SystemMessage("Hello!")], "hello!"))) == 3


def test_an_answer_and_the_sum_of_its_chunks_have_one_key() -> None:
    first, second, third = chunks()
    total = first + second + third
    whole = AIMessage("Let me add.", tool_calls=[call(3)])
    assert (total.content, total.tool_calls) == (whole.content, whole.tool_calls)
    result = ToolMessage("4.5", tool_call_id="call_1")
    other = ToolMessageChunk(content="4.", tool_call_id="call_1") + ToolMessageChunk(
        content="5", tool_call_id="call_1", artifact={"seen": object}
    )
    question: list[BaseMessage] = [HumanMessage("3 + 1.5?")]
    found = keys_of([*question, whole, result], [*question, total, other])
    assert found[0] == found[1]
    changed = AIMessage("Let me add.", tool_calls=[call(4)])
    assert keys_of([*question, changed, result])[0] != found[0]


def test_a_turn_after_a_hit_has_the_key_of_the_turn_before_it() -> None:
    recorder = Recorder()
    usage: Any = {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}
    answers = iter([AIMessage("Blue.", usage_metadata=usage), AIMessage("Light."), AIMessage("?")])
    model = GenericFakeChatModel(messages=answers, cache=recorder)
    question: list[BaseMessage] = [HumanMessage("Which colour has the sky?")]
    costs = []
    for _ in range(3):
        reply = model.invoke(question)
        costs.append(reply.usage_metadata)
        assert isinstance(reply.content, str)
        model.invoke([*question, reply, HumanMessage("Why?")])
    first, second = recorder.keys[:2]
    assert recorder.keys == [first, second] * 3
    # LangChain's own cache was asked for two different texts: a hit is written into.
    if costs[1] != costs[0]:
        assert len(recorder.texts) == 3
        assert costs[1] == {**usage, "total_cost": 0}


PROGRAM = """
import test_key_processes
print(*test_key_processes.keys_of_everything())
"""


def keys_of_everything() -> list[str]:
    """Requests whose text depends on the process: sets, ids, chunks, addresses in artifacts."""
    first, second, third = chunks()
    artifact = ToolMessage("x", tool_call_id="1", artifact=object())
    seen = HumanMessage([{"type": "x", "value": {CITIES, *CITIES, Path("a")}}])
    history = [HumanMessage("é"), first + second + third, artifact, seen]
    settings: dict[str, Any] = {"cities": CITIES, "more": [set(CITIES), {"k": (CITIES,)}]}
    recorder = Recorder()
    FakeListLLM(responses=["it's", "\0"], cache=recorder).invoke("Once")
    return [*recorder.keys, *keys_of(history, "Hi"), *keys_of(history, "Hi", **settings)]


def test_a_request_has_one_key_in_every_process() -> None:
    expected = keys_of_everything()
    assert len(set(expected)) == len(expected) == 5
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(TESTS)},
            cwd=Path(__file__).parent,
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "1")
    ]
    for process in processes:
        assert process.communicate()[0].split() == expected
        assert process.returncode == 0


def test_sets_print_in_another_order_in_another_process() -> None:
    # Else the test before this one could not fail.
    program = f"print(set({sorted(CITIES)!r}))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in range(3)
    }
    assert len(outputs) > 1


@pytest.mark.parametrize("prompt", ["p", "é\0", ""])
def test_a_plain_llm_is_known_by_its_own_settings(prompt: str) -> None:
    # LangChain leaves the settings of a call out: no cache can tell these two apart.
    recorder = Recorder()
    llm = FakeListLLM(responses=["one"], cache=recorder)
    assert llm.invoke(prompt) == llm.bind(temperature=1).invoke(prompt) == "one"
    assert len(set(recorder.keys)) == 1
    recorder.lookup(prompt, "other")
    assert len(set(recorder.keys)) == 2

"""Partitions are those that docs/keys.md describes, for long requests too."""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from support import oracle
from support.oracle_forms import data_of
from support.partitions import LLM, MEMORY, found, question, text
from support.strategies import TEXTS, examples

from llmemo.keys.request import Request

LARGE = 300_000
TEXT = "187d651675522d4b837b5af6c28487d8c32b57da424de0f33141a9ad000a2ebe"
MESSAGE = "b13b96958f87333123e7b0c4a1928d996569424ef35a9127b6c26d7162577285"


def by_the_docs(messages: list[BaseMessage], namespace: str, supplement: bytes) -> bytes:
    """The partition, as docs/keys.md says it, by the oracle's form of the prompt."""
    objects = json.loads(dumps(messages))
    arguments = objects[-1]["kwargs"]
    content = arguments["content"]
    arguments["content"] = None if isinstance(content, str) else [None] * len(content)
    form = oracle.prompt(json.dumps(objects))
    assert form is not None
    parts = [(0, data_of(namespace)), (0, b"a model"), (2, form), (0, b""), (0, supplement)]
    context = "llmemo 2026-11 request key"
    return blake3(oracle.framed(*parts), derive_key_context=context).digest()


texts = st.sampled_from(TEXTS)
contents: st.SearchStrategy[Any] = st.text(min_size=1, max_size=5)
contents |= st.lists(contents.map(text), min_size=1, max_size=3)
histories = st.lists(st.builds(AIMessage, texts) | st.builds(HumanMessage, contents), max_size=3)
humans = st.builds(HumanMessage, contents, name=st.sampled_from(["a", "bb"]), id=st.none() | texts)


@pytest.mark.slow
@examples(60)
@given(histories, humans, texts, st.binary(max_size=3))
def test_partitions_are_those_of_the_docs(
    history: list[BaseMessage], last: HumanMessage, namespace: str, supplement: bytes
) -> None:
    messages = [*history, last]
    result = found(messages, "a model", namespace, supplement=supplement)
    content: Any = last.content
    asked = content if isinstance(content, str) else "\n".join(it["text"] for it in content)
    assert result == (by_the_docs(messages, namespace, supplement), asked)


def test_partitions_that_were_given_once_stay() -> None:
    # A change of these parts the questions of a store from those that are asked.
    human = """{"lc": 1, "type": "constructor", "kwargs": {"content": "q"}, "id":
        ["langchain", "schema", "messages", "HumanMessage"]}"""
    for prompt, expected in [("q", TEXT), (f"[{human}]", MESSAGE)]:
        result = MEMORY.partition(Request(prompt, "l"), "n")
        assert result is not None
        assert (result[0].hex(), result[1]) == (expected, "q")


# Long requests.


@pytest.mark.parametrize("character", ["x", "é", "\U0001f600"])
def test_a_long_question_is_whole(character: str) -> None:
    asked = character * LARGE + "end"
    assert question(asked) == asked
    assert question([text(asked), text("more")]) == f"{asked}\nmore"


def test_other_threads_go_on_while_a_long_request_is_read() -> None:
    # A long question would release the GIL while its str is made.
    request = Request(dumps([*[HumanMessage("x" * LARGE)] * 4, HumanMessage("q")]), LLM)
    begin, seen = threading.Event(), threading.Event()

    def other() -> None:
        begin.wait()
        seen.set()

    thread = threading.Thread(target=other)
    thread.start()
    interval = sys.getswitchinterval()
    # From now on a thread goes on only where this one releases the GIL.
    sys.setswitchinterval(1000)
    try:
        begin.set()
        for _ in range(200):
            MEMORY.partition(request, "")
            if seen.is_set():
                break
        is_seen = seen.is_set()
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert is_seen

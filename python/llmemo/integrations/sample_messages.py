"""Messages of every class with every kind of value, for the self-test of `accelerate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core import messages as lc
from langchain_core.outputs import ChatGeneration, Generation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages import BaseMessage

TEXT = "".join(map(chr, range(0x100))) + "\ufeff\N{CRAB}\ud83d\ude00\udfff"
NUMBERS = [0, -(2**63), 2**70, 0.0, -0.0, 1e16, 0.1, *map(float, ("nan", "inf", "-inf"))]
VALUES: dict[Any, Any] = {
    TEXT: TEXT,
    "": [None, True, False, (), [], {}, (TEXT, [NUMBERS])],
    **dict.fromkeys([None, True, *NUMBERS], "a key"),
    "escaped": [{"lc": 1, "x": [{"lc": 2}, ()]}, {"__lc_escaped__": 3}, {"": {"lc": {}}}],
    "not implemented": [b"\xff", object, {1}],
}


def samples() -> Iterator[BaseMessage]:
    """Make the messages."""
    nested = [lc.AIMessage("", name=""), ChatGeneration(message=lc.HumanMessage("x"))]
    common: dict[str, Any] = {
        "content": ["é", {"type": "text", "text": "x", "index": 0, "annotations": []}, {}],
        "additional_kwargs": {**VALUES, "nested": [*nested, Generation(text="")]},
        "response_metadata": {"logprobs": None},
        "id": "1",
        "extra": VALUES,
    }
    call: Any = {"name": "f", "args": {"x": VALUES}, "id": None}
    chunk: Any = {"name": "f", "args": '{"a": ', "id": "1", "index": None}
    for plain in (
        *(lc.HumanMessage, lc.HumanMessageChunk, lc.SystemMessage, lc.SystemMessageChunk),
        *(lc.AIMessage, lc.AIMessageChunk),
    ):
        yield plain(content="")
        yield plain(**common)
    yield lc.AIMessage(
        **common,
        tool_calls=[call],
        invalid_tool_calls=[{"name": None, "args": "{", "id": "", "error": "x"}],
        usage_metadata={"input_tokens": 0, "output_tokens": 2**70, "total_tokens": 1},
    )
    yield lc.AIMessageChunk(**common, tool_call_chunks=[chunk], chunk_position="last")
    for function in (lc.FunctionMessage, lc.FunctionMessageChunk):
        yield function(**common, name="")
    for chat in (lc.ChatMessage, lc.ChatMessageChunk):
        yield chat(**common, role="")
    for tool in (lc.ToolMessage, lc.ToolMessageChunk):
        artifacts: list[Any] = [None, [], 0, VALUES, b"\xff", object]
        for artifact in artifacts:
            yield tool(**common, tool_call_id="", artifact=artifact, status="error")
    yield lc.RemoveMessage(id="")

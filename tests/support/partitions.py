"""Partitions of requests of langchain-core's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from llmemo._core import Memory
from llmemo.keys.request import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

FINGERPRINTS = bytes(range(7, 199))
MEMORY = Memory(2**20, fingerprint_secret=FINGERPRINTS)
LLM = "[('_type', 'fake'), ('stop', None), ('temperature', 0.5)]"
CALL: Any = {"name": "f", "args": {"city": "Rome"}, "id": "call_1", "type": "tool_call"}


def found(
    messages: Sequence[BaseMessage], llm: str = LLM, namespace: str = "", **seen: Any
) -> tuple[bytes, str] | None:
    """Partition and question of a chat model's request."""
    return MEMORY.partition(Request(dumps(list(messages)), llm, **seen), namespace)


def partition(
    messages: Sequence[BaseMessage], llm: str = LLM, namespace: str = "", **seen: Any
) -> bytes:
    result = found(messages, llm, namespace, **seen)
    assert result is not None
    return result[0]


def question(content: Any) -> str | None:
    result = found([HumanMessage(content)])
    return result and result[1]


def text(content: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": content, **more}


def conversation(last: BaseMessage) -> list[BaseMessage]:
    return [
        SystemMessage("Be brief."),
        HumanMessage("What is the weather in Rome?"),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("Sunny.", tool_call_id="call_1"),
        AIMessage("It is sunny."),
        last,
    ]

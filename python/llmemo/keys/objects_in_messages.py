"""Objects in messages that LangChain's `dumps` writes by their `repr`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage

from llmemo._core import RequestBypassed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DEPTH_MAX = 256
"""As `DEPTH_MAX` of `rust/canonical/cursor.rs`."""

UNSENT = {"artifact", "chunk_position", "id", "tool_call_chunks", "type", "usage_metadata"}
"""Arguments of a message that do not count: see docs/keys.md, and `rust/canonical/prompt.rs`."""

_PLAIN = (type(None), bool, int, float, str)


def objects_in(messages: Iterable[Any]) -> Iterator[Any]:
    """What is in the messages that is no JSON, in an order that the rest of them decides.

    Raises:
        RequestBypassed: Values are nested too deep.
    """
    for message in messages:
        yield from _in_message(message, 0)


def _in_message(message: BaseMessage, depth: int) -> Iterator[Any]:
    for held in (message.__dict__, message.__pydantic_extra__ or {}):
        for name in sorted(set(held) - UNSENT):
            yield from _in_value(held[name], depth + 1)


def _in_value(value: Any, depth: int) -> Iterator[Any]:
    if depth > DEPTH_MAX:
        raise RequestBypassed("too_deep", "messages")
    kind = type(value)
    if kind in _PLAIN:
        return
    if kind is dict:
        for key, member in value.items():
            if type(key) not in _PLAIN:
                yield key
            yield from _in_value(member, depth + 1)
    elif kind in {list, tuple}:
        for member in value:
            yield from _in_value(member, depth + 1)
    elif isinstance(value, BaseMessage):
        yield from _in_message(value, depth)
    elif not isinstance(value, (bool, int, float, str)):
        yield value

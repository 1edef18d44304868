"""An answer as text for people: what the model said, called and used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llmemo.inspection.values import VECTOR, fields_of, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

LEFT_OUT = {"content", "type", "text", "example"}
"""Fields of a message that are shown otherwise, or say nothing."""


def lines_of(generation: Any, kind: str) -> Iterator[str]:
    """The lines of one generation of an entry of this kind (see `Opened.kind`)."""
    fields = fields_of(generation)
    info = fields.get("generation_info") or {}
    message = fields_of(fields.get("message"))
    if message:
        yield from _message(message)
    elif kind == VECTOR:
        ((code, raw),) = info.items()
        yield f"vector: {len(raw):,} bytes of type {code!r}"
        return
    elif fields.get("text"):
        yield "answer:"
        yield str(fields["text"])
    if info:
        yield f"generation_info: {_compact(info)}"


def _message(message: dict[str, Any]) -> Iterator[str]:
    yield f"answer ({message.get('type', 'message')}):"
    content = message.get("content")
    if content:
        yield content if isinstance(content, str) else _compact(content)
    for call in message.get("tool_calls") or ():
        if isinstance(call, dict):
            yield f"tool call: {call.get('name')}({_compact(call.get('args'))})"
    for name, value in message.items():
        if value and name not in LEFT_OUT and name != "tool_calls":
            yield f"{name}: {value if isinstance(value, str) else _compact(value)}"


def _compact(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False)

"""Marks in the messages of hits (`mark_hits`): what the cache knows of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage
from langchain_core.outputs import Generation

from llmemo.telemetry.event_facts import facts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmemo.telemetry.tracking import LookupEvent

MARK = "llmemo"
"""The member of `response_metadata`, or of a completion's `generation_info`, that holds the mark.
Keys leave it out: see docs/keys.md."""


def mark(hit: Sequence[Generation], event: LookupEvent) -> None:
    """Mark the messages of a hit, which are this caller's alone."""
    for generation in hit:
        message: Any = getattr(generation, "message", None)
        if message is None:
            generation.generation_info = {
                **(generation.generation_info or {}),
                MARK: facts_of(event),
            }
        else:
            message.response_metadata = {**message.response_metadata, MARK: facts_of(event)}


def without_marks(answer: Sequence[Generation]) -> Sequence[Generation]:
    """A copy of an answer, as it is kept: a model may have passed on another cache's hit."""
    # Anything may come as an answer: what is none is for `encode` to refuse.
    # `isinstance` would ask a stranger for its `__class__`, which may raise.
    if not issubclass(type(answer), (list, tuple)) or not any(map(_is_marked, answer)):
        return answer
    return [_unmarked(generation) for generation in answer]


def _is_marked(generation: object) -> bool:
    own = _fields(generation, Generation)
    message = _fields(own.get("message"), BaseMessage)
    return _holds_mark(own.get("generation_info")) or _holds_mark(message.get("response_metadata"))


def _unmarked(generation: Generation) -> Generation:
    own = _fields(generation, Generation)
    info: Any = own.get("generation_info")
    message: Any = own.get("message")
    changes: dict[str, Any] = {}
    metadata: Any = _fields(message, BaseMessage).get("response_metadata")
    if _holds_mark(info):
        changes["generation_info"] = _kept(info)
    if _holds_mark(metadata):
        changes["message"] = message.model_copy(update={"response_metadata": _kept(metadata)})
    return generation.model_copy(update=changes) if changes else generation


def _fields(given: object, cls: type) -> dict[str, Any]:
    """The fields of an object of this class, without running any code of its own; or none."""
    if not issubclass(type(given), cls):
        return {}
    fields: dict[str, Any] = object.__getattribute__(given, "__dict__")
    return fields


def _holds_mark(metadata: object) -> bool:
    return type(metadata) is dict and MARK in metadata


def _kept(metadata: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metadata.items() if name != MARK}

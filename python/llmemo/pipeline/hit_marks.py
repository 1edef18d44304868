"""Marks in the messages of hits (`mark_hits`): what the cache knows of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo.telemetry.event_facts import facts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.outputs import Generation

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
    if not isinstance(answer, (list, tuple)) or not any(map(_is_marked, answer)):
        return answer
    return [_unmarked(generation) for generation in answer]


def _is_marked(generation: Generation) -> bool:
    message = getattr(generation, "message", None)
    places = (generation, "generation_info"), (message, "response_metadata")
    found = (getattr(holder, name, None) for holder, name in places)
    return any(isinstance(each, dict) and MARK in each for each in found)


def _unmarked(generation: Generation) -> Generation:
    changes: dict[str, Any] = {"generation_info": _kept(generation.generation_info)}
    message: Any = getattr(generation, "message", None)
    if message is not None:
        own = {"response_metadata": _kept(message.response_metadata)}
        changes["message"] = message.model_copy(update=own)
    return generation.model_copy(update=changes)


def _kept(metadata: dict[str, Any] | None) -> dict[str, Any] | None:
    if metadata is None:
        return None
    return {name: value for name, value in metadata.items() if name != MARK}

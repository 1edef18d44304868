"""What a `LookupEvent` says, as plain facts by name: for traces, and for marks in messages.

The same names everywhere: `llmemo_hit` in the metadata of a run, `llmemo.hit` among the attributes
of a span, `response_metadata["llmemo"][0]["hit"]` in a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmemo.telemetry.tracking import LookupEvent

Fact = bool | int | float | str

ANSWERED = frozenset({"hit", "semantic"})
"""Outcomes of lookups that were answered: no model was asked."""


def is_answered(event: LookupEvent) -> bool:
    """Whether the lookup was answered by a cache."""
    return event.outcome in ANSWERED


def facts_of(event: LookupEvent) -> dict[str, Fact]:
    """What is known of a lookup. No prompt and no answer is among it."""
    worth, age = event.worth, event.age
    facts: dict[str, Fact | None] = {
        "hit": is_answered(event),
        "outcome": event.outcome,
        "tier": event.tier,
        "age": None if age is None else round(age, 3),
        "key": event.key,
        "reason": event.reason,
        "stale": event.is_stale or None,
        "score": event.score,
        "saved_input_tokens": worth.input_tokens or None,
        "saved_output_tokens": worth.output_tokens or None,
        "saved_money": worth.money or None,
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def tags_of(event: LookupEvent) -> list[str]:
    """Tags of the run that looked up: `llmemo:hit` stands on answers of a cache alone."""
    if not is_answered(event):
        return [f"llmemo:{event.outcome}"]
    tags = ["llmemo:hit"]
    if event.outcome == "semantic":
        tags.append("llmemo:semantic")
    if event.is_stale:
        tags.append("llmemo:stale")
    return tags

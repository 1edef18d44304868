"""Answers that are not served again, since a parser could not read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.concurrency.bounded_dict import note
from llmemo.store_io.calls import Call
from llmemo.store_io.operations import Delete

if TYPE_CHECKING:
    from llmemo.pipeline.tiers import Tiers

REMEMBERED = 1024
"""So many keys are remembered; the oldest is forgotten."""


class RejectedAnswers:
    """The answers of one cache that are in doubt: by key, and by when they were made."""

    def __init__(self) -> None:
        """There are none."""
        self._made: dict[bytes, float] = {}

    def has(self, key: bytes, created: float) -> bool:
        """Whether an answer of this key, made then (Unix time), is in doubt."""
        return created <= self._made.get(key, -1.0)

    def add(self, tiers: Tiers, key: bytes, created: float) -> None:
        """Let go of an answer that was made then; a newer one stays. Waits for nothing.

        The store is told to remove it, and not believed while it has not.
        """
        if tiers.is_closed or self.has(key, created):
            return
        about = tiers.memory.about(key)
        if about is not None and about[0] > created:
            return
        if tiers.engine is not None:
            note(self._made, key, created, REMEMBERED)
            tiers.engine.submit(Call.blocking(Delete([key])))
        tiers.memory.remove(key)
        text = "llmemo: an answer was let go of, since a parser could not read it"
        tiers.tally.note("skipped", "not_parsed", text)

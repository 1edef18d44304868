"""Answers that are not served again, since a parser could not read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.calls import Call, Delete

if TYPE_CHECKING:
    from llmemo.tiers import Tiers

REMEMBERED = 1024
"""Keys in doubt that are remembered; the oldest is forgotten."""


class Doubts:
    """The keys of one cache whose answers are in doubt, until there are others."""

    def __init__(self) -> None:
        """There is no doubt."""
        self._keys: dict[bytes, None] = {}

    def __contains__(self, key: bytes) -> bool:
        """Whether what the store has for this key is not to be served."""
        return key in self._keys

    def cast(self, tiers: Tiers, key: bytes, given: float) -> None:
        """Let go of an answer that somebody was given then. Waits for nothing.

        A newer one stays. The store is told, and not read meanwhile.
        """
        about = tiers.memory.about(key)
        if tiers.is_closed or (about is not None and about[0] > given):
            return
        if tiers.engine is not None:
            self._keys[key] = None
            if len(self._keys) > REMEMBERED:
                self._keys.pop(next(iter(self._keys)), None)
            tiers.engine.submit(Call.blocking(Delete([key])))
        tiers.memory.remove(key)
        text = "llmemo: an answer was let go of, since a parser could not read it"
        tiers.tally.note("skipped", "not_parsed", text)

    def lift(self, key: bytes) -> None:
        """There is another answer, in every tier."""
        self._keys.pop(key, None)

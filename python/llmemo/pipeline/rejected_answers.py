"""Answers that are not served again, since a parser could not read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.concurrency.bounded_dict import note
from llmemo.store_io.calls import Call
from llmemo.store_io.operations import Delete

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo._core import Memory
    from llmemo.telemetry.stats import Tally

REMEMBERED = 1024
"""Keys that are remembered; beyond it the oldest is forgotten."""


class RejectedAnswers:
    """The rejected answers of one cache: by key, and by when they were made."""

    def __init__(
        self, memory: Memory, tally: Tally, submit: Callable[[Call[int]], object] | None
    ) -> None:
        """Begin with none. `submit` sends an operation to the store; None without a store."""
        self._memory = memory
        self._tally = tally
        self._submit = submit
        self._made: dict[bytes, float] = {}

    def has(self, key: bytes, created: float) -> bool:
        """Whether an answer of this key, made then (Unix time), is rejected."""
        return created <= self._made.get(key, -1.0)

    def add(self, key: bytes, created: float) -> None:
        """Drop an answer that was made then; a newer one stays. Waits for nothing.

        The store is told to remove it, and until it has, its answer is not served.
        """
        if self.has(key, created):
            return
        about = self._memory.about(key)
        if about is not None and about[0] > created:
            return
        if self._submit is not None:
            note(self._made, key, created, REMEMBERED)
            self._submit(Call.blocking(Delete([key])))
        self._memory.remove(key)
        text = "llmemo: an answer was let go of, since a parser could not read it"
        self._tally.note("skipped", "not_parsed", text)

"""Which records of the near store may be served without a look at the far one.

A record is proven once the far store had it, or was given it, and has told of no change since. It
is known by its contents: another process may write to the near store, too. What is proven is served
for `WATCHED` seconds after each answer of the far store to "what has changed?", so that a record
that was replaced or removed elsewhere is served no longer than that.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llmemo.concurrency.bounded_dict import note

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.stores.records import Record

WATCHED = 1.0
"""Seconds for which the far store's last word on changes is relied upon, from when it was asked."""

PROVEN_MAX = 131_072
"""Most records that are known to be proven, 20 MB of memory; others are looked up again."""


class Trust:
    """What is known of the near store's records. `get_in_thread` asks it from other threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing proven. `clock`: monotonic time in seconds."""
        self._clock = clock
        self._proven: dict[bytes, int] = {}
        self._watched_until = 0.0
        self.now = 0
        """Counts what was told: what a read began before is not proven by it."""
        self._all_at = 0
        self._told: dict[bytes, int] = {}

    def time(self) -> float:
        """Monotonic time in seconds."""
        return self._clock()

    def is_watching(self) -> bool:
        """Whether the far store has told its changes just now."""
        return self._clock() < self._watched_until

    def watched(self, begun: float) -> None:
        """Note that the far store, asked then, has told all changes."""
        self._watched_until = begun + WATCHED

    def changed(self, key: bytes) -> int:
        """Note that a record was replaced or removed. Returns the number of this change."""
        self.now += 1
        self._proven.pop(key, None)
        if len(self._told) >= PROVEN_MAX:
            # What was read until now is not proven by it.
            self._told, self._all_at = {}, self.now
        self._told[key] = self.now
        return self.now

    def all_changed(self) -> int:
        """Note that any record may have been. Returns the number of this change."""
        self.now += 1
        self._all_at = self.now
        self._proven, self._told = {}, {}
        return self.now

    def is_unchanged(self, key: bytes, since: int) -> bool:
        """Whether no change of a record was told since then."""
        return self._all_at <= since and self._told.get(key, 0) <= since

    def prove(self, key: bytes, record: Record, since: int) -> None:
        """Note that the far store had this record, or was given it, in a call that began then."""
        if self.is_unchanged(key, since):
            note(self._proven, key, fingerprint(record), PROVEN_MAX)

    def is_proven(self, key: bytes, record: Record) -> bool:
        """Whether the far store had just this record."""
        return self._proven.get(key) == fingerprint(record)

    def doubt(self, key: bytes) -> None:
        """Have the far store asked once more."""
        self._proven.pop(key, None)


def fingerprint(record: Record) -> int:
    """What tells records of one key apart: 64 bits, of this process only (PEP 456)."""
    return hash((record.value, record.created, record.expires))

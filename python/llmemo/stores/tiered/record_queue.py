"""Records that wait to be written to a tier, bounded in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.stores.records import Selection
from llmemo.stores.tiered.removals import matches

if TYPE_CHECKING:
    from collections.abc import Collection

    from llmemo.stores.records import Record

AROUND = 512
"""Bytes that a record takes besides its parts, about."""


class RecordQueue:
    """The last record of each key, with when it was read or stored, as a number."""

    def __init__(self, max_bytes: int) -> None:
        """Begin with none. Beyond `max_bytes` the oldest are dropped."""
        self._max_bytes = max_bytes
        self._bytes = 0
        self._records: dict[bytes, tuple[Record, int]] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._records)

    def get(self, key: bytes) -> Record | None:
        """The record of a key."""
        return self._records.get(key, (None,))[0]

    def put(self, record: Record, since: int) -> int:
        """Add a record as the newest. Returns how many were dropped for it."""
        self.drop(record.key)
        self._records[record.key] = record, since
        self._bytes += record.size + AROUND
        dropped = 0
        while self._bytes > self._max_bytes:
            self.drop(next(iter(self._records)))
            dropped += 1
        return dropped

    def drop(self, key: bytes) -> None:
        """Remove the record of a key."""
        found = self._records.pop(key, None)
        if found is not None:
            self._bytes -= found[0].size + AROUND

    def forget(self, changed: Collection[bytes | Selection] | None) -> None:
        """Drop what was removed or replaced; everything for None."""
        if changed is None:
            self._records, self._bytes = {}, 0
            return
        for change in changed:
            if isinstance(change, Selection):
                found = [key for key, one in self._records.items() if matches(change, one[0])]
                for key in found:
                    self.drop(key)
            else:
                self.drop(change)

    def oldest(self, count: int) -> list[tuple[Record, int]]:
        """The oldest, `count` at most. They stay."""
        return list(self._records.values())[:count]

    def done(self, records: Collection[tuple[Record, int]]) -> None:
        """Remove those that were written, unless another took the place of one."""
        for record, since in records:
            if self._records.get(record.key) == (record, since):
                self.drop(record.key)

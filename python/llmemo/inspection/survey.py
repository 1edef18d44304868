"""How much a store holds: counted over all entries, and of a sample what their values are."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from llmemo._core import ValueDamaged
from llmemo.inspection.values import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from llmemo.inspection.entries import Entry, View
    from llmemo.inspection.values import ValueReader

    Progress = Callable[[int, int], object]
    """Called with how many entries are done, and of how many."""

SAMPLE = 1_000
"""Entries whose values are read, at most, unless all are."""

VALUES_AT_ONCE = 100
"""Values after which the progress is told."""


class Group(NamedTuple):
    """The entries of one namespace."""

    entries: int
    bytes: int


class Survey:
    """The counts. Feed it with entries."""

    def __init__(self, now: float, sample: int) -> None:
        """Of nothing yet. `now`: Unix time in seconds; `sample`: how many keys to keep."""
        self._now = now
        self._sample = sample
        self._dice = random.Random(now)  # noqa: S311 (no secret)
        self.entries = self.expired = self.from_the_future = self.bytes = 0
        self.oldest: float | None = None
        self.newest: float | None = None
        self.groups: dict[bytes, Group] = {}
        self.keys: list[bytes] = []
        """Keys of a sample: each entry is in it as likely as any other."""

    def add(self, entries: Iterable[Entry]) -> None:
        """Count some."""
        for one in entries:
            self.entries += 1
            self.bytes += one.size
            self.expired += one.is_expired(self._now)
            self.from_the_future += one.created > self._now + CLOCK_SKEW
            # A damaged row has no time.
            if one.created:
                self.oldest = min(one.created, self.oldest or one.created)
                self.newest = max(one.created, self.newest or one.created)
            group = self.groups.get(one.namespace, Group(0, 0))
            self.groups[one.namespace] = Group(group.entries + 1, group.bytes + one.size)
            self._keep(one.key)

    def _keep(self, key: bytes) -> None:
        # Reservoir sampling: Vitter, ACM TOMS 11 (1985), algorithm R.
        if len(self.keys) < self._sample:
            self.keys.append(key)
        elif (at := self._dice.randrange(self.entries)) < self._sample:
            self.keys[at] = key

    def largest(self, count: int) -> list[tuple[bytes, Group]]:
        """The namespaces that take most bytes."""
        return heapq.nlargest(count, self.groups.items(), key=lambda item: item[1].bytes)


CLOCK_SKEW = 5.0
"""Seconds by which clocks may differ without a word."""


class Contents:
    """What the values of some entries are."""

    def __init__(self) -> None:
        """Of nothing yet."""
        self.seen = 0
        """Values that were looked at."""
        self.kinds: Counter[str] = Counter()
        self.compressed = self.encrypted = 0
        self.damaged: Counter[str] = Counter()
        """By reason."""
        self.unread: Counter[str] = Counter()
        """The same of those that another process may be able to read."""
        self.damaged_keys: list[bytes] = []

    def add(self, view: View, reader: ValueReader, keys: Sequence[bytes]) -> None:
        """Read the values of these keys that are there."""
        for stored in view.stored(keys):
            self.seen += 1
            try:
                opened = reader.open(stored)
                # One that is damaged is a question that semantic lookups do not find.
                reader.question(stored)
            except ValueDamaged as error:
                self._cannot_read(stored.entry.key, *reason_of(error))
                continue
            self.kinds[opened.kind] += 1
            self.compressed += opened.is_compressed
            self.encrypted += opened.is_encrypted

    def _cannot_read(self, key: bytes, reason: str, is_damage: bool) -> None:
        (self.damaged if is_damage else self.unread)[reason] += 1
        if is_damage:
            self.damaged_keys.append(key)
        self.encrypted += reason == "unknown_encryption_key"

    def share(self, count: int) -> float:
        """A part of what was seen, from 0 to 1."""
        return count / self.seen if self.seen else 0.0


def survey(view: View, now: float, progress: Progress, *, sample: int = SAMPLE) -> Survey:
    """Count all entries."""
    found, total = Survey(now, sample), view.count()
    for some in view.entries():
        found.add(some)
        progress(found.entries, max(total, found.entries))
    return found


def contents(
    view: View, reader: ValueReader, keys: Sequence[bytes], progress: Progress
) -> Contents:
    """Read the values of these keys; what was removed meanwhile does not count."""
    found = Contents()
    for at in range(0, len(keys), VALUES_AT_ONCE):
        found.add(view, reader, keys[at : at + VALUES_AT_ONCE])
        progress(at, len(keys))
    return found

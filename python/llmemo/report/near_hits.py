"""What nearly hit: the last misses, each with the entry that is most similar, and what differs."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from llmemo._core import RequestBypassed
from llmemo.explain.comparison import Candidate, Comparison, candidates
from llmemo.explain.explain import Subject
from llmemo.explain.store_calls import ask
from llmemo.keys.identity import partition_of
from llmemo.keys.memory_name import parsed_name
from llmemo.report.namespaces import TIMEOUT
from llmemo.store_io.operations import Recent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmemo.pipeline.looked_up import LookedUp
    from llmemo.pipeline.tiers import Tiers
    from llmemo.stores import Record

T = TypeVar("T")

STORE_ENTRIES = 1_000
"""Entries of the store that are compared: the last added."""

CANDIDATES = 300
"""Entries of a namespace that its misses are compared with: those in memory first, the last used
ones. A comparison takes some 60 µs, with the GIL."""

SECONDS = 2.0
"""Longest time for the comparisons, in seconds. Misses that are left then are not compared."""

LISTED = 20
"""Rows that are listed; what differs is counted over all."""

COUNTED = re.compile(r"\d+ more differences")


class NearHit(NamedTuple):
    """Misses of a namespace that differ in the same way from the entry that is most similar."""

    at: float
    """When it missed last, as Unix time in seconds."""
    namespace: str
    differences: tuple[str, ...]
    """What differs; empty if nothing else is kept for the namespace."""
    ignorable: tuple[str, ...]
    """Settings that are all that differs, and that look made for each call."""
    question: str = ""
    """The last message; only where texts are asked for."""
    misses: int = 1
    """Requests of which this is true."""


class NearHits(NamedTuple):
    """The last misses."""

    listed: tuple[NearHit, ...]
    """Those of the same namespace and differences together, the newest first."""
    parts: tuple[tuple[str, int], ...]
    """What differs from the most similar entry: a part of the request, and in how many misses."""
    ignorable: tuple[tuple[tuple[str, ...], int], ...]
    """Settings that are all that differs and look made for each call, and in how many misses."""
    compared: int
    """Misses that were compared."""
    too_long: int
    """Misses whose requests are too long to be remembered."""
    not_in_time: int
    """Misses that there was no time to compare."""
    trouble: str = ""
    """Why entries of the store were not compared."""


def near_hits(tiers: Tiers, *, texts: bool) -> NearHits:
    """Compare the last misses with what is kept for their namespaces now."""
    end = time.monotonic() + SECONDS
    misses = tiers.recent_misses.newest()
    left = [miss for miss in misses if miss.has_texts]
    too_long = len(misses) - len(left)
    records, trouble = _records(tiers) if left else ((), "")
    known: dict[str, dict[bytes, Candidate]] = {}
    found: list[NearHit] = []
    parts: Counter[str] = Counter()
    ignorable: Counter[tuple[str, ...]] = Counter()
    while left and time.monotonic() < end:
        miss = left.pop(0)
        if miss.namespace not in known:
            kept = candidates(tiers.memory, miss.namespace, records)
            known[miss.namespace] = dict(itertools.islice(kept.items(), CANDIDATES))
        near = _near_hit(tiers, miss, known[miss.namespace], texts=texts)
        parts.update(set(map(part_of, near.differences)))
        ignorable.update([near.ignorable])
        found.append(near)
    del parts[""], ignorable[()]
    return NearHits(
        listed=_together(found)[:LISTED],
        parts=_ordered(parts),
        ignorable=_ordered(ignorable),
        compared=len(found),
        too_long=too_long,
        not_in_time=len(left),
        trouble=trouble,
    )


def _together(found: Iterable[NearHit]) -> tuple[NearHit, ...]:
    alike: dict[tuple[object, ...], NearHit] = {}
    for near in found:
        same = near.namespace, near.differences, near.ignorable, near.question
        first = alike.get(same)
        alike[same] = near if first is None else first._replace(misses=first.misses + 1)
    return tuple(alike.values())


def part_of(difference: str) -> str:
    """The name of what differs, without values; empty for a count of further differences."""
    return "" if COUNTED.fullmatch(difference) else difference.partition(": ")[0]


def _ordered(counts: Counter[T]) -> tuple[tuple[T, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], str(item[0]))))


def _records(tiers: Tiers) -> tuple[tuple[Record, ...], str]:
    """The newest records of the store, or why there are none."""
    if tiers.durable is None:
        return (), ""
    if not tiers.durable.store.lists_recent:
        return (), "this store lists no entries: those in memory were compared"
    records, trouble = ask(tiers, Recent(STORE_ENTRIES), TIMEOUT)
    return tuple(records or ()), trouble


def _near_hit(
    tiers: Tiers, miss: LookedUp, among: dict[bytes, Candidate], *, texts: bool
) -> NearHit:
    schemas = parsed_name(miss.name).schemas
    compared = Subject(miss.request, miss.namespace, miss.key, schemas).compared
    # Its own answer came since.
    others = [one for key, one in among.items() if key != miss.key]
    try:
        comparison = Comparison(tiers.memory, compared, tuple(tiers.settings.ignore))
        nearest, ignorable = comparison.nearest(others)
    except RequestBypassed:
        nearest, ignorable = (), ()
    differences = nearest[0].differences if nearest else ()
    if not texts:
        names = tuple(part for part in map(part_of, differences) if part)
        return NearHit(miss.at, miss.namespace, names, ignorable)
    question = _question(tiers, miss)
    return NearHit(miss.at, miss.namespace, differences, ignorable, question)


def _question(tiers: Tiers, miss: LookedUp) -> str:
    try:
        found = partition_of(tiers.memory, miss.request, miss.namespace)
    except RequestBypassed:
        return ""
    return found[1] if found else ""

"""What nearly hit: the last misses, each with the entry that is most similar, and what differs."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from llmemo._core import RequestBypassed
from llmemo.explain.comparison import (
    Candidate,
    ComparedRequest,
    Comparison,
    candidates_by_key,
)
from llmemo.explain.wording import Texts
from llmemo.keys.identity import partition_of
from llmemo.keys.memory_name import parsed_name
from llmemo.keys.request import Request
from llmemo.report.store_calls import ask
from llmemo.store_io.operations import Recent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmemo.pipeline.recent_misses import RecentMiss
    from llmemo.pipeline.tiers import Tiers
    from llmemo.stores import Record

STORE_ENTRIES = 1_000
"""Entries of the store that are compared: the last added."""

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
    left = [miss for miss in misses if miss.prompt or miss.name]
    too_long = len(misses) - len(left)
    records, trouble = _records(tiers) if left else ((), "")
    known: dict[str, dict[bytes, Candidate]] = {}
    found: list[NearHit] = []
    parts: Counter[str] = Counter()
    while left and time.monotonic() < end:
        miss = left.pop(0)
        if miss.namespace not in known:
            known[miss.namespace] = candidates_by_key(tiers.memory, miss.namespace, records)
        near = _near_hit(tiers, miss, known[miss.namespace], texts=texts)
        parts.update(set(map(part_of, near.differences)))
        found.append(near)
    del parts[""]
    return NearHits(
        _together(found)[:LISTED], _ordered(parts), len(found), too_long, len(left), trouble
    )


def _together(found: Iterable[NearHit]) -> tuple[NearHit, ...]:
    alike: dict[tuple[object, ...], NearHit] = {}
    for near in found:
        same = near.namespace, near.differences, near.question
        first = alike.get(same)
        alike[same] = near if first is None else first._replace(misses=first.misses + 1)
    return tuple(alike.values())


def part_of(difference: str) -> str:
    """The name of what differs, without values; empty for a count of further differences."""
    return "" if COUNTED.fullmatch(difference) else difference.partition(": ")[0]


def _ordered(parts: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(parts.items(), key=lambda item: (-item[1], item[0])))


def _records(tiers: Tiers) -> tuple[tuple[Record, ...], str]:
    """The newest records of the store, or why there are none."""
    if tiers.durable is None:
        return (), ""
    if not tiers.durable.store.lists_recent:
        return (), "this store lists no entries: those in memory were compared"
    records, trouble = ask(tiers, Recent(STORE_ENTRIES))
    return tuple(records or ()), trouble


def _near_hit(
    tiers: Tiers, miss: RecentMiss, among: dict[bytes, Candidate], *, texts: bool
) -> NearHit:
    name = parsed_name(miss.name)
    asked = Texts(name.llm_string, miss.prompt)
    request = ComparedRequest(miss.namespace, asked, name.schemas, miss.supplement)
    # Its own answer came since.
    others = [one for key, one in among.items() if key != miss.key]
    try:
        nearest = Comparison(tiers.memory, request).nearest(others)
    except RequestBypassed:
        nearest = ()
    differences = nearest[0].differences if nearest else ()
    if not texts:
        names = tuple(part for part in map(part_of, differences) if part)
        return NearHit(miss.at, miss.namespace, names)
    question = _question(tiers, miss, name.llm_string)
    return NearHit(miss.at, miss.namespace, differences, question)


def _question(tiers: Tiers, miss: RecentMiss, llm_string: str) -> str:
    try:
        request = Request(miss.prompt, llm_string, miss.supplement)
        found = partition_of(tiers.memory, request, miss.namespace)
    except RequestBypassed:
        return ""
    return found[1] if found else ""

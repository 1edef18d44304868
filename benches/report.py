"""From measured groups to tables: in the terminal, docs/benchmarks.md, and README.md."""

from __future__ import annotations

import os
import platform
import sqlite3
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from benches.rivals import ALL, SUBJECT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# By name, for these look like other characters.
TIMES, NOTHING = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
BENCH, PAIRS, FLEET = "bench", "semantic", "redis"
"""What the markers of each table are called."""


@dataclass(frozen=True)
class Bound:
    """What was asked of a group: a ratio to a rival, or a figure.

    Attributes:
        at_most: The largest ratio; without a rival, the largest figure, in the group's unit.
        against: Column of the rival.
    """

    at_most: float
    against: str | None = None


FIND = "finding an entry, {} prompt"
COLLECTION = "gc.collect() added by 50,000 entries"
WEIGHT = "memory of an entry"
IMPORT = "import, rows of SQLiteCache"
RECORDED = "stream of 1,000 chunks that is recorded, each"
SEMANTIC_HIT = "exact hit with semantic="
VECTORS = (10_000, 100_000)
SEMANTIC_MISS = "semantic miss, {:,} vectors"
SEMANTIC_REFUSED = "semantic miss, 8 refused, {:,} vectors"
FOUND = ("1 KB", "10 KB", "100 KB", "1 MB")
FLEET_LATENESS = "Redis hit, 256 callers, 4 ms away, 99th percentile"
FLEET_CLUSTER = "Redis cluster of three, batch of 256 hits"
FLEET_INVALIDATE = "Redis invalidation of 20,000 of 200,000"
FLEET_PING = "Redis PING beside it, 99th percentile"
FLEET_CLEAR = "Redis clear of 180,000"
FLEET_STALE = "Redis: memory stale after a replace, longest"
FLEET_POLL = "Redis: CPU for a second of an idle process"
FLEET_SERVER_POLL = "Redis: the server's for 1,000 of them"
FLEET_WEIGHT = "Redis memory of an answer, {}"

# A group without a line here is shown all the same, without a bound.
BOUNDS: Mapping[str, tuple[Bound, ...]] = {
    "memory hit, 1 KB prompt": (Bound(4, "InMemoryCache"),),
    "memory hit, 10 KB prompt": (Bound(1, "InMemoryCache"),),
    "memory hit, 100 KB prompt": (Bound(0.35, "InMemoryCache"),),
    "memory hit, single_flight": (Bound(1.15, "single_flight=False"),),
    "memory miss, single_flight": (Bound(2, "single_flight=False"),),
    "persistent hit, 1 concurrent": (Bound(0.5, "SQLiteCache"),),
    "persistent hit, 64 concurrent": (Bound(0.03, "SQLiteCache"), Bound(2, "SELECT")),
    "persistent miss, 1 concurrent": (Bound(0.5, "SQLiteCache"),),
    "persistent hit, blocking": (Bound(1, "diskcache"),),
    "persistent miss, blocking": (Bound(0.7, "SQLiteCache"),),
    "durable update, 1 concurrent": (Bound(0.1, "SQLiteCache"),),
    "durable update, 64 concurrent": (Bound(0.025, "SQLiteCache"),),
    "decode, 1 KB answer": (Bound(0.08, "LangChain"), Bound(0.2, "deepcopy")),
    "encode, 1 KB answer": (Bound(0.15, "LangChain"),),
    **{FIND.format(size): (Bound(2.5, "XXH3"),) for size in FOUND},
    IMPORT: (Bound(50e-6),),
    "dumps, 100 messages": (Bound(0.066, "LangChain"),),
    "accelerated ainvoke, 1 message": (Bound(1, "InMemoryCache"),),
    "accelerated ainvoke, 100 messages": (Bound(0.25, "InMemoryCache"),),
    "cached(model).ainvoke, 1 message": (Bound(0.5, "InMemoryCache"),),
    "cached(model).ainvoke, 100 messages": (Bound(0.083, "InMemoryCache"),),
    "cached(model).ainvoke with a handler, 1 message": (Bound(1, "set_llm_cache"),),
    "cached(model).ainvoke with a handler, 100 messages": (Bound(1, "set_llm_cache"),),
    "first chunk of a cached astream, 100 messages": (
        Bound(0.2, "InMemoryCache"),
        Bound(1.3, "its ainvoke"),
    ),
    RECORDED: (Bound(1.05, "plain stream"),),
    "embedding hit of 1,000, memory": (Bound(0.2, "LangChain"),),
    "embedding hit of 1,000, file": (Bound(0.25, "LangChain"),),
    SEMANTIC_HIT: (Bound(1.02, "without semantic="),),
    SEMANTIC_MISS.format(VECTORS[0]): (Bound(1e-3),),
    SEMANTIC_MISS.format(VECTORS[1]): (Bound(3e-3),),
    **{
        f"Redis {what}": (Bound(ratio, "AsyncRedisCache"),)
        for security in ("", " through TLS")
        for what, ratio in (
            (f"hit{security}, 1 concurrent", 1.5),
            (f"hit{security}, 64 concurrent", 0.25),
            (f"hit{security}, 256 concurrent", 0.25),
            (f"hit{security}, 256 concurrent, 4 ms away", 0.25),
            (f"update{security}, 64 concurrent", 0.5),
        )
    },
    FLEET_LATENESS: (Bound(0.016),),
    FLEET_CLUSTER: (Bound(2, "one server"),),
    FLEET_INVALIDATE: (Bound(10.0),),
    FLEET_PING: (Bound(0.02),),
    FLEET_STALE: (Bound(1.0),),
    COLLECTION: (Bound(0.005),),
    WEIGHT: (Bound(0.5, "InMemoryCache"),),
}

# In the order of the table; a group that is not here comes after them.
ORDER = (
    "memory hit, 1 KB prompt",
    "memory hit, 10 KB prompt",
    "memory hit, 100 KB prompt",
    "memory miss",
    "memory update",
    *(f"memory {what}, single_flight" for what in ("hit", "miss", "update")),
    "persistent hit, 1 concurrent",
    "persistent hit, 64 concurrent",
    "persistent miss, 1 concurrent",
    "persistent hit, blocking",
    "persistent miss, blocking",
    "durable update, 1 concurrent",
    "durable update, 64 concurrent",
    *(
        f"Redis {what}{security}, {kind}"
        for security in ("", " through TLS")
        for what, kind in (
            ("hit", "1 concurrent"),
            ("hit", "64 concurrent"),
            ("hit", "256 concurrent"),
            ("hit", "256 concurrent, 4 ms away"),
            ("update", "1 concurrent"),
            ("update", "64 concurrent"),
        )
    ),
    *(FLEET_LATENESS, FLEET_CLUSTER, FLEET_INVALIDATE, FLEET_PING, FLEET_CLEAR, FLEET_STALE),
    *(FLEET_POLL, FLEET_SERVER_POLL, *(FLEET_WEIGHT.format(what) for what in FOUND[:2])),
    "decode, 1 KB answer",
    "encode, 1 KB answer",
    IMPORT,
    *(FIND.format(size) for size in FOUND),
    "cached ainvoke, 1 message",
    "cached ainvoke, 100 messages",
    "dumps, 100 messages",
    "accelerated ainvoke, 1 message",
    "accelerated ainvoke, 100 messages",
    "cached(model).ainvoke, 1 message",
    "cached(model).ainvoke, 100 messages",
    "cached(model).ainvoke with a handler, 1 message",
    "cached(model).ainvoke with a handler, 100 messages",
    "first chunk of a cached astream, 1 message",
    "first chunk of a cached astream, 100 messages",
    RECORDED,
    *(f"embedding hit of {what}" for what in ("1,000, memory", "1,000, file", "1,000, awaited")),
    "embedding hit of a query",
    SEMANTIC_HIT,
    *(SEMANTIC_MISS.format(size) for size in VECTORS),
    SEMANTIC_REFUSED.format(VECTORS[0]),
    COLLECTION,
    WEIGHT,
)

NOTES = (
    f"Medians; in brackets llmemo's by the rival's: below 1{TIMES}, llmemo is faster or smaller. "
    "Every cache has its defaults. InMemoryCache hands out the object that it keeps, the others a "
    "copy. SQLiteCache syncs each commit to the disk; llmemo's default survives a killed "
    "process, not a power cut. GPTCache (map manager) keeps 1,000 entries and pickles them all "
    "every 20 updates, so it has no durable rows. Hits are of a 1 KB answer with a tool call and "
    "metadata; a persistent one is each time of another of 4,000 rows, by a cache that was just "
    "opened; SELECT is SQLite alone with llmemo's codec, one query for each, in the caller's "
    "thread. "
    "The rows of single_flight are of memory alone, with the defaults and without coordination. "
    "`decode` is beside `loads`, `encode` beside `dumps`; finding an entry is all that a hit does "
    "before it decodes, without Python, beside hashing the same bytes. An import is of "
    "1 KB prompts and such answers into a new file, beside only reading them with `loads`. In "
    "`cached ainvoke` llmemo is its memory tier alone. In `accelerated ainvoke` llmemo has "
    "`accelerate()` installed, which would help any cache; the others are as LangChain calls them. "
    "The rows of `cached(model)` have no callback handlers, but where they say so; the first chunk "
    "of a stream that hits is beside a whole `ainvoke` that hits, InMemoryCache's and llmemo's; a "
    "recorded stream is beside the plain model's, which makes 1,000 chunks at once. "
    "An `embedding hit` is of a vector of 1,536 numbers, beside CacheBackedEmbeddings, over "
    "InMemoryByteStore in memory and LocalFileStore in a file; llmemo has no memory tier there. "
    "A `semantic miss` is a whole lookup that finds nothing to serve, of a question whose vector "
    "(384 numbers) is known; guards refuse all neighbours where `8 refused` says so. numpy "
    "multiplies as many float32 vectors, and takes the 8 best."
)

FLEET_NOTES = (
    f"Medians; in brackets llmemo's by the other's: below 1{TIMES}, llmemo is faster or smaller. "
    "Hits and updates are without a memory tier, by caches that stay open, of 1 KB answers with a "
    "tool call and metadata. AsyncRedisCache has 400 connections: redis-py's 100 turn 256 lookups "
    "at once into misses. What is 4 ms away is behind a relay in a process of its own, which "
    "delays requests (`tc netem` needs a module of the kernel). The 99th percentile there is of "
    "256 callers that each begin a lookup when they have the last. `one server` is llmemo on one "
    "server, beside a cluster of three on this machine. Staleness is by looks 2 ms apart. The "
    "costs of idle processes are measured with five, beside none. langchain-redis is left out: "
    "its RedisCache takes a server with RedisJSON."
)


@dataclass
class Group:
    """A row of the table: what was measured of whom, in seconds or bytes an operation."""

    name: str
    unit: str = "s"
    medians: dict[str, float] = field(default_factory=dict)

    def ratio(self, rival: str) -> float:
        """llmemo's figure by the rival's."""
        return self.medians[SUBJECT] / self.medians[rival]

    def holds(self) -> bool | None:
        """Whether the group keeps its bound; None if it has none, or not all that it takes."""
        bounds = BOUNDS.get(self.name)
        if bounds is None:
            return None
        if not {SUBJECT, *(it.against or SUBJECT for it in bounds)} <= self.medians.keys():
            return None
        return all(self._reaches(bound) for bound in bounds)

    def _reaches(self, bound: Bound) -> bool:
        reached = self.medians[SUBJECT] if bound.against is None else self.ratio(bound.against)
        return reached <= bound.at_most


def ordered(groups: Sequence[Group]) -> list[Group]:
    """The groups in the order of the table."""
    place = {name: index for index, name in enumerate(ORDER)}
    return sorted(groups, key=lambda group: place.get(group.name, len(place)))


def _figure(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value:,.0f} B"
    for factor, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= factor:
            return f"{_digits(value / factor)} {name}"
    return f"{_digits(value / 1e-9)} ns"


def _digits(value: float) -> str:
    """Three significant digits, never in exponents."""
    if value == 0:
        return "0"
    decimals = next((n for n, limit in ((3, 0.1), (2, 10), (1, 100)) if value < limit), 0)
    return f"{value:,.{decimals}f}"


def _bound(group: Group) -> tuple[str, str]:
    bounds = BOUNDS.get(group.name, ())
    limits = [
        f"≤ {_figure(bound.at_most, group.unit)}"
        if bound.against is None
        else f"≤ {bound.at_most:g}{TIMES} {bound.against}"
        for bound in bounds
    ]
    marks = {True: "✓", False: "✗", None: "?" if bounds else ""}
    return ", ".join(limits), marks[group.holds()]


def rows(groups: Sequence[Group]) -> list[list[str]]:
    """The table's cells, the first row being the heads of its columns."""
    known = [SUBJECT, *(rival.name for rival in ALL if rival.name != SUBJECT)]
    others = {name for group in groups for name in group.medians} - set(known)
    columns = [name for name in known if any(name in group.medians for group in groups)]
    columns += sorted(others)
    table = [["", *columns, "asked", ""]]
    for group in ordered(groups):
        cells = [group.name]
        for name in columns:
            if name not in group.medians:
                cells.append(NOTHING)
                continue
            cell = _figure(group.medians[name], group.unit)
            if name != SUBJECT and SUBJECT in group.medians:
                cell += f" ({_digits(group.ratio(name))}{TIMES})"
            cells.append(cell)
        table.append([*cells, *_bound(group)])
    return table


def console_table(groups: Sequence[Group]) -> Table:
    """The table for a terminal."""
    heads, *body = rows(groups)
    table = Table(title="llmemo and its rivals: medians, and llmemo's ratio to each")
    for index, head in enumerate(heads):
        is_text = index in {0, len(heads) - 2}
        table.add_column(head, justify="left" if is_text else "right", no_wrap=True)
    for group, cells in zip(ordered(groups), body, strict=True):
        table.add_row(*cells, style="bold red" if group.holds() is False else None)
    return table


def machine() -> str:
    """Where and when it was measured."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = models[0] if models else platform.processor() or platform.machine()
    return (
        f"Measured by `make bench` on {datetime.now(timezone.utc):%Y-%m-%d}: {processor}, "
        f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        f"langchain-core {version('langchain-core')}, SQLite {sqlite3.sqlite_version}."
    )


MEMORY, FILE, REDIS = "InMemoryCache", "SQLiteCache", "AsyncRedisCache"

USER_ROWS = (
    ("hit in memory, 1 KB prompt", "memory hit, 1 KB prompt", MEMORY),
    ("hit in memory, 100 KB prompt", "memory hit, 100 KB prompt", MEMORY),
    ("hit in a file, one caller", "persistent hit, 1 concurrent", FILE),
    ("hit in a file, each of 64 callers", "persistent hit, 64 concurrent", FILE),
    ("hit in a file, without asyncio", "persistent hit, blocking", "diskcache"),
    ("answer written to a file, one caller", "durable update, 1 concurrent", FILE),
    ("answer written to a file, each of 64 callers", "durable update, 64 concurrent", FILE),
    ("hit on a Redis server, one caller", "Redis hit, 1 concurrent", REDIS),
    ("hit on a Redis server, each of 64 callers", "Redis hit, 64 concurrent", REDIS),
    ("answer written to it, each of 64 callers", "Redis update, 64 concurrent", REDIS),
    ("`ainvoke` that hits, 1 message", "cached ainvoke, 1 message", MEMORY),
    ("the same, 100 messages, `cached(model)`", "cached(model).ainvoke, 100 messages", MEMORY),
    ("first chunk of a stream that hits", "first chunk of a cached astream, 1 message", MEMORY),
    ("stream that is recorded, each chunk", RECORDED, "plain stream"),
    ("memory that an entry takes", WEIGHT, MEMORY),
)
"""What a user does, the group that measures it, and what the user would pick instead."""

USER_NOTE = (
    f"Medians of one run. Ratio: llmemo's figure by the other's; below 1{TIMES}, llmemo is faster "
    "or smaller. InMemoryCache hands out the object that it keeps; llmemo makes a copy for each "
    "caller. SQLiteCache syncs each commit to the disk; llmemo's default survives a killed "
    "process, not a power cut. [docs/benchmarks.md](docs/benchmarks.md) has all rows, and GPTCache."
)


def user_table(groups: Sequence[Group]) -> str:
    """The table for README.md: few rows, in a user's words."""
    known = {group.name: group for group in groups}
    lines = ["| | llmemo | instead | ratio |", "|---|---:|---:|---:|"]
    for words, name, rival in USER_ROWS:
        group = known[name]
        mine, theirs = (_figure(group.medians[it], group.unit) for it in (SUBJECT, rival))
        ratio = f"{_digits(group.ratio(rival))}{TIMES}"
        lines.append(f"| {words} | {mine} | {rival}: {theirs} | {ratio} |")
    return "\n".join([*lines, "", USER_NOTE, "", machine()])


def markdown(groups: Sequence[Group]) -> str:
    """The table for docs/benchmarks.md, with the notes that it needs to be read fairly."""
    return _markdown([it for it in groups if not it.name.startswith("Redis")], NOTES)


def fleet_markdown(groups: Sequence[Group]) -> str:
    """The table of Redis, likewise."""
    return _markdown([it for it in groups if it.name.startswith("Redis")], FLEET_NOTES)


def _markdown(groups: Sequence[Group], notes: str) -> str:
    heads, *body = rows(groups)
    rule = ["---", *("---:" for _ in heads[1:-2]), "---", ":---:"]
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, rule, *body)]
    return "\n".join([*lines, "", notes, "", machine()])


class MissingMarkersError(Exception):
    """A document does not say where its table goes."""


def splice(document: str, table: str, name: str = BENCH) -> str:
    """`document` with `table` between the markers of a name.

    Raises:
        MissingMarkersError: A marker is missing, or they come the other way round.
    """
    first, last = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, begin, rest = document.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise MissingMarkersError(
            f"README.md and docs/benchmarks.md need the lines {first} and {last}, in this order"
        )
    return f"{before}{first}\n{table}\n{last}{after}"

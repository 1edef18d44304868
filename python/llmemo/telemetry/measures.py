"""What is measured of a cache, as one table: each exporter has its own words for these rows.

Labels have fixed values: neither prompts, keys nor namespaces. (Errors, skips and bypasses go by
our reasons: docs/decisions/counter-reasons.md.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llmemo.telemetry.health import Health
    from llmemo.telemetry.stats import CacheStats

    Sample = tuple[tuple[str, ...], float]


class Reading(NamedTuple):
    """What all samples of one cache are taken from."""

    stats: CacheStats
    health: Health
    has_store: bool


@dataclass(frozen=True)
class Measure:
    """One thing that is measured."""

    name: str
    """Without prefix, and without a suffix for its type."""
    help: str
    unit: str
    """As UCUM writes it: a word in braces for what is counted."""
    read: Callable[[Reading], Iterable[Sample]]
    """Samples: the values of `labels`, and a number."""
    labels: tuple[str, ...] = ()
    """Besides the name of the cache."""
    kind: Literal["counter", "gauge"] = "counter"
    across: Literal["sum", "min", "latest"] = "sum"
    """How a gauge of several processes becomes one figure."""


def _lookups(reading: Reading) -> Iterable[Sample]:
    stats = reading.stats
    yield ("hit", "memory"), stats.memory_hits
    yield ("hit", "store"), stats.store_hits
    yield ("hit", "flight"), stats.coalesced
    yield ("stale", ""), stats.stale
    if stats.semantic is not None:
        yield ("semantic", ""), stats.semantic.hits
    yield ("miss", ""), stats.misses
    yield ("bypass", ""), stats.bypassed_lookups


def _tokens(reading: Reading) -> Iterable[Sample]:
    yield ("input",), reading.stats.input_tokens_saved
    yield ("output",), reading.stats.output_tokens_saved


def _checks(reading: Reading) -> Iterable[Sample]:
    found = reading.stats.semantic
    if found is not None:
        yield ("right",), found.checks - found.wrong
        yield ("wrong",), found.wrong


def _by_reason(
    group: Callable[[CacheStats], Mapping[str, int]],
) -> Callable[[Reading], list[Sample]]:
    return lambda reading: [((reason,), count) for reason, count in group(reading.stats).items()]


def _one(figure: Callable[[CacheStats], float]) -> Callable[[Reading], list[Sample]]:
    return lambda reading: [((), figure(reading.stats))]


def _store_bytes(reading: Reading) -> Iterable[Sample]:
    if reading.stats.store_bytes is not None:
        yield (), reading.stats.store_bytes


def _store_up(reading: Reading) -> Iterable[Sample]:
    if reading.has_store:
        yield (), float(reading.health.status == "ok")


MEASURES = (
    Measure(
        "lookups",
        "Lookups by outcome (hit, semantic, stale, miss, bypass) and tier (memory, store, flight:"
        " another caller's answer).",
        "{lookup}",
        _lookups,
        ("outcome", "tier"),
    ),
    Measure(
        "saved_tokens",
        "Tokens that hits did not send to a model (input), or that it need not make (output).",
        "{token}",
        _tokens,
        ("type",),
    ),
    Measure(
        "saved_money",
        "What these tokens would have cost, in the currency of the cache's price table.",
        "{money}",
        _one(lambda stats: stats.money_saved),
    ),
    Measure("updates", "Answers taken in.", "{answer}", _one(lambda stats: stats.updates)),
    Measure(
        "unconfirmed_writes",
        "Updates that returned before the store had confirmed them.",
        "{answer}",
        _one(lambda stats: stats.writes_unconfirmed),
    ),
    Measure(
        "evictions",
        "Entries that left memory since it was full.",
        "{entry}",
        _one(lambda stats: stats.evictions),
    ),
    Measure(
        "expired",
        "Entries found past their time to live.",
        "{entry}",
        _one(lambda stats: stats.expired),
    ),
    Measure(
        "bypassed",
        "Lookups and updates of requests that cannot be cached, or were not to be, by reason.",
        "{call}",
        _by_reason(lambda stats: stats.bypassed),
        ("reason",),
    ),
    Measure(
        "skipped",
        "Answers that were not kept, by reason.",
        "{answer}",
        _by_reason(lambda stats: stats.skipped),
        ("reason",),
    ),
    Measure(
        "errors",
        "Failures that were survived, by reason.",
        "{error}",
        _by_reason(lambda stats: stats.errors),
        ("reason",),
    ),
    Measure(
        "semantic_checks",
        "Answers to similar questions that were compared with the model's own, by verdict.",
        "{check}",
        _checks,
        ("verdict",),
    ),
    Measure(
        "entries",
        "Entries in memory.",
        "{entry}",
        _one(lambda stats: stats.entries),
        kind="gauge",
    ),
    Measure(
        "bytes",
        "Memory that the entries take, estimated.",
        "By",
        _one(lambda stats: stats.bytes),
        kind="gauge",
    ),
    Measure(
        "store_bytes",
        "Size of the store's files.",
        "By",
        _store_bytes,
        kind="gauge",
        across="latest",
    ),
    Measure(
        "store_up",
        "1 while all of the store works, 0 while any part is in trouble: see LLMCache.health().",
        "1",
        _store_up,
        kind="gauge",
        across="min",
    ),
)

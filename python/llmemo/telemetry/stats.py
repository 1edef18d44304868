"""Counting what happens, and saying it once."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo._core import Counts
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.errors import text_of
from llmemo.telemetry.figures import counted, money, percent, size, table
from llmemo.telemetry.health import Spell, Writing
from llmemo.telemetry.savings import Worth

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("llmemo")

LOG_INTERVAL = 60.0
"""Seconds between two log lines of one kind."""

REASONS_MAX = 64
"""Reasons of one group that are counted by name. There are fewer than half as many: names that come
from outside belong into a log line, never into a reason."""

OTHER = "other"
"""What the rest are counted as."""

GROUPS = ("bypassed", "skipped", "errors", "abstained", "missed")
"""What is counted by reason."""


@dataclass(frozen=True)
class SemanticStats:
    """What near matches have done, in this process."""

    hits: int
    """Lookups that were answered with the answer to a similar question."""
    checks: int
    """Verdicts on such answers: each was compared with what the model said instead."""
    wrong: int
    """Those of them that would not have done."""
    threshold: float | None
    """Least score that is served now; None: nothing is served yet."""
    bound: float | None
    """Upper confidence bound on the share of served hits that are wrong; None likewise."""
    abstained: dict[str, int] = field(default_factory=dict)
    """Exact misses for which no near match was served, by reason."""

    def rows(self) -> list[tuple[str, str]]:
        """Lines of the table of `CacheStats`."""
        served = "nothing" if self.threshold is None else f"{self.threshold:.3f}"
        bound = [] if self.bound is None else [("wrong at most", percent(self.bound))]
        found = counted({"checks": self.checks, "wrong checks": self.wrong})
        return [*found, ("served from score", served), *bound, *counted(self.abstained)]


def _some(count: int) -> str:
    return f"{count:,}" if count else ""


@dataclass(frozen=True)
class CacheStats:
    """What a cache has done since it was made: plain counts, but for `entries` and the sizes.

    `print` shows a table, without the groups in which nothing happened. `as_dict` is for programs.
    """

    hits: int
    """Lookups that were answered: `memory_hits + store_hits + coalesced + stale`, and the
    semantic ones."""
    misses: int
    """Lookups that were not."""
    memory_hits: int
    """Answered from memory."""
    store_hits: int
    """Answered from the store."""
    coalesced: int
    """Answered with what another caller got from the model meanwhile."""
    stale: int
    """Answered past the time to live, since the model failed: see `stale_if_error`."""
    updates: int
    """Answers taken in, by any tier."""
    evictions: int
    """Entries that left memory because it was full."""
    expired: int
    """Entries found past their time to live, in any tier."""
    entries: int
    """Entries in memory now."""
    bytes: int
    """Memory that they take now: an estimate, in bytes."""
    writes_unconfirmed: int
    """Updates that returned before the store had confirmed them; those that it refused do not."""
    input_tokens_saved: int
    """Tokens that hits did not send to a model, as far as their answers say (`usage_metadata`)."""
    output_tokens_saved: int
    """Tokens that models did not have to make for them."""
    money_saved: float
    """What these would have cost by the `prices` that the cache was given, in their currency;
    rounded to 9 decimals."""
    bypassed: dict[str, int] = field(default_factory=dict)
    """Lookups and updates of requests that do not say what is asked, or that were told to
    (`requested`), by reason; such a lookup is neither a hit nor a miss."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Answers that were not kept, by reason. `not_parsed`: they were, until an output parser could
    not read them."""
    errors: dict[str, int] = field(default_factory=dict)
    """Troubles that were survived, by kind. `store_write`: updates that failed. `store_refused`:
    updates that the store answered it does not take; they are dropped, and in memory alone."""
    semantic: SemanticStats | None = None
    """Of near matches; None without `semantic=`."""
    bypassed_lookups: int = 0
    """Lookups and streams that went past the cache: neither hits nor misses. `bypassed` has the
    reasons, and counts updates, too."""
    store_bytes: int | None = None
    """What the store's files take, in bytes, as of its last upkeep (about once a second while it is
    open). None: there is no store, it was not opened yet, or it cannot tell (Redis)."""
    missed: dict[str, int] = field(default_factory=dict)
    """The misses by reason: `absent`, `early`, `refresh`, `closed`, as of `LookupEvent`; and
    `unreadable`, of an answer in memory that could not be read."""

    @property
    def hit_rate(self) -> float | None:
        """Part of the lookups that were hits, from 0.0 to 1.0; None before the first lookup.

        Lookups that went past the cache do not count.
        """
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else None

    def as_dict(self) -> dict[str, Any]:
        """All counts and `hit_rate` by name: numbers, None and dictionaries of these, for JSON."""
        return {**asdict(self), "hit_rate": self.hit_rate}

    def __str__(self) -> str:
        """A table for people."""
        rate = self.hit_rate
        lookups = self.hits + self.misses + self.bypassed_lookups
        hits = {
            "memory": self.memory_hits,
            "store": self.store_hits,
            "another caller's": self.coalesced,
            "stale": self.stale,
            "similar questions": 0 if self.semantic is None else self.semantic.hits,
        }
        stored = {"evicted": self.evictions, "expired": self.expired}
        unconfirmed = {"unconfirmed": self.writes_unconfirmed}
        store_size = "" if self.store_bytes is None else size(self.store_bytes)
        return table(
            [
                ("Lookups", f"{lookups:,}", []),
                ("Hits", f"{self.hits:,}", counted(hits)),
                ("Misses", f"{self.misses:,}", counted(self.missed)),
                ("Hit rate", "" if rate is None else percent(rate), []),
                ("Updates", _some(self.updates), counted(unconfirmed)),
                ("Saved", "", self._saved()),
                ("Entries in memory", f"{self.entries:,}", counted(stored)),
                ("Size in memory", size(self.bytes), []),
                ("Size of the store", store_size, []),
                ("Similar questions", "", [] if self.semantic is None else self.semantic.rows()),
                ("Bypassed", "", counted(self.bypassed)),
                ("Not kept", "", counted(self.skipped)),
                ("Errors", "", counted(self.errors)),
            ]
        )

    def _saved(self) -> list[tuple[str, str]]:
        sent, made = self.input_tokens_saved, self.output_tokens_saved
        rows = counted({"input tokens": sent, "output tokens": made})
        return [*rows, ("money", money(self.money_saved))] if self.money_saved else rows

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython and Jupyter show: the table."""
        printer.text("CacheStats(…)" if cycle else str(self))


class Lookups(NamedTuple):
    """Lookups that neither memory nor the store answered, in some stretch of time."""

    hits: int
    misses: int
    input_tokens: int
    output_tokens: int
    money: float


class Tally:
    """Thread-safe counters, and the log lines that go with trouble."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Start at zero. `clock` returns Unix time in seconds."""
        self._clock = clock
        # No lock: signal handlers and finalizers come at any time, and may use the cache; what such
        # a handler raises would leave one held.
        self._counts = Counts(REASONS_MAX, OTHER)
        self.store_trouble = Spell()
        """What makes the store unusable, so that memory serves without it."""
        self.writing = Writing()
        self.store_bytes: int | None = None
        """Size of the store, as it was measured last."""

    def add(self, name: str, count: int = 1) -> None:
        """Add to a plain count."""
        self._counts.add(name, count)

    def hit(self, name: str, worth: Worth) -> None:
        """Add one to a plain count, and to what hits have saved."""
        self._counts.hit(name, worth, self._clock())

    def miss(self, reason: str, count: int = 1) -> None:
        """Add to the misses, by reason."""
        self._counts.miss(reason, count, self._clock())

    def count(self, group: str, reason: str) -> None:
        """Count one of a group by reason, without a word."""
        self._counts.note(group, reason, 1)

    def has_store(self, problem: str | None = None) -> None:
        """Note whether the store is usable. If not, log that once, and no other trouble of it."""
        if problem is None:
            self.store_trouble.end()
        elif self.store_trouble.reason is None:
            self.note("errors", "store_unusable", "llmemo: %s", problem)
            self.store_trouble.begin(problem)

    def store_failed(self, verb: str, error: Exception, count: int = 1) -> None:
        """Note that the store did not read or write so much."""
        text = "llmemo: the store failed to %s: %s"
        self.note("errors", f"store_{verb}", text, verb, text_of(error), count=count)

    def note(self, group: str, reason: str, message: str, *args: object, count: int = 1) -> None:
        """Count some of a group by reason, and log it, at most once a minute for each reason.

        `message` and `args` must hold no prompt, answer or model description: a log is not where
        a user expects to find them.
        """
        reason = self._counts.note(group, reason, count)
        if self.store_trouble.reason is not None and reason.startswith("store_"):
            return
        if not self._counts.is_due(reason, time.monotonic(), LOG_INTERVAL):
            return
        # Nor may a handler of the user's that raises reach the model call.
        try:
            logger.warning(message, *args)
        except Exception as error:
            if is_interrupt(error):
                raise

    def history(self) -> list[tuple[float, list[tuple[float, Lookups]]]]:
        """What `hit` and `miss` counted, over time: see `Counts.history`."""
        return [
            (width, [(start, Lookups(*counted)) for start, counted in buckets])
            for width, buckets in self._counts.history()
        ]

    def snapshot(self) -> tuple[Counter[str], Worth, dict[str, dict[str, int]]]:
        """Copies of the plain counts, of what was saved, and of the counts by reason: at once."""
        counts, saved, by_reason = self._counts.snapshot()
        groups = {group: by_reason.get(group, {}) for group in GROUPS}
        return Counter(counts), Worth(*saved), groups

"""Counting what happens, and saying it once."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from dataclasses import dataclass, field

from llmemo import process
from llmemo.errors import text_of
from llmemo.native import RLock
from llmemo.prices import Worth

logger = logging.getLogger("llmemo")

LOG_INTERVAL = 60.0
"""Seconds between two log lines of one kind."""

REASONS_MAX = 64
"""Reasons of one group that are counted by name. There are fewer than half as many: names that come
from outside belong into a log line, never into a reason."""

OTHER = "other"
"""What the rest are counted as."""


@dataclass(frozen=True)
class CacheStats:
    """What a cache has done since it was made. Plain counts, but for `entries` and `bytes`."""

    hits: int
    """Lookups that were answered: `memory_hits + store_hits + coalesced + stale`."""
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
    """Updates that returned before the store had confirmed them."""
    input_tokens_saved: int
    """Tokens that hits did not send to a model, as far as their answers say (`usage_metadata`)."""
    output_tokens_saved: int
    """Tokens that models did not have to make for them."""
    money_saved: float
    """What these would have cost by the `prices` that the cache was given, in their currency."""
    bypassed: dict[str, int] = field(default_factory=dict)
    """Lookups and updates of requests that do not say what is asked, or that were told to
    (`requested`), by reason; such a lookup is neither a hit nor a miss."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Answers that were not kept, by reason. `not_parsed`: they were, until an output parser could
    not read them."""
    errors: dict[str, int] = field(default_factory=dict)
    """Troubles that were survived, by kind."""


class Tally:
    """Thread-safe counters, and the log lines that go with trouble."""

    def __init__(self) -> None:
        """Start at zero."""
        # Reentrant: signal handlers and finalizers come at any time, and may use the cache.
        self._lock = RLock()
        self._counts: Counter[str] = Counter()
        self._by_reason: dict[str, Counter[str]] = {
            "bypassed": Counter(),
            "skipped": Counter(),
            "errors": Counter(),
        }
        # As three numbers: a new `Worth` for each hit takes half a microsecond.
        self._sent = self._made = 0
        self._money = 0.0
        self._logged: dict[str, float] = {}
        self._is_storeless = False
        process.has_lock(self)

    def after_fork_in_child(self) -> None:
        """See `process.has_lock`."""
        self._lock = RLock()

    def add(self, name: str, count: int = 1) -> None:
        """Add to a plain count."""
        with self._lock:
            self._counts[name] += count

    def hit(self, name: str, worth: Worth) -> None:
        """Add one to a plain count, and to what hits have saved."""
        with self._lock:
            self._counts[name] += 1
            sent, made, money = worth
            self._sent += sent
            self._made += made
            self._money += money

    def count(self, group: str, reason: str) -> None:
        """Count one of a group by reason, without a word."""
        with self._lock:
            self._count(group, reason, 1)

    def _count(self, group: str, reason: str, count: int) -> str:
        """Count some, with the lock held. Returns what they are counted as."""
        counts = self._by_reason[group]
        if reason not in counts and len(counts) >= REASONS_MAX:
            reason = OTHER
        counts[reason] += count
        return reason

    def has_store(self, problem: str | None = None) -> None:
        """Whether there is a store; if not, this is said now, and nothing more of its troubles."""
        if problem is None:
            self._is_storeless = False
        elif not self._is_storeless:
            self.note("errors", "store_unusable", "llmemo: %s", problem)
            self._is_storeless = True

    def store_failed(self, verb: str, error: Exception, count: int = 1) -> None:
        """Note that the store did not read or write so much."""
        text = "llmemo: the store failed to %s: %s"
        self.note("errors", f"store_{verb}", text, verb, text_of(error), count=count)

    def note(self, group: str, reason: str, message: str, *args: object, count: int = 1) -> None:
        """Count some of a group by reason, and log it, at most once a minute for each reason.

        `message` and `args` must hold no prompt, answer or model description: a log is not where
        a user expects to find them.
        """
        now = time.monotonic()
        with self._lock:
            reason = self._count(group, reason, count)
            if self._is_storeless and reason.startswith("store_"):
                return
            last = self._logged.get(reason)
            if last is not None and now - last < LOG_INTERVAL:
                return
            self._logged[reason] = now
        # Nor may a handler of the user's that raises reach the model call.
        with contextlib.suppress(Exception):
            logger.warning(message, *args)

    def snapshot(self) -> tuple[Counter[str], Worth, dict[str, dict[str, int]]]:
        """Copies of the plain counts, of what was saved, and of the counts by reason: at once."""
        with self._lock:
            groups = {group: dict(counts) for group, counts in self._by_reason.items()}
            saved = Worth(self._sent, self._made, self._money)
            return self._counts.copy(), saved, groups

"""What a cache has done, added up from its tiers' counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.config import misplaced_options
from llmemo.telemetry.savings import Worth, total
from llmemo.telemetry.stats import CacheStats, SemanticStats

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from llmemo._core import Memory
    from llmemo.telemetry.stats import Tally

    MakeSemantic = Callable[[Counter[str], dict[str, int]], SemanticStats]


class Counting:
    """The counts of one cache. It leads neither to the cache nor to its models or store.

    So a finalizer of the cache may hold it, and read the counts once more.
    """

    def __init__(self, memory: Memory, tally: Tally) -> None:
        """Begin at zero."""
        self._memory = memory
        self._tally = tally
        self._misplaced_before = misplaced_options.counts()

    def stats(self, semantic: MakeSemantic | None) -> CacheStats:
        """The counts now. `semantic`: makes those of near matches; None: there are none."""
        memory = self._memory.counts()
        counts, saved, groups = self._tally.snapshot()
        for reason, count in misplaced_options.counts().items():
            since = count - self._misplaced_before.get(reason, 0)
            if since:
                groups["errors"][reason] = since
        saved = total((saved, Worth(memory.input_tokens, memory.output_tokens, memory.money)))
        abstained, others = groups.pop("abstained"), counts["coalesced"] + counts["stale"]
        others += counts["semantic"]
        return CacheStats(
            hits=memory.hits + memory.fills + others,
            misses=counts["misses"],
            memory_hits=memory.hits,
            store_hits=memory.fills,
            coalesced=counts["coalesced"],
            stale=counts["stale"],
            updates=counts["updates"],
            evictions=memory.evictions,
            expired=memory.expired + counts["expired"],
            entries=memory.entries,
            bytes=memory.bytes,
            writes_unconfirmed=counts["writes_unconfirmed"],
            input_tokens_saved=saved.input_tokens,
            output_tokens_saved=saved.output_tokens,
            money_saved=saved.money,
            semantic=None if semantic is None else semantic(counts, abstained),
            bypassed_lookups=counts["bypasses"],
            store_bytes=self._tally.store_bytes,
            **groups,
        )

    def last_stats(self) -> CacheStats:
        """The counts of a cache that is gone: without what is certified of near matches."""
        return self.stats(_counted)


def _counted(counts: Counter[str], abstained: dict[str, int]) -> SemanticStats:
    checks, wrong = counts["semantic_checks"], counts["semantic_wrong"]
    return SemanticStats(counts["semantic"], checks, wrong, None, None, abstained)

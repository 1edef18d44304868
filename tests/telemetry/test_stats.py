"""`stats()`: read by people and by programs."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from support.doubles import answer
from support.servers import wait_until

from llmemo import CacheStats, LLMCache, SemanticStats, options, track
from llmemo.telemetry.savings import NOTHING, Worth, total

if TYPE_CHECKING:
    from pathlib import Path

NONE: dict[str, Any] = dict.fromkeys(
    [
        "hits",
        "misses",
        "memory_hits",
        "store_hits",
        "coalesced",
        "stale",
        "updates",
        "evictions",
        "expired",
        "entries",
        "bytes",
        "writes_unconfirmed",
        "input_tokens_saved",
        "output_tokens_saved",
        "money_saved",
    ],
    0,
)

BUSY: dict[str, Any] = {
    **NONE,
    "hits": 1_200_001,
    "misses": 34_567,
    "memory_hits": 1_100_000,
    "store_hits": 100_000,
    "updates": 34_000,
    "entries": 12_345,
    "bytes": 3 * 2**30,
    "writes_unconfirmed": 2,
    "output_tokens_saved": 98_765_432,
    "money_saved": 1_234.567,
    "skipped": {"too_long": 3, "tool_calls": 40},
    "errors": {},
    "semantic": SemanticStats(1, 20, 1, 0.91, 0.0123, {"no_vector": 2}),
    "store_bytes": 5 * 2**20,
}


def test_a_person_reads_a_table() -> None:
    assert str(CacheStats(**BUSY)).splitlines() == [
        "Lookups                1,234,568",
        "Hits                   1,200,001",
        "  memory               1,100,000",
        "  store                  100,000",
        "  similar questions            1",
        "Misses                    34,567",
        "Hit rate                  97.2 %",
        "Updates                   34,000",
        "  unconfirmed                  2",
        "Saved",
        "  output tokens       98,765,432",
        "  money                 1,234.57",
        "Entries in memory         12,345",
        "Size in memory       3,072.0 MiB",
        "Size of the store        5.0 MiB",
        "Similar questions",
        "  checks                      20",
        "  wrong checks                 1",
        "  served from score        0.910",
        "  wrong at most            1.2 %",
        "  no_vector                    2",
        "Not kept",
        "  tool_calls                  40",
        "  too_long                     3",
    ]


def test_of_an_unused_cache_little_is_said() -> None:
    assert str(LLMCache().stats()).splitlines() == [
        "Lookups                  0",
        "Hits                     0",
        "Misses                   0",
        "Entries in memory        0",
        "Size in memory     0.0 KiB",
    ]


def test_a_notebook_shows_the_table() -> None:
    shown: list[str] = []

    class Printer:
        text = shown.append

    stats = CacheStats(**BUSY)
    stats._repr_pretty_(Printer(), cycle=False)
    assert shown == [str(stats)]


def test_the_hit_rate() -> None:
    cache = LLMCache()
    assert cache.stats().hit_rate is None
    with options(mode="bypass"):
        cache.lookup("p", "m")
    assert cache.stats().hit_rate is None  # neither a hit nor a miss
    assert cache.stats().bypassed_lookups == 1
    cache.lookup("p", "m")
    assert cache.stats().hit_rate == 0.0
    cache.update("p", "m", answer("p"))
    for _ in range(3):
        cache.lookup("p", "m")
    assert cache.stats().hit_rate == 0.75


def test_a_program_reads_a_dictionary() -> None:
    stats = CacheStats(**BUSY)
    found = json.loads(json.dumps(stats.as_dict(), allow_nan=False))
    assert found.pop("hit_rate") == stats.hit_rate
    semantic = SemanticStats(**found.pop("semantic"))
    assert CacheStats(**{**found, "semantic": semantic}) == stats
    assert json.dumps(LLMCache().stats().as_dict(), allow_nan=False)


def test_they_are_compared_and_pickled_and_shown_by_value() -> None:
    stats = CacheStats(**BUSY)
    assert pickle.loads(pickle.dumps(stats)) == stats == CacheStats(**BUSY)
    assert stats != CacheStats(**NONE)
    assert repr(stats).startswith("CacheStats(hits=1200001, misses=34567, ")


def costing(tokens: int) -> list[ChatGeneration]:
    usage: Any = {"input_tokens": tokens, "output_tokens": 0, "total_tokens": tokens}
    message = AIMessage("yes", usage_metadata=usage, response_metadata={"model_name": "small"})
    return [ChatGeneration(message=message)]


def test_money_is_rounded() -> None:
    assert 0.1 + 0.1 + 0.1 != 0.3
    cache = LLMCache(prices={"small": (0.1, 0.0)})
    cache.update("p", "m", costing(1_000_000))
    with track() as tracker:
        for _ in range(3):
            assert cache.lookup("p", "m") is not None
    assert cache.stats().money_saved == 0.3
    assert tracker.saved == Worth(3_000_000, 0, 0.3)


def test_much_money_of_very_little_is_not_rounded_away() -> None:
    cache = LLMCache(prices={"small": (0.0001, 0.0)})
    cache.update("p", "m", costing(1))  # 1e-10 each
    with track() as tracker:
        for _ in range(1_000):
            cache.lookup("p", "m")
    assert cache.stats().money_saved == 1e-7
    assert tracker.saved.money == 1e-7
    assert total([]) == NOTHING


def test_the_size_of_the_store_is_known_once_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with LLMCache(path) as cache:
        assert cache.stats().store_bytes is None
        cache.update("p", "m", answer("p"))
        tally = cache._tiers.tally
        store = cache._tiers.store
        assert store is not None
        size = sum(
            each.stat().st_size for each in tmp_path.glob("cache.db*") if "lock" not in each.name
        )
        shm = tmp_path / "cache.db-shm"
        assert store.stored_bytes() == size - (shm.stat().st_size if shm.exists() else 0)
        wait_until(lambda: tally.store_bytes is not None, "the store tells its size")
        assert cache.stats().store_bytes == tally.store_bytes
    assert LLMCache().stats().store_bytes is None

"""Counters over time, by the cache's own clock: all that `stats()` counts is in some bar."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from support.doubles import Clock, answer

from llmemo import LLMCache
from llmemo.report.time_series import BARS_MAX, DAY, HOUR, MINUTE, Series, series_of

if TYPE_CHECKING:
    from pathlib import Path

START = 1_700_000_040.0
"""The beginning of a minute, and of no longer stretch."""


def series(cache: LLMCache, now: float) -> Series:
    return series_of(cache._tiers.memory, cache._tiers.tally, now)


def counted(found: Series) -> list[tuple[float, int, int]]:
    """Where there was anything: when it began, hits, misses."""
    return [
        (found.at(index), bar.hits, bar.misses)
        for index, bar in enumerate(found.bars)
        if bar.lookups
    ]


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = START
    return clock


@pytest.fixture
def cache(clock: Clock) -> LLMCache:
    # Without leases: misses here have no update.
    cache = LLMCache(clock=clock, single_flight=False)
    cache.update("q", "m", answer("q"))
    return cache


def ask(cache: LLMCache, hits: int, misses: int = 0) -> None:
    for _ in range(hits):
        assert cache.lookup("q", "m") is not None
    for _ in range(misses):
        assert cache.lookup("absent", "m") is None


def test_minutes(cache: LLMCache, clock: Clock) -> None:
    ask(cache, 3, 1)
    clock.now += 59
    ask(cache, 1)
    clock.now += 1
    ask(cache, 0, 2)
    clock.now += 10 * MINUTE
    ask(cache, 5)
    found = series(cache, clock.now)
    assert found.step == MINUTE
    assert counted(found) == [(START, 4, 1), (START + 60, 0, 2), (START + 660, 5, 0)]


def test_a_day(cache: LLMCache, clock: Clock) -> None:
    for _ in range(24):
        ask(cache, 2, 1)
        clock.now += HOUR
    found = series(cache, clock.now)
    assert found.step == 15 * MINUTE
    assert len(found.bars) <= BARS_MAX
    bars = counted(found)
    assert len(bars) == 24
    assert {bar[1:] for bar in bars} == {(2, 1)}
    assert bars[0][0] <= START < bars[0][0] + found.step


@pytest.mark.parametrize("days", [1, 3, 10, 89, 400])
def test_all_is_counted_however_long_it_takes(cache: LLMCache, clock: Clock, days: int) -> None:
    rng = random.Random(days)
    for _ in range(500):
        clock.now += rng.expovariate(500 / (days * DAY))
        ask(cache, rng.randrange(3), rng.randrange(2))
    found, stats = series(cache, clock.now), cache.stats()
    assert len(found.bars) <= BARS_MAX
    if days < 80:
        assert (found.total.hits, found.total.misses) == (stats.hits, stats.misses)
    else:
        # 90 days are remembered.
        assert 0 < found.total.hits <= stats.hits


def test_a_year_of_one_lookup_a_day(cache: LLMCache, clock: Clock) -> None:
    for _ in range(365):
        ask(cache, 1)
        clock.now += DAY
    found = series(cache, clock.now)
    assert len(found.bars) <= BARS_MAX
    # A bucket is remembered, not a length of time: 360 of the last kind.
    assert found.total.hits >= 359


def test_a_clock_that_goes_back(cache: LLMCache, clock: Clock) -> None:
    ask(cache, 1)
    clock.now += 5 * MINUTE
    ask(cache, 2)
    clock.now -= 3 * MINUTE
    ask(cache, 4, 1)
    found = series(cache, clock.now)
    assert (found.total.hits, found.total.misses) == (7, 1)
    assert counted(found)[0] == (START, 1, 0)


@pytest.mark.parametrize("odd", [0.0, -5.0, float("nan"), float("inf"), 1e300])
def test_an_odd_clock(cache: LLMCache, clock: Clock, odd: float, tmp_path: Path) -> None:
    ask(cache, 1, 1)
    clock.now = odd
    ask(cache, 1, 1)
    cache.report(tmp_path / "report.html")


def test_savings_are_in_the_minute_of_their_hit(cache: LLMCache, clock: Clock) -> None:
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration

    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    message = AIMessage("yes", usage_metadata=usage)
    cache.update("dear", "m", [ChatGeneration(message=message)])
    clock.now += MINUTE
    assert cache.lookup("dear", "m") is not None
    clock.now += MINUTE
    found = series(cache, clock.now)
    assert [bar.tokens for bar in found.bars][-3:] == [0, 7, 0]


def test_misses_are_counted_by_reason(cache: LLMCache) -> None:
    from llmemo import options

    ask(cache, 1, 3)
    with options(mode="refresh"):
        cache.lookup("q", "m")
    cache.close()
    cache.lookup("q", "m")
    stats = cache.stats()
    assert stats.missed == {"absent": 3, "refresh": 1, "closed": 1}
    assert sum(stats.missed.values()) == stats.misses

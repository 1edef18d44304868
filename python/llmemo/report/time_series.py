"""What a cache counted over time, as the bars of a chart."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from llmemo._core import memory_history

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmemo._core import Memory
    from llmemo.telemetry.stats import Tally

BARS_MAX = 100
"""Most bars of a chart."""

BARS_MIN = 12
"""Fewest: a cache that has just begun has empty ones before its first."""

MINUTE, HOUR, DAY = 60, 3600, 86400

STEPS = (
    MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR,
    DAY, 2 * DAY, 7 * DAY, 28 * DAY,
)  # fmt: skip
"""Lengths that a bar may stand for, in seconds. Each is a multiple of a resolution of `History`."""


class Sums(NamedTuple):
    """What was counted in a stretch of time."""

    memory_hits: int = 0
    store_hits: int = 0
    other_hits: int = 0
    """With another caller's answer, a stale one, or that of a similar question."""
    misses: int = 0
    evictions: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    money: float = 0.0

    @property
    def hits(self) -> int:
        """Hits of all kinds."""
        return self.memory_hits + self.store_hits + self.other_hits

    @property
    def lookups(self) -> int:
        """Hits and misses."""
        return self.hits + self.misses

    @property
    def hit_rate(self) -> float | None:
        """Part of the lookups that were hits; None without lookups."""
        return self.hits / self.lookups if self.lookups else None

    @property
    def tokens(self) -> int:
        """Tokens saved, sent and made."""
        return self.input_tokens + self.output_tokens

    def plus(self, other: Sums) -> Sums:
        """Both together."""
        return Sums._make(mine + more for mine, more in zip(self, other, strict=True))


class Series(NamedTuple):
    """Equal stretches of time, one after the other."""

    start: float
    """When the first begins, as Unix time in seconds."""
    step: float
    """Length of each, in seconds."""
    bars: tuple[Sums, ...]

    @property
    def total(self) -> Sums:
        """All of them together."""
        total = Sums()
        for bar in self.bars:
            total = total.plus(bar)
        return total

    def at(self, index: int) -> float:
        """When a bar begins, as Unix time in seconds."""
        return self.start + index * self.step


def series_of(memory: Memory, tally: Tally, now: float) -> Series:
    """The finest series that has all that was counted and still fits into a chart."""
    levels = [_level(*both) for both in zip(memory_history(memory), tally.history(), strict=True)]
    most = max(_lookups(buckets) for _, buckets in levels)
    for width, buckets in levels:
        if buckets and _lookups(buckets) == most:
            return _fitted(width, buckets, now)
    return Series(now - BARS_MIN * MINUTE, MINUTE, (Sums(),) * BARS_MIN)


Buckets = dict[float, Sums]


def _level(
    of_memory: tuple[float, Iterable[tuple[float, tuple[int, int, int, int, int, float]]]],
    of_others: tuple[float, Iterable[tuple[float, tuple[int, int, int, int, float]]]],
) -> tuple[float, Buckets]:
    """One resolution: the length of a bucket, and what was counted in each."""
    width, in_memory = of_memory
    buckets: defaultdict[float, Sums] = defaultdict(Sums)
    for start, (hits, fills, evictions, sent, made, money) in in_memory:
        buckets[start] = Sums(hits, fills, 0, 0, evictions, sent, made, money)
    for start, (hits, misses, sent, made, money) in of_others[1]:
        more = Sums(0, 0, hits, misses, 0, sent, made, money)
        buckets[start] = buckets[start].plus(more)
    return width, dict(buckets)


def _lookups(buckets: Buckets) -> int:
    return sum(bucket.lookups for bucket in buckets.values())


def _fitted(width: float, buckets: Buckets, now: float) -> Series:
    first, last = min(buckets), max(now, *buckets)
    step: float = STEPS[-1]
    while (last - first) / step > BARS_MAX - 2:
        step *= 2  # years
    step = next((it for it in STEPS if it >= width and (last - first) / it <= BARS_MAX - 2), step)
    count = max(int(last // step) - int(first // step) + 1, BARS_MIN)
    start = (int(last // step) - count + 1) * step
    bars = [Sums()] * count
    for at, bucket in buckets.items():
        index = int((at - start) // step)
        bars[index] = bars[index].plus(bucket)
    return Series(start, step, tuple(bars))

"""What metrics take: a scrape of a large cache, the event loop beside it, and a hit.

`python -m benches.metrics` prints it. An argument sets the number of entries (default: 1,000,000).

A scrape is prometheus_client's `generate_latest`, by another thread, as its servers do it. "copy"
is what each process of several does once a second. A hit is timed with and without an exporter, in
turns: the ratio is that of the best turns.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING

from langchain_core.outputs import Generation
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console
from rich.table import Table

from benches.lateness import late
from llmemo import LLMCache, PrometheusCollector, instrument_otel
from llmemo.integrations.prometheus_mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = [Generation(text="answer " * 10)]
SCRAPES = 200
TURNS = 400
HITS = 2_000
"""Of a turn: a few milliseconds, which even a busy machine leaves alone now and then."""
SECONDS = 3.0


def filled(entries: int) -> LLMCache:
    """Make a cache with this number of answers."""
    cache = LLMCache(max_bytes=2**34)
    for number in range(entries):
        cache.update(f"question {number}", "m", SMALL)
    assert cache.stats().entries == entries
    return cache


def exported(cache: LLMCache) -> CollectorRegistry:
    """A registry of one process with the cache."""
    registry = CollectorRegistry()
    folder = os.environ.pop("PROMETHEUS_MULTIPROC_DIR")
    PrometheusCollector(cache, registry=registry)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    return registry


def mirrored(cache: LLMCache) -> Mirror:
    """What copies the figures of a cache to files, without its thread."""
    mirror = Mirror("llmemo_")
    mirror.watched.add(cache, "default")
    return mirror


def times(work: Callable[[], object]) -> list[float]:
    """Seconds that it takes, again and again; in order of size."""
    found = []
    for _ in range(SCRAPES):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return sorted(found)


def shown(seconds: list[float]) -> list[str]:
    """Median and 95 %, in milliseconds: on a busy machine the worst says little."""
    high = seconds[int(0.95 * len(seconds))]
    return [f"{1_000 * it:.3f}" for it in (statistics.median(seconds), high)]


class Scraper:
    """Scrapes from another thread, again and again, for as long as its `with` block."""

    def __init__(self, registry: CollectorRegistry, pause: float) -> None:
        """`pause`: seconds between two scrapes."""
        self._registry, self._pause = registry, pause
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._is_over.wait(self._pause):
            generate_latest(self._registry)

    def __enter__(self) -> None:
        """Begin."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """End."""
        self._is_over.set()
        self._thread.join()


def hit_seconds(cache: LLMCache) -> float:
    """Seconds for one hit in memory."""
    begun = time.perf_counter()
    for _ in range(HITS):
        cache.lookup("question 7", "m")
    return (time.perf_counter() - begun) / HITS


def hit_ratio() -> tuple[float, float]:
    """Seconds for a hit of a cache without exporters, and of one with all of them."""
    plain, measured = filled(1_000), filled(1_000)
    registry = exported(measured)
    instrument_otel(measured)
    # One that copies to files each second, as well, and one scrape a second.
    collector = PrometheusCollector(measured, registry=None)
    best = dict.fromkeys((plain, measured), 1.0)
    with Scraper(registry, 1.0):
        for cache in itertools.chain.from_iterable([(plain, measured), (measured, plain)] * TURNS):
            best[cache] = min(best[cache], hit_seconds(cache))
    assert list(collector.collect())
    return best[plain], best[measured]


async def lateness(registry: CollectorRegistry | None) -> list[float]:
    """By how much beats of 1 ms come late beside a hundred scrapes a second, in order of size."""
    if registry is None:
        return (await late(asyncio.sleep(SECONDS)))[1]
    with Scraper(registry, 0.01):
        return (await late(asyncio.sleep(SECONDS)))[1]


def main() -> None:
    """Measure, and print tables."""
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    console = Console()
    caches = {count: filled(count) for count in (1_000, entries)}
    table = Table("entries", "stats(), ms", "95 %", "scrape, ms", "95 %", "copy, ms", "95 %")
    for count, cache in caches.items():
        registry = exported(cache)
        scrape = functools.partial(generate_latest, registry)
        timed = [times(work) for work in (cache.stats, scrape, mirrored(cache).copy)]
        table.add_row(f"{count:,}", *itertools.chain.from_iterable(map(shown, timed)))
    console.print(table)
    table = Table("event loop, beats of 1 ms", "late, ms: median", "95 %")
    scraped = exported(caches[entries])
    for what, beside in {"alone": None, "beside 100 scrapes a second": scraped}.items():
        table.add_row(what, *shown(asyncio.run(lateness(beside))))
    console.print(table)
    plain, measured = hit_ratio()
    text = f"hit: {1e6 * plain:.3f} µs; exported: {1e6 * measured:.3f} µs, {measured / plain:.3f}x"
    console.print(text)
    table = Table("health()", "ms", "95 %")
    with tempfile.TemporaryDirectory() as folder, LLMCache(f"{folder}/cache.db") as cache:
        cache.update("p", "m", SMALL)
        table.add_row("SQLite", *shown(times(cache.health)))
    console.print(table)


def main_with_files() -> int:
    """The same, where prometheus_client keeps its values in files, as for several processes."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        main()
        return 0
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": folder}
        command = [sys.executable, "-m", "benches.metrics", *sys.argv[1:]]
        return subprocess.call(command, env=environment)


if __name__ == "__main__":
    sys.exit(main_with_files())

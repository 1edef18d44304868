"""How long a hit in an SQLite store takes in a file of a million rows, beside one of ten thousand.

    .venv/bin/python benches/rows.py [ROWS] [FOLDER]

Fills two files through the cache itself (1,000,000 rows of 1 KB: 1.5 GB, some minutes), then looks
random keys up in both by turns, one after the other and 64 at once; no memory tier. FOLDER: where
the files go, and stay for the next time; by default they are removed.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from langchain_core.outputs import Generation

from llmemo import LLMCache

FEW = 10_000
BATCH = 1_000
LOOKUPS = 640
TURNS = 15
WORDS = [f"word{n}" for n in range(2_000)]


def answer(number: int) -> list[Generation]:
    """About 1 KB that is not like another."""
    return [Generation(text=" ".join(random.Random(number).choices(WORDS, k=125)))]


async def fill(cache: LLMCache, rows: int) -> None:
    """Put so many rows in, unless the last one is there."""
    if await cache.alookup(f"prompt {rows - 1}", "model") is not None:
        return
    start = time.perf_counter()
    for first in range(0, rows, BATCH):
        await asyncio.gather(
            *(cache.aupdate(f"prompt {n}", "model", answer(n)) for n in range(first, first + BATCH))
        )
    took = time.perf_counter() - start
    print(f"{rows:,} rows written in {took:.0f} s ({took / rows * 1e6:.0f} µs each)")


async def hit(cache: LLMCache, rows: int, at_once: int) -> float:
    """Seconds for one hit, among so many at once."""
    keys = [f"prompt {random.randrange(rows)}" for _ in range(LOOKUPS)]
    start = time.perf_counter()
    for first in range(0, LOOKUPS, at_once):
        found = await asyncio.gather(
            *(cache.alookup(key, "model") for key in keys[first : first + at_once])
        )
        assert None not in found
    return (time.perf_counter() - start) / LOOKUPS


async def compare(folder: Path, many: int) -> None:
    """Fill both files, and look keys up in them by turns."""
    caches = {
        rows: LLMCache(folder / f"{rows}.db", max_bytes=0, store_timeout=300.0)
        for rows in (FEW, many)
    }
    for rows, cache in caches.items():
        await fill(cache, rows)
    for at_once in (1, 64):
        times: dict[int, list[float]] = {rows: [] for rows in caches}
        for _ in range(TURNS):
            for rows, cache in caches.items():
                times[rows].append(await hit(cache, rows, at_once))
        few, most = (statistics.median(times[rows]) for rows in caches)
        print(
            f"hit, {at_once} at once: {FEW:,} rows {few * 1e6:.0f} µs,"
            f" {many:,} rows {most * 1e6:.0f} µs: {most / few:.2f} times (bound: 2)"
        )
    for rows, cache in caches.items():
        assert not cache.stats().errors
        await cache.aclose(60.0)
        print(f"{rows:,} rows: {(folder / f'{rows}.db').stat().st_size / 1e6:,.0f} MB")


def main() -> None:
    """See the module."""
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    if len(sys.argv) > 2:
        asyncio.run(compare(Path(sys.argv[2]), many))
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder), many))


if __name__ == "__main__":
    main()

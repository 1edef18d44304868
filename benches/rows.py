"""How long a hit in an SQLite store takes in a file of a million rows, beside one of ten thousand.

    .venv/bin/python benches/rows.py [ROWS] [FOLDER]

Fills two files through the cache itself (1,000,000 rows of 1 KB: 1.5 GB, some minutes), then looks
random keys up in both by turns, one after the other and 64 at once; no memory tier. At last 64 at
once whose pages have to come from the disk: before each batch the file is dropped from RAM (Linux
only). FOLDER: where the files go, and stay for the next time; by default they are removed.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
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
AT_ONCE = 64

# In a process of its own: closing a file takes away the locks that SQLite has on it in that process
# (sqlite.org/howtocorrupt.html, 2.2). Prints which part of the pages is in RAM all the same.
DROP = """
import ctypes, mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
size = os.fstat(file).st_size
os.fsync(file)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
mapped = mmap.mmap(file, size)
start = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
found = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
assert not ctypes.CDLL(None).mincore(ctypes.c_void_p(start), ctypes.c_size_t(size), found)
print(sum(one & 1 for one in found) / len(found))
"""
IN_RAM = 0.05
"""Largest part of a dropped file that may be in RAM."""

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


async def hit(cache: LLMCache, rows: int, at_once: int, lookups: int = LOOKUPS) -> float:
    """Seconds for one hit, among so many at once."""
    keys = [f"prompt {random.randrange(rows)}" for _ in range(lookups)]
    start = time.perf_counter()
    for first in range(0, lookups, at_once):
        found = await asyncio.gather(
            *(cache.alookup(key, "model") for key in keys[first : first + at_once])
        )
        assert None not in found
    return (time.perf_counter() - start) / lookups


def drop(path: Path) -> None:
    """Have a database leave the RAM."""
    for file in (path, path.with_name(f"{path.name}-wal")):
        if file.exists() and file.stat().st_size:
            command = [sys.executable, "-c", DROP, str(file)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            assert float(done.stdout) < IN_RAM, f"{file} does not leave the RAM: {done.stdout}"


async def compare_cold(folder: Path, caches: dict[int, LLMCache]) -> None:
    """Look keys up in both by turns, from the disk. The caches stay open, as in a service."""
    times: dict[int, list[float]] = {rows: [] for rows in caches}
    for _ in range(TURNS):
        for rows, cache in caches.items():
            drop(folder / f"{rows}.db")
            times[rows].append(await hit(cache, rows, AT_ONCE, AT_ONCE) * AT_ONCE)
    few, most = (statistics.median(each) for each in times.values())
    many = max(caches)
    print(
        f"hit, {AT_ONCE} at once, pages dropped: {FEW:,} rows {few * 1e3:.1f} ms,"
        f" {many:,} rows {most * 1e3:.1f} ms: {most / few:.2f} times (bound: 3)"
    )


async def compare(folder: Path, many: int) -> None:
    """Fill both files, and look keys up in them by turns."""
    caches = {
        rows: LLMCache(folder / f"{rows}.db", max_bytes=0, store_timeout=300.0)
        for rows in (FEW, many)
    }
    for rows, cache in caches.items():
        await fill(cache, rows)
    for at_once in (1, AT_ONCE):
        times: dict[int, list[float]] = {rows: [] for rows in caches}
        for _ in range(TURNS):
            for rows, cache in caches.items():
                times[rows].append(await hit(cache, rows, at_once))
        few, most = (statistics.median(times[rows]) for rows in caches)
        print(
            f"hit, {at_once} at once: {FEW:,} rows {few * 1e6:.0f} µs,"
            f" {many:,} rows {most * 1e6:.0f} µs: {most / few:.2f} times (bound: 2)"
        )
    if sys.platform == "linux":
        await compare_cold(folder, caches)  # last: it leaves the files outside the RAM
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

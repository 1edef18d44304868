"""How late an event loop is beside large removals, answers, prompts and loads of vectors.

`python -m benches.lateness` prints it.

For each: how long it takes, and by how much a beat of 1 ms came late meanwhile: 99.9 % of the beats
and the worst. With a file
SQLite copies each value with the GIL held, on the private thread.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.outputs import Generation
from rich.console import Console
from rich.table import Table

from llmemo import LLMCache, Semantic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ENTRIES = 300_000
VECTORS, DIMENSIONS = 100_000, 384
SIZES = (1, 8, 60)
"""Megabytes."""
BEAT = 0.001
SMALL = [Generation(text="answer " * 10)]


class Drawn(Embeddings):
    """Vectors drawn by a text: as far apart as can be."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        seeds = (zlib.crc32(text.encode()) for text in texts)
        return [np.random.default_rng(it).standard_normal(DIMENSIONS).tolist() for it in seeds]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


async def late(work: Awaitable[object]) -> tuple[float, list[float]]:
    """Seconds that work took, and by which each beat came late, in order of size."""
    beats: list[float] = []
    is_over = False

    async def beat() -> None:
        while not is_over:
            begun = time.perf_counter()
            await asyncio.sleep(BEAT)
            beats.append(time.perf_counter() - begun - BEAT)

    beating = asyncio.create_task(beat())
    await asyncio.sleep(20 * BEAT)
    beats.clear()
    begun = time.perf_counter()
    await work
    took = time.perf_counter() - begun
    await asyncio.sleep(10 * BEAT)
    is_over = True
    await beating
    return took, sorted(beats)


async def load(folder: Path, row: Callable[[str, Awaitable[object]], Awaitable[None]]) -> None:
    """The first question of a partition whose vectors are in a file."""
    settings: dict[str, Any] = {"max_bytes": 2**30, "store_timeout": 60}
    semantic = Semantic(Drawn(), timeout=60)
    async with LLMCache(folder / "vectors.db", semantic=semantic, **settings) as cache:
        for first in range(0, VECTORS, 500):
            names = [f"Where is parcel {number}?" for number in range(first, first + 500)]
            await asyncio.gather(*(cache.aupdate(name, "m", SMALL) for name in names))
    async with LLMCache(folder / "vectors.db", semantic=semantic, **settings) as cache:
        await cache.alookup("Where is parcel 0?", "another")  # imports, and opens the file
        await row(f"first semantic miss, {VECTORS:,} vectors", cache.alookup("Where am I?", "m"))
        await row("the next one", cache.alookup("Where are you?", "m"))


async def main() -> None:
    """Measure, and print a table."""
    table = Table("what", "takes, ms", "late by, ms: 99.9 %", "worst")

    async def row(what: str, work: Awaitable[object]) -> None:
        took, beats = await late(work)
        shown = took, beats[int(0.999 * len(beats))], beats[-1]
        table.add_row(what, *(f"{1_000 * seconds:.1f}" for seconds in shown))

    await row("nothing", asyncio.sleep(0.2))
    async with LLMCache(max_bytes=2**30) as cache:
        for what in ("aclear", "ainvalidate"):
            for number in range(ENTRIES):
                cache.update(str(number), "m", SMALL)
            removal = cache.aclear() if what == "aclear" else cache.ainvalidate(namespace="")
            await row(f"{what}, {ENTRIES:,} entries", removal)
    with tempfile.TemporaryDirectory() as folder:
        await load(Path(folder), row)
    for size in SIZES:
        text = "word %d " * (size * 2**20 // 8)
        with tempfile.TemporaryDirectory() as folder:
            for path in (None, Path(folder) / "bench.db"):
                where = "memory" if path is None else "SQLite"
                async with LLMCache(path, max_bytes=2**30, store_timeout=60) as cache:
                    await row(
                        f"aupdate, answer of {size} MB, {where}",
                        cache.aupdate("p", "m", [Generation(text=text)]),
                    )
                    if path is None:
                        await row(f"alookup, answer of {size} MB", cache.alookup("p", "m"))
                        await row(f"aupdate, prompt of {size} MB", cache.aupdate(text, "m", SMALL))
                        await row(f"alookup, prompt of {size} MB", cache.alookup(text, "m"))
                if path is not None:
                    async with LLMCache(path, max_bytes=2**30, store_timeout=60) as cache:
                        what = f"alookup, answer of {size} MB, {where}"
                        await row(what, cache.alookup("p", "m"))
    Console().print(table)


if __name__ == "__main__":
    asyncio.run(main())

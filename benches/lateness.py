"""How late an event loop is beside large removals, answers and prompts.

`python -m benches.lateness` prints it.

For each: how long it takes, and by how much a beat of 1 ms came late meanwhile. With a file
SQLite copies each value with the GIL held, on the private thread.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.outputs import Generation
from rich.console import Console
from rich.table import Table

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Awaitable

ENTRIES = 300_000
SIZES = (1, 8, 60)
"""Megabytes."""
BEAT = 0.001
SMALL = [Generation(text="answer " * 10)]


async def late(work: Awaitable[object]) -> tuple[float, float]:
    """Seconds that work took, and by which a beat came late at most."""
    worst, is_over = 0.0, False

    async def beat() -> None:
        nonlocal worst
        while not is_over:
            begun = time.perf_counter()
            await asyncio.sleep(BEAT)
            worst = max(worst, time.perf_counter() - begun - BEAT)

    beating = asyncio.create_task(beat())
    await asyncio.sleep(20 * BEAT)
    worst, begun = 0.0, time.perf_counter()
    await work
    took = time.perf_counter() - begun
    await asyncio.sleep(10 * BEAT)
    is_over = True
    await beating
    return took, worst


async def main() -> None:
    """Measure, and print a table."""
    table = Table("what", "takes, ms", "late by, ms")

    async def row(what: str, work: Awaitable[object]) -> None:
        took, worst = await late(work)
        table.add_row(what, f"{1_000 * took:.1f}", f"{1_000 * worst:.1f}")

    await row("nothing", asyncio.sleep(0.2))
    async with LLMCache(max_bytes=2**30) as cache:
        for what in ("aclear", "ainvalidate"):
            for number in range(ENTRIES):
                cache.update(str(number), "m", SMALL)
            removal = cache.aclear() if what == "aclear" else cache.ainvalidate(namespace="")
            await row(f"{what}, {ENTRIES:,} entries", removal)
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

"""How evenly processes share one file: the longest waits, and who got how much.

    .venv/bin/python benches/processes.py [SECONDS] [PROCESSES] [TASKS ...]

Processes of some tasks each ask one SQLite store, as fast as they can: four lookups of five are
hits, and each miss is followed by an update. By default 4 processes, of 8 and then of 64 tasks, for
5 seconds each. No memory tier, so that each hit is a read of the file. Prints for each process its
share of the calls, its longest wait for one, how many took over a second, and how many updates
returned unconfirmed; and the calls that there were by those without single-flight, in turns.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.outputs import Generation

from llmemo import LLMCache

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

KNOWN = 2_000
"""Answers that are there before."""

HITS = 0.8

TURNS = 2
"""Parts of the time, each with and without single-flight."""

LONG = 1.0
"""Seconds."""

WORDS = [f"word{n}" for n in range(2_000)]


class Told(NamedTuple):
    """What one process has seen."""

    number: int
    waits: list[float]
    """Seconds that each lookup, and each update, took."""
    hits: int
    updates: int
    unconfirmed: int
    errors: dict[str, int]


def answer(number: int) -> list[Generation]:
    """About 1 KB."""
    return [Generation(text=" ".join(random.Random(number).choices(WORDS, k=125)))]


async def ask(cache: LLMCache, name: str, until: float, waits: list[float]) -> None:
    """One task's calls."""
    chance, made = random.Random(name), 0
    while time.monotonic() < until:
        is_hit = chance.random() < HITS
        made += 1
        prompt = f"known {chance.randrange(KNOWN)}" if is_hit else f"new {name} {made}"
        start = time.monotonic()
        found = await cache.alookup(prompt, "model")
        waits.append(time.monotonic() - start)
        if found is None:
            start = time.monotonic()
            await cache.aupdate(prompt, "model", answer(made))
            waits.append(time.monotonic() - start)


async def work(
    path: Path,
    number: int,
    seconds: float,
    tasks: int,
    start: Barrier,
    told: Queue[Told],
    single_flight: bool,
) -> None:
    """One process's calls."""
    waits: list[float] = []
    async with LLMCache(path, max_bytes=0, single_flight=single_flight) as cache:
        await cache.alookup("known 0", "model")
        await asyncio.to_thread(start.wait)
        until = time.monotonic() + seconds
        names = [f"{number} {task}" for task in range(tasks)]
        await asyncio.gather(*(ask(cache, name, until, waits) for name in names))
        stats = cache.stats()
    told.put(
        Told(number, waits, stats.hits, stats.updates, stats.writes_unconfirmed, dict(stats.errors))
    )


def run(*arguments: Any) -> None:
    """A process."""
    asyncio.run(work(*arguments))


async def fill(path: Path) -> None:
    """Put in what is known."""
    async with LLMCache(path, store_timeout=60.0) as cache:
        await asyncio.gather(
            *(cache.aupdate(f"known {n}", "model", answer(n)) for n in range(KNOWN))
        )


def measure(
    seconds: float, processes: int, tasks: int, *, single_flight: bool = True
) -> list[Told]:
    """Have them all begin at once, on a new file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cache.db"
        asyncio.run(fill(path))
        return _measure(path, seconds, processes, tasks, single_flight)


def _measure(
    path: Path, seconds: float, processes: int, tasks: int, single_flight: bool
) -> list[Told]:
    context = multiprocessing.get_context("spawn")
    start, told = context.Barrier(processes), context.Queue()
    started = [
        context.Process(target=run, args=(path, number, seconds, tasks, start, told, single_flight))
        for number in range(processes)
    ]
    for one in started:
        one.start()
    found = sorted(told.get() for _ in started)
    for one in started:
        one.join()
    return found


def report(found: list[Told], tasks: int, seconds: float) -> None:
    """Print it."""
    total = sum(len(one.waits) for one in found)
    unconfirmed = sum(one.unconfirmed for one in found)
    updates = sum(one.updates for one in found)
    print(f"{len(found)} processes x {tasks} tasks, {seconds:g} s: {total / seconds:,.0f} calls/s")
    for one in found:
        waits = sorted(one.waits)
        over = sum(wait > LONG for wait in waits)
        print(
            f"  process {one.number}: {len(waits) / total:4.0%} of the calls,"
            f" hits {one.hits / max(1, one.hits + one.updates):.0%},"
            f" median {statistics.median(waits) * 1e3:.1f} ms, longest {waits[-1] * 1e3:,.0f} ms,"
            f" over {LONG:g} s: {over:,}, unconfirmed {one.unconfirmed:,} of {one.updates:,}"
            f" updates, errors {one.errors}"
        )
    waits = sorted(wait for one in found for wait in one.waits)
    longest, late = waits[-1], waits[int(len(waits) * 0.999)]
    over = sum(wait > LONG for one in found for wait in one.waits)
    print(
        f"  all: longest wait {longest:.2f} s, p99.9 {late * 1e3:.0f} ms, {over:,} over {LONG:g} s,"
        f" {unconfirmed:,} of {updates:,} updates unconfirmed"
    )


def main() -> None:
    """See the module."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    for tasks in [int(it) for it in sys.argv[3:]] or [8, 64]:
        rates: dict[bool, float] = {True: 0.0, False: 0.0}
        turn = seconds / TURNS
        for number in range(2 * TURNS):
            kind = number % 2 == 0
            found = measure(turn, processes, tasks, single_flight=kind)
            if kind:
                report(found, tasks, turn)
            rates[kind] += sum(len(one.waits) for one in found)
        print(f"  calls by those of single_flight=False: {rates[True] / rates[False]:.2f}")


if __name__ == "__main__":
    main()

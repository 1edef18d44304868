"""Callers who leave at any tick, event loops that come and go, and a process that just ends."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from support.doubles import (
    LIMIT,
    PRELUDE,
    ROUNDS,
    answer,
    expect_on_disk,
    no_thread_stays,
    patience,
)
from support.figures import tell

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

CANCELLED = 200 * ROUNDS
CYCLES = 10 * ROUNDS
TICKS = [0, 1, 2, 3, 5, 8, 13, 30]
"""Passes of the event loop after which a caller leaves."""


class Leavers:
    """Tasks that are cancelled after a few passes of their loop."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.tasks: dict[asyncio.Task[Any], str] = {}
        self._due: dict[int, list[asyncio.Task[Any]]] = {}
        self._tick = 0

    def begin(self, coroutine: Coroutine[Any, Any, Any], kind: str) -> None:
        task = asyncio.create_task(coroutine)
        self.tasks[task] = kind
        self._due.setdefault(self._tick + self.dice.choice(TICKS), []).append(task)

    async def tick(self) -> None:
        await asyncio.sleep(0)
        for task in self._due.pop(self._tick, []):
            task.cancel()
        self._tick += 1

    async def end(self) -> int:
        """Wait for all; returns how many left before they were done."""
        while self._due:
            await self.tick()
        await asyncio.wait_for(asyncio.gather(*self.tasks, return_exceptions=True), LIMIT)
        for task in self.tasks:
            assert task.cancelled() or task.exception() is None, task
        return sum(task.cancelled() for task in self.tasks)


async def one_cache_after_another(path: Path, dice: random.Random, counts: dict[str, int]) -> None:
    """Callers leave while a cache works, and while it is being closed."""
    cache = LLMCache(path, max_bytes=dice.choice([0, 2**20]), store_timeout=10 * LIMIT)
    leavers = Leavers(dice)
    begun = [f"p{dice.randrange(100_000)}" for _ in range(25)]
    for key in begun:
        leavers.begin(cache.aupdate(key, "m", answer(key)), "aupdate")
        leavers.begin(cache.alookup(dice.choice([key, "unknown"]), "m"), "alookup")
        if dice.random() < 0.4:
            await leavers.tick()
    for _ in range(4):
        leavers.begin(cache.aclose(LIMIT), "aclose")
        await leavers.tick()
    await leavers.end()
    for task, kind in leavers.tasks.items():
        counts[kind] += task.cancelled()
    assert await asyncio.wait_for(cache.aclose(LIMIT), 2 * LIMIT) == 0
    stats = cache.stats()
    assert (stats.errors, stats.writes_unconfirmed) == ({}, 0)
    with closing(sqlite3.connect(path, timeout=0)) as connection:
        connection.execute("BEGIN IMMEDIATE")  # Nobody has left a transaction open.
        connection.rollback()


def test_callers_who_leave_at_any_tick_strand_nothing(tmp_path: Path) -> None:
    dice = random.Random(5)
    path = tmp_path / "a.db"
    counts = dict.fromkeys(["alookup", "aupdate", "aclose"], 0)
    with LLMCache(path) as cache:
        cache.update("p", "m", answer("p"))

    async def main() -> None:
        while sum(counts.values()) < CANCELLED:
            await one_cache_after_another(path, dice, counts)

    before = threading.active_count()
    with no_thread_stays():
        asyncio.run(main())
    tell("callers who leave", cancelled=sum(counts.values()), **counts)
    assert threading.active_count() <= before + 1  # The one that waits for the end.
    assert all(counts.values())
    expect_on_disk(path, ["p"])


def test_event_loops_that_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with LLMCache(path, max_bytes=0, store_timeout=10 * LIMIT) as cache:

        async def main(turn: int) -> None:
            keys = [f"{turn}-{n}" for n in range(4)]
            await asyncio.gather(*[cache.aupdate(key, "m", answer(key)) for key in keys])
            found = await asyncio.gather(*[cache.alookup(key, "m") for key in keys])
            assert found == [answer(key) for key in keys]
            # Somebody is still waiting when the loop ends.
            for key in keys:
                asyncio.ensure_future(cache.aupdate(f"{key}-left", "m", answer(f"{key}-left")))  # noqa: RUF006
            await asyncio.sleep(0)

        start = threading.active_count()
        for turn in range(CYCLES):
            asyncio.run(main(turn))
        assert threading.active_count() <= start + 4
        assert (cache.stats().errors, cache.stats().writes_unconfirmed) == ({}, 0)
    keys = [f"{turn}-{n}" for turn in range(CYCLES) for n in range(4)]
    keys += [f"{key}-left" for key in keys]
    tell("asyncio.run on one cache", cycles=CYCLES, answers=len(keys))
    expect_on_disk(path, keys)


ENDING = """
cache = opened()
keep(cache, "p")
async def main():
    for n in range(500):
        asyncio.ensure_future(cache.aupdate(f"q{n}", "m", answer(f"q{n}")))
    await asyncio.sleep(0)
asyncio.run(main())
"""


def test_an_exit_without_close_takes_little_longer_than_the_import(tmp_path: Path) -> None:
    def seconds(program: str) -> float:
        start = time.monotonic()
        subprocess.run(
            [sys.executable, "-c", PRELUDE + program, str(tmp_path / "a.db")],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.monotonic() - start

    imports = min(seconds("") for _ in range(2))
    added = min(seconds(ENDING) for _ in range(2)) - imports
    tell("exit without close, 500 writes queued", import_s=imports, added_s=added)
    assert added < 2 + patience()
    expect_on_disk(tmp_path / "a.db", ["p", *[f"q{n}" for n in range(500)]])

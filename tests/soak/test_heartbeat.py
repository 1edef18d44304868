"""How late an event loop is while many clients use a cache in it."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from typing import TYPE_CHECKING

import pytest
from langchain_core.outputs import Generation
from support.doubles import LIMIT, ROUNDS
from support.figures import at, tell

from llmemo import LLMCache, SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

CLIENTS = 64
SLICE = 0.5
"""Seconds for which each cache in turn is used: what else the machine does then meets both."""
TURNS = min(3 * ROUNDS, 60)
BEAT = 0.001
KEYS = 2_000
ANSWERS = {f"key {n}": [Generation(text=f"{n} " + "word " * (n % 800))] for n in range(KEYS)}


class Nothing:
    """A cache that does nothing."""

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        return None

    async def aupdate(self, prompt: str, llm_string: str, return_val: list[Generation]) -> None:
        return None


async def lateness(cache: LLMCache | Nothing, pause: float) -> list[float]:
    """Seconds by which each beat came late while clients read, write and evict."""
    late: list[float] = []
    is_over = asyncio.Event()

    async def beat() -> None:
        while not is_over.is_set():
            due = time.perf_counter() + BEAT
            await asyncio.sleep(BEAT)
            late.append(time.perf_counter() - due)

    async def client(number: int) -> None:
        dice = random.Random(number)
        while not is_over.is_set():
            # Few keys are wanted often; most are wanted seldom, and are gone by then.
            key = f"key {int(KEYS * dice.random() ** 3)}"
            if await cache.alookup(key, "m") is None:
                await cache.aupdate(key, "m", ANSWERS[key])
            await asyncio.sleep(pause * 2 * dice.random())

    beating = asyncio.create_task(beat())
    clients = [asyncio.create_task(client(number)) for number in range(CLIENTS)]
    await asyncio.sleep(SLICE)
    is_over.set()
    await asyncio.wait_for(asyncio.gather(beating, *clients), LIMIT)
    return late


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.01, 0.0], ids=["10 ms between calls", "no pause"])
def test_the_heartbeat_of_an_event_loop(pause: float, tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "a.db", max_store_bytes=1_000_000)
    ours: list[float] = []
    nothing: list[float] = []
    with LLMCache(store, max_entries=100, store_timeout=LIMIT) as cache:

        async def main() -> None:
            await lateness(cache, pause)  # Opened, and full.
            for _ in range(TURNS):
                ours.extend(await lateness(cache, pause))
                nothing.extend(await lateness(Nothing(), pause))

        # A full collection of what LangChain and pytest have loaded takes some 30 ms, whoever's
        # allocations set it off: that is Python's own lateness, and not what is asked here.
        gc.collect()
        gc.freeze()
        try:
            asyncio.run(main())
        finally:
            gc.unfreeze()
        stats = cache.stats()
    calls = stats.hits + stats.misses + stats.updates
    assert (stats.errors, stats.writes_unconfirmed) == ({}, 0)
    assert stats.evictions > 100
    tell(
        f"Heartbeat, {CLIENTS} clients, {1_000 * pause:.0f} ms between calls",
        beats=len(ours),
        calls=calls,
        evictions=stats.evictions,
        p99_9_late_ms=1_000 * at(0.999, ours),
        a_cache_that_does_nothing_ms=1_000 * at(0.999, nothing),
        added_ms=1_000 * (at(0.999, ours) - at(0.999, nothing)),
        p50_added_ms=1_000 * (at(0.5, ours) - at(0.5, nothing)),
        worst_ms=1_000 * max(ours),
    )
    assert max(ours) < LIMIT

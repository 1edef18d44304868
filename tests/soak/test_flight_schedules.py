"""Random schedules: nobody waits for ever, or calls a model that another is calling.

`LLMEMO_SEED=n pytest tests/test_flight_schedules.py` runs one of them again.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.doubles import LIMIT, ROUNDS
from support.figures import tell
from support.schedules import WAITS, FailureError, Schedule

from llmemo import LLMCache

if TYPE_CHECKING:
    from pathlib import Path


SCHEDULES = 100 * ROUNDS
KINDS = ["memory", "sqlite", "sqlite without memory"]


def seeds() -> list[int]:
    told = os.environ.get("LLMEMO_SEED")
    return list(range(SCHEDULES)) if told is None else [int(told)]


async def one(
    seed: int,
    path: Path,
    pool: ThreadPoolExecutor,
    counts: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dice = random.Random(f"settings of {seed}")
    kind = dice.choice(KINDS)
    is_kept, has_threads, has_lingerers = [dice.random() < part for part in (0.8, 0.3, 0.1)]
    # Without lingerers a lease that nobody ends is to hang.
    monkeypatch.setattr(
        "llmemo.single_flight.lease.UNBACKED", 0.02 if has_lingerers else 100 * LIMIT
    )
    cache = LLMCache(
        None if kind == "memory" else path,
        max_bytes=0 if kind == "sqlite without memory" else 2**20,
        admit=None if is_kept else lambda generations: False,
        lease_timeout=100 * LIMIT,
        store_timeout=LIMIT,
    )
    waits = WAITS if kind == "memory" else [*WAITS, 80, 200]
    schedule = Schedule(
        seed, cache, pool, is_kept=is_kept, is_bounded=not has_lingerers, waits=waits
    )
    tasks = await schedule.run(LIMIT, has_threads=has_threads, has_lingerers=has_lingerers)
    assert cache._tiers.flights is not None
    end = time.monotonic() + LIMIT
    # A thread's context goes after it.
    while (left := cache._tiers.flights._flights) and time.monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0)
    hanging: list[object] = [task for task in tasks if not task.done()]
    raised = [task.exception() for task in tasks if task.done() and not task.cancelled()]
    other = [error for error in raised if error and not isinstance(error, FailureError)]
    stats = cache.stats()
    said = f"LLMEMO_SEED={seed} ({kind}, {is_kept=}, {has_threads=}, {has_lingerers=})"
    hanging += schedule.threads
    assert not hanging, (said, hanging, [flight.waiters for flight in left.values()])
    assert not schedule.ledger.wrong, (said, schedule.ledger.wrong)
    assert (other, stats.errors) == ([], {}), said
    assert left == {}, said
    counts.update(schedule.ledger.counts)
    counts["schedules"] += 1
    counts["coalesced"] += stats.coalesced
    counts["cancelled_callers"] += sum(task.cancelled() for task in tasks)
    assert await cache.aclose() == 0


@pytest.mark.slow
def test_random_schedules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()

    async def main() -> None:
        # As many threads as callers: one that waits must not keep another from working.
        with ThreadPoolExecutor(16) as pool:
            for seed in seeds():
                await one(seed, tmp_path / "a.db", pool, counts, monkeypatch)

    asyncio.run(main())
    tell("random schedules of callers", **dict(sorted(counts.items())))

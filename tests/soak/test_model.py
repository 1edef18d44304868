"""A cache agrees with a model of one, step by step.

`LLMEMO_SEED=n pytest tests/test_model.py` takes the steps of one seed again.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.doubles import LIMIT
from support.figures import tell
from support.machine import STEPS_PER_LIFE, Machine
from support.strategies import FACTOR

if TYPE_CHECKING:
    from pathlib import Path


STEPS = round(2_500 * FACTOR)


@pytest.mark.slow
def test_a_cache_agrees_with_a_model_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()
    told = os.environ.get("LLMEMO_SEED")
    # Who looks after the store is told when; a lease that nobody ends is to hang.
    monkeypatch.setattr("llmemo.store_io.maintenance.PAUSE", 100 * LIMIT)
    monkeypatch.setattr("llmemo.single_flight.lease.UNBACKED", 100 * LIMIT)

    async def main() -> None:
        lives = range(-(-STEPS // STEPS_PER_LIFE)) if told is None else [int(told)]
        for seed in lives:
            machine = Machine(seed, tmp_path / f"{seed}.db", counts)
            try:
                await machine.run(STEPS_PER_LIFE)
            except BaseException:
                print(f"LLMEMO_SEED={seed}")  # noqa: T201 (to be seen with the failure)
                raise

    asyncio.run(main())
    waited = counts.pop("waited")
    steps = counts.total()
    tell(
        "a cache beside a model of one", steps=steps, waited=waited, **dict(sorted(counts.items()))
    )

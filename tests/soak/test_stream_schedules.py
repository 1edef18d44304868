"""Random schedules of streams: no reader waits for ever, or gets what no model said.

`LLMEMO_SEED=n pytest tests/soak/test_stream_schedules.py` runs one of them again.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import virtual_time
from support.doubles import LIMIT, ROUNDS
from support.figures import tell
from support.stream_schedules import Schedule
from support.stream_threads import ThreadSchedule

SCHEDULES = 300 if ROUNDS == 1 else 100 * ROUNDS


def seeds(count: int) -> list[int]:
    told = os.environ.get("LLMEMO_SEED")
    return list(range(count)) if told is None else [int(told)]


@pytest.mark.slow
def test_random_streams_of_tasks() -> None:
    counts: Counter[str] = Counter()
    for seed in seeds(SCHEDULES):
        schedule = Schedule(seed)
        try:
            virtual_time.run(schedule.run())
        except BaseException as error:
            raise AssertionError(f"LLMEMO_SEED={seed}") from error
        assert not schedule.wrong, (f"LLMEMO_SEED={seed}", schedule.wrong)
        assert schedule.cache.stats().errors == {}, seed
        counts.update(schedule.counts)
    gc.collect()
    tell(
        "random schedules of streams", **{k.replace(" ", "_"): v for k, v in sorted(counts.items())}
    )


@pytest.mark.slow
def test_random_streams_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    # A thread that a busy machine holds up is not to be taken for one that stands still.
    for module in ("watchdog", "shared_iterator"):
        monkeypatch.setattr(f"llmemo.single_flight.{module}.DOUBT", LIMIT)
    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(8) as pool:
        for seed in seeds(SCHEDULES // 5):
            schedule = ThreadSchedule(seed)
            schedule.run(pool)
            assert not schedule.wrong, (f"LLMEMO_SEED={seed}", schedule.wrong)
            assert schedule.cache.stats().errors == {}, seed
            counts.update(schedule.counts)
    tell("random schedules of threads", **dict(sorted(counts.items())))

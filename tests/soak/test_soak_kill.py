"""Writers that are killed at any moment, among others: what was acknowledged is there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.doubles import ROUNDS
from support.figures import tell
from support.supervisors import supervise

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 20 * ROUNDS

PROGRAM = """
kills, per_file = int(sys.argv[3]), 40

def write(path, who):
    dice = random.Random(who)
    cache = opened(path)
    async def work(task):
        for n in range(10**9):
            # Enough for checkpoints to come, over and over, but in a file that stays small.
            padding = [Generation(text="x" * dice.randrange(1, 20_000))]
            await cache.aupdate(f"padding{dice.randrange(200)}", "m", padding)
            await akeep(cache, f"{who}-{task}-{n}")
    async def main():
        await asyncio.gather(*map(work, range(8)))
    asyncio.run(main())

async def find(cache, keys):
    return dict(zip(keys, await asyncio.gather(*[cache.alookup(key, "m") for key in keys])))

def judge(path, keys, others):
    "Those keys have their answers, and others, whose writers go on, no wrong ones."
    with opened(path) as cache:
        found = asyncio.run(find(cache, keys))
        lost = [key for key in keys if found[key] is None]
        wrong = [key for key in keys if found[key] not in (None, answer(key))]
        for key, padding in asyncio.run(find(cache, [f"padding{n}" for n in others])).items():
            if padding and set(padding[0].text) - {"x"}:
                wrong.append(key)
        assert cache.stats().errors == {}, cache.stats()
    is_sound(path)
    print(len(lost), len(wrong), flush=True)

def judged(*args):
    pid, source = child(judge, *args)
    said = rest(source)
    assert ended(pid) == 0
    return [int(count) for count in said]

acknowledged = lost = wrong = checks = files = 0
for first in range(0, kills, per_file):
    file = f"{path}{first}"
    files += 1
    writers, kept = {}, []
    left = min(per_file, kills - first)
    for turn in range(left):
        # By and by one after the other is replaced, or only once all of them are dead.
        if not writers or dice.random() < 0.5:
            while len(writers) < min(4, left - turn):
                name = f"{first}-{turn}-{len(writers)}"
                pid, source = child(write, file, name)
                writers[pid] = source
        # Often in the middle of its work, and at times before there is any.
        victim = dice.choice(list(writers))
        if dice.random() < 0.9:
            select.select([writers[victim]], [], [], 60)
        time.sleep(dice.random() * 0.04)
        os.kill(victim, signal.SIGKILL)
        said = rest(writers.pop(victim))
        assert ended(victim) == -signal.SIGKILL
        kept += said
        acknowledged += len(said)
        if os.path.exists(file):
            counts = judged(file, said, dice.sample(range(200), 20))
            lost, wrong, checks = lost + counts[0], wrong + counts[1], checks + 1
    assert not writers
    counts = judged(file, kept, range(200))
    lost, wrong, checks = lost + counts[0], wrong + counts[1], checks + 1
    for suffix in ("", "-wal", "-shm", "-lock"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file + suffix)
print(json.dumps(dict(kills=kills, acknowledged=acknowledged, lost=lost, wrong=wrong,
                      integrity_checks=checks, files=files), separators=(",", ":")))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_writers_that_are_killed_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    found = supervise(PROGRAM, tmp_path / "db", 9, KILLS, seconds=0.5 * KILLS)
    tell("SIGKILLs across 4 writer processes", **found)
    assert (found["kills"], found["lost"], found["wrong"]) == (KILLS, 0, 0)
    assert found["acknowledged"] > 5 * KILLS

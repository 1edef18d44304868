"""Many processes that write to one file for as long as they like, and one that only reads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.doubles import ROUNDS
from support.figures import tell
from support.supervisors import supervise

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 1.2 * ROUNDS
WAL_BYTES = 64 * 2**20

PROGRAM = """
processes, tasks, seconds = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
KEYS = 400  # Of each writer.

def text(who, task, n, size):
    return f"{who} {task} {n} " + "x" * size

def write(who):
    cache, last, dice = opened(), {}, random.Random(who)
    end = time.monotonic() + seconds
    async def work(task):
        n = 0
        while time.monotonic() < end:
            n += 1
            key = f"{who}-{task}-{dice.randrange(KEYS)}"
            value = [Generation(text=text(who, task, n, dice.randrange(8_000)))]
            before = cache.stats().writes_unconfirmed
            await cache.aupdate(key, "m", value)
            assert cache.stats().writes_unconfirmed == before == 0
            last[key] = n
            common = f"common-{dice.randrange(50)}"
            await cache.aupdate(common, "m", [Generation(text=text(who, task, n, 50))])
            assert await cache.alookup(key, "m") == value
            assert await cache.alookup(common, "m") is not None
    async def main():
        await asyncio.gather(*map(work, range(tasks)))
    asyncio.run(main())
    cache.close()
    say(json.dumps([last, cache.stats().updates, cache.stats().errors], separators=(",", ":")))

def read():
    cache, times, dice = opened(), [], random.Random(0)
    end = time.monotonic() + seconds
    found = 0
    async def main():
        nonlocal found
        while time.monotonic() < end:
            who, task, n = (dice.randrange(size) for size in (processes, tasks, KEYS))
            start = time.perf_counter()
            hit = await cache.alookup(f"{who}-{task}-{n}", "m")
            times.append(time.perf_counter() - start)
            if hit is not None:
                found += 1
                assert hit[0].text.startswith(f"{who} {task} "), hit
    asyncio.run(main())
    cache.close()
    times.sort()
    parts = [times[int(len(times) * part)] for part in (0.5, 0.99, 0.999)]
    said = [len(times), found, *parts, times[-1], cache.stats().errors]
    say(json.dumps(said, separators=(",", ":")))

crew = {child(write, who) for who in range(processes)}
reader = child(read)
sources = [source for _, source in crew]
wal, largest, said = f"{path}-wal", 0, {source: [] for source in [*sources, reader[1]]}
open_ = set(said)
while open_:
    with contextlib.suppress(FileNotFoundError):
        largest = max(largest, os.stat(wal).st_size)
    for source in select.select(list(open_), [], [], 0.02)[0]:
        part = os.read(source, 1 << 20)
        said[source].append(part)
        if not part:
            open_.discard(source)
failed = [ended(pid) for pid, _ in [*crew, reader]]
assert not any(failed), failed
spoken = {source: json.loads(b"".join(parts)) for source, parts in said.items()}

lost = updates = 0
errors = {}
cache = opened()
async def judge(last):
    found = await asyncio.gather(*[cache.alookup(key, "m") for key in last])
    return sum(not hit or int(hit[0].text.split()[2]) != n for hit, n in zip(found, last.values()))
for source in sources:
    last, count, troubles = spoken[source]
    updates += count
    for kind, number in troubles.items():
        errors[kind] = errors.get(kind, 0) + number
    lost += asyncio.run(judge(last))
cache.close()
is_sound(path)
lookups, hits, p50, p99, p999, longest, troubles = spoken[reader[1]]
for kind, number in troubles.items():
    errors[kind] = errors.get(kind, 0) + number
print(json.dumps(dict(
    updates=updates, lost=lost, errors=errors, wal_bytes=largest, lookups=lookups, hits=hits,
    p50_ms=p50 * 1e3, p99_ms=p99 * 1e3, p999_ms=p999 * 1e3, longest_ms=longest * 1e3,
), separators=(",", ":")))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_writers_in_many_processes_lose_no_update_and_meet_no_lock(tmp_path: Path) -> None:
    processes, tasks = 8, 4
    found = supervise(
        PROGRAM, tmp_path / "a.db", 1, processes, tasks, SECONDS, seconds=5 + 2 * SECONDS
    )
    tell(f"{processes} processes x {tasks} writers x {SECONDS:g} s, and one that reads", **found)
    assert (found["lost"], found["errors"]) == (0, {})
    assert found["wal_bytes"] <= WAL_BYTES
    assert found["updates"] > 100
    assert found["lookups"] > 10

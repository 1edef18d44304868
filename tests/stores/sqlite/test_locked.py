"""A file that another process keeps locked for minutes, while a cache goes on being used."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.doubles import LIMIT, ROUNDS, answer, expect_on_disk, lines, patience
from support.figures import at, tell
from support.scripted import Scripted, said

from llmemo import LLMCache
from llmemo.concurrency.circuit_breaker import FAILURES_TO_OPEN

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 1.5 * ROUNDS

HOLDERS = {
    "SQLite's own lock": """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
connection.close()
""",
    "the guard": """
import fcntl, os, sys
file = os.open(sys.argv[1] + "-lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
""",
}


@pytest.mark.skipif(sys.platform == "win32", reason="the guard is another lock there")
@pytest.mark.parametrize("lock", HOLDERS)
def test_a_file_that_is_locked_for_minutes(
    lock: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, kept = tmp_path / "a.db", ["old"]
    took, served = [], 0
    cache = LLMCache(path, max_bytes=0, store_timeout=0.1)
    with LLMCache(path, store_timeout=LIMIT) as filling:
        filling.update("old", "m", answer("old"))
    while cache.lookup("old", "m") is None:
        pass
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDERS[lock], path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline()
        end = time.monotonic() + SECONDS
        while (start := time.monotonic()) < end:
            found = cache.lookup("old", "m")
            assert found in (None, answer("old"))
            served += found is not None
            key = f"new{len(kept)}"
            cache.update(key, "m", answer(key))
            kept.append(key)
            took.append(time.monotonic() - start)
            time.sleep(0.01)
        unconfirmed = cache.stats().writes_unconfirmed
        holder.stdin.close()
    assert cache.close(LIMIT) == 0
    assert "internal" not in cache.stats().errors
    # After as many, nobody waits for a write; what can be read is read all the same.
    assert cache.stats().errors["store_write_timeout"] == FAILURES_TO_OPEN
    tell(
        f"Locked for {SECONDS:.0f} s by {lock}",
        pairs_of_calls=len(took),
        longest_s=max(took),
        p50_ms=1_000 * at(0.5, took),
        lookups_served=served,
        updates_unconfirmed=unconfirmed,
        lost=0,
        lines_logged=len(lines(caplog)),
    )
    assert served
    assert max(took) < patience()
    assert len(lines(caplog)) <= 5 * (1 + SECONDS / 60)
    expect_on_disk(path, kept)


@pytest.mark.slow
@pytest.mark.anyio
async def test_model_calls_do_not_wait_for_a_file_that_is_locked(tmp_path: Path) -> None:
    path, names = tmp_path / "a.db", [f"q{number}" for number in range(50)]
    async with LLMCache(path, max_bytes=0, store_timeout=0.5) as cache:
        model = Scripted(act=lambda text: f"answer to {text}", cache=cache)
        durable = cache._tiers.durable
        assert durable is not None
        # Open it, however long that takes.
        while await cache.alookup("first", "m") is None:
            await cache.aupdate("first", "m", answer("first"))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for name in names:
                assert said(await model.ainvoke(name)) == f"answer to {name}"
        # Leases need no lock of SQLite's. After these no caller waits for a write.
        assert cache.stats().errors == {"store_write_timeout": FAILURES_TO_OPEN}
        # It is free: the next update is only sent, and those after it are waited for.
        deadline = time.monotonic() + LIMIT
        while durable.health.writes.is_open:
            assert time.monotonic() < deadline
            await model.ainvoke("and then")
            await asyncio.sleep(0.01)
    async with LLMCache(path, store_timeout=LIMIT) as cache:
        again = Scripted(act=lambda text: f"answer to {text}", cache=cache)
        for name in names:
            await again.ainvoke(name)
        assert again.asked == []

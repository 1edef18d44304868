"""Streams of a cached model whose store, file or cache is in trouble."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support import doubles
from support.doubles import FAULTS, LIMIT, Clock, FakeStore, Fault, Held
from support.streaming import Stream, script, script_sync, steady, streams, texts, whole

from llmemo import LLMCache, cached

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from langchain_core.outputs import ChatGenerationChunk

pytestmark = pytest.mark.anyio


async def read(model: Any) -> list[str]:
    return texts([each async for each in model.astream("q")])


@pytest.mark.parametrize("method", ["open", "get", "set"])
@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
async def test_a_store_that_fails(method: str, error: BaseException) -> None:
    cache = LLMCache(FakeStore(Fault(method, error)))
    model = cached(streams(script(3), script_sync(3)), cache)
    got = await asyncio.gather(read(model), read(model))
    assert [*got] == [whole(model.streams[0])] * 2
    assert texts(list(model.stream("q"))) == got[0]
    assert len(model.streams) == 1
    await cache.aclose(0.1)


@pytest.mark.parametrize("method", ["get", "set"])
async def test_a_store_that_does_not_answer(method: str) -> None:
    held = Held(method)
    cache = LLMCache(FakeStore(held), store_timeout=0.05)
    model = cached(streams(script(3)), cache)
    assert await asyncio.wait_for(read(model), LIMIT) == whole(model.streams[0])
    assert held.reached.wait(LIMIT)
    assert await read(model) == whole(model.streams[0])
    held.go.set()
    await cache.aclose()


async def test_a_file_that_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    LLMCache(path).close()
    cache = LLMCache(path, store_timeout=0.05)
    model = cached(streams(script(3)), cache)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert await read(model) == whole(model.streams[0])
        assert await read(model) == whole(model.streams[0])
        other.execute("ROLLBACK")
    await cache.aclose()


async def test_a_damaged_recording_is_a_miss(tmp_path: Path) -> None:
    """Wherever a bit flips, or the value ends: never an exception, nor chunks that are wrong."""
    path = tmp_path / "a.db"
    model = streams(script(9))
    with LLMCache(path) as cache:
        kept = await read(cached(model, cache))
    with closing(sqlite3.connect(path)) as file:
        [(key, value)] = file.execute("SELECT key, value FROM entries").fetchall()
    dice = random.Random(1)
    damaged = [value[:at] for at in dice.sample(range(len(value)), 12)]
    for _ in range(48):
        at, bit = dice.randrange(len(value)), 1 << dice.randrange(8)
        damaged.append(value[:at] + bytes([value[at] ^ bit]) + value[at + 1 :])
    for each in damaged:
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("UPDATE entries SET value = ? WHERE key = ?", (each, key))
        before = len(model.streams)
        with LLMCache(path) as cache:
            got = await read(cached(model, cache))
            assert got == model.streams[-1].made or got == ["".join(kept)]
            assert len(model.streams) in {before, before + 1}
            if got == model.streams[-1].made:
                kept = got


@pytest.mark.parametrize("how", ["close", "clear", "invalidate"])
async def test_what_is_done_to_the_cache_in_the_middle(how: str, tmp_path: Path) -> None:
    cache = LLMCache(tmp_path / "a.db")
    model = cached(streams(script(5, before=steady(0.001))), cache)
    chunks = model.astream("q")
    first = await chunks.__anext__()
    follower = asyncio.create_task(read(model))
    await asyncio.sleep(0)
    if how == "close":
        await cache.aclose()
    elif how == "clear":
        await cache.aclear()
    else:
        await cache.ainvalidate(older_than=1e-9)
    assert texts([first, *[each async for each in chunks]]) == whole(model.streams[0])
    assert (await follower)[-1].endswith("4 ")
    got = await read(model)
    assert got[-1].endswith("4 ")
    assert cache.stats().errors == {}
    await cache.aclose()


async def test_an_answer_that_expires_while_it_is_replayed() -> None:
    clock = Clock()
    cache = LLMCache(ttl=10, clock=clock)
    model = cached(streams(script(5)), cache)
    kept = await read(model)
    chunks = model.astream("q")
    first = await chunks.__anext__()
    clock.now += 11
    assert texts([first, *[each async for each in chunks]]) == kept
    assert len(model.streams) == 1
    assert await read(model) == whole(model.streams[1])


PROCESS = """
sys.path.insert(0, sys.argv[2])
import time
from support.streaming import script, script_sync, streams, texts
from llmemo import cached

async def slow(stream, at):
    await asyncio.sleep(0.1)

async def main():
    model = cached(streams(script(5, before=slow)), LLMCache(path, store_timeout=60))
    [] if sys.argv[3] == "now" else time.sleep(0.15)
    got = texts([each async for each in model.astream("q")])
    say(f"chunks-{len(got)}-asked-{len(model.streams)}")

asyncio.run(main())
"""


def test_two_processes_ask_once(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path as Place

    path, tests = tmp_path / "a.db", Place(doubles.__file__).parents[1]
    LLMCache(path).close()
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(doubles.run, PROCESS, path, tests, when)
            for when in ("now", "now", "later", "later")
        ]
        said = sorted(next(iter(job.result())) for job in jobs)
    assert said == [f"chunks-5-asked-{asked}" for asked in (0, 0, 0, 1)]


def test_a_store_that_is_slow_for_threads() -> None:
    def act(stream: Stream) -> Iterator[ChatGenerationChunk]:
        yield from script_sync(3)(stream)

    held = Held("set")
    cache = LLMCache(FakeStore(held), store_timeout=0.05)
    model = cached(streams(act_sync=act), cache)
    for _ in range(2):
        assert texts(list(model.stream("q"))) == whole(model.streams[0])
    held.go.set()
    cache.close()

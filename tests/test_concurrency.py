"""One cache, used by many at once: loops, threads, callers who leave, stores that take their time."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from doubles import ROUNDS, FakeStore, answer, expect_on_disk, run
from langchain_core.outputs import Generation

from llmemo import LLMCache, SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path
    from typing import Any

    MakeCache = Callable[..., LLMCache]

LIMIT = 30.0
"""Seconds after which something hangs."""


def started_since(before: list[threading.Thread]) -> list[threading.Thread]:
    """Threads that a cache has started; the one that waits for the end belongs to the process."""
    new = set(threading.enumerate()) - set(before)
    return [thread for thread in new if thread.name != "llmemo-exit"]


@contextmanager
def no_thread_stays() -> Iterator[None]:
    before = threading.enumerate()
    yield
    for thread in started_since(before):
        thread.join(LIMIT)
        assert not thread.is_alive(), thread


class Held:
    """A `before` that holds the store up, in its thread, until it is released."""

    def __init__(self, *methods: str) -> None:
        self.methods = methods
        self.reached, self.go = threading.Event(), threading.Event()
        self.was_released = True

    def __call__(self, method: str) -> None:
        if method in self.methods:
            self.reached.set()
            self.was_released &= self.go.wait(LIMIT)


def test_loops_and_threads_use_one_cache_at_once(make_cache: MakeCache) -> None:
    cache = make_cache(store_timeout=10 * LIMIT)
    barrier = threading.Barrier(7)
    rounds = 40 * ROUNDS

    def in_thread(who: str) -> int:
        lookups = 0
        for n in range(rounds):
            key = f"{who}-{n}"
            assert cache.lookup(key, "m") is None
            cache.update(key, "m", answer(key))
            cache.update(f"common-{n}", "m", answer(f"common-{n}"))
            assert cache.lookup(key, "m") == answer(key)
            assert cache.lookup(f"common-{n}", "m") == answer(f"common-{n}")
            lookups += 3
        return lookups

    async def task(who: str) -> int:
        lookups = 0
        for n in range(rounds // 4):
            key = f"{who}-{n}"
            assert await cache.alookup(key, "m") is None
            await cache.aupdate(key, "m", answer(key))
            await cache.aupdate(f"common-{n}", "m", answer(f"common-{n}"))
            assert await cache.alookup(key, "m") == answer(key)
            assert await cache.alookup(f"common-{n}", "m") == answer(f"common-{n}")
            lookups += 3
        return lookups

    async def in_loop(who: str) -> int:
        tasks = [asyncio.create_task(task(f"{who}-{n}")) for n in range(4)]
        await asyncio.sleep(0)
        lookups = in_thread(f"{who}-sync")  # Sync calls inside a running loop.
        return lookups + sum(await asyncio.gather(*tasks))

    def work(who: int) -> int:
        barrier.wait(LIMIT)
        return asyncio.run(in_loop(f"loop{who}")) if who < 3 else in_thread(f"thread{who}")

    with ThreadPoolExecutor(7) as crew:
        lookups = sum(crew.map(work, range(7)))
    kept = [f"thread{who}-{n}" for who in range(3, 7) for n in range(rounds)]
    kept += [f"loop{who}-sync-{n}" for who in range(3) for n in range(rounds)]
    kept += [f"loop{w}-{t}-{n}" for w in range(3) for t in range(4) for n in range(rounds // 4)]
    assert [key for key in kept if cache.lookup(key, "m") != answer(key)] == []
    stats = cache.stats()
    assert stats.hits + stats.misses == lookups + len(kept)
    assert (stats.misses, stats.updates) == (len(kept), 2 * len(kept))
    assert (stats.errors, stats.writes_unconfirmed) == ({}, 0)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_cancelled_at_any_tick(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    begun: set[str] = set()
    cache = LLMCache(tmp_path / "a.db", max_bytes=0, store_timeout=10 * LIMIT)

    async def look_up(key: str) -> list[Generation] | None:
        return await cache.alookup(key, "m")

    async def update(key: str) -> None:
        begun.add(key)
        await cache.aupdate(key, "m", answer(key))

    async def main() -> None:
        tasks: dict[asyncio.Task[Any], str] = {}
        due: dict[int, list[asyncio.Task[Any]]] = {}
        for tick in range(300):
            for _ in range(4 if tick < 270 else 0):
                key = f"p{len(tasks)}"
                if dice.random() < 0.5:
                    key = dice.choice([f"p{dice.randrange(len(tasks) + 1)}", key])
                task = asyncio.create_task(dice.choice([look_up, update])(key))
                tasks[task] = key
                due.setdefault(tick + dice.choice([0, 1, 2, 3, 5, 10, 25]), []).append(task)
            await asyncio.sleep(0)
            for task in due.pop(tick, []):
                task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), LIMIT)
        cancelled = [task for task in tasks if task.cancelled()]
        assert 300 < len(cancelled) <= len(tasks) == 1080
        for task in set(tasks) - set(cancelled):
            assert task.result() in (None, answer(tasks[task]))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        # Whoever comes now is served.
        await asyncio.wait_for(update("last"), LIMIT)
        assert await asyncio.wait_for(look_up("last"), LIMIT) == answer("last")

    with no_thread_stays():
        asyncio.run(main())
        stats = cache.stats()
        assert (stats.errors, stats.writes_unconfirmed) == ({}, 0)
        assert cache.close() == 0
    assert len(begun) > 300
    expect_on_disk(tmp_path / "a.db", begun)


@pytest.mark.anyio
async def test_an_update_that_nobody_waits_for_any_more_is_written() -> None:
    held = Held("set")
    store = FakeStore(held)
    cache = LLMCache(store, store_timeout=LIMIT)
    tasks = [asyncio.create_task(cache.aupdate(f"p{n}", "m", answer(f"p{n}"))) for n in range(9)]
    await asyncio.to_thread(held.reached.wait, LIMIT)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=LIMIT)
    assert all(task.cancelled() for task in tasks)
    assert store.records == {}
    held.go.set()
    assert await cache.aclose() == 0
    assert len(store.records) == 9
    assert cache.stats().errors == {}


@pytest.mark.parametrize("ticks", range(6))
def test_a_cancelled_close_closes_all_the_same(ticks: int) -> None:
    store = FakeStore()

    async def main() -> None:
        cache = LLMCache(store)
        await cache.aupdate("p", "m", answer("p"))
        closing = asyncio.create_task(cache.aclose())
        for _ in range(ticks):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing], timeout=LIMIT)
        assert cache.close() == 0

    with no_thread_stays():
        asyncio.run(main())
    assert store.asked[-1] == ("close", 0)
    assert len(store.sizes("close")) == 1


@pytest.mark.parametrize("has_store", [False, True])
def test_a_hit_in_memory_never_awaits(has_store: bool) -> None:
    # Driven by hand, and in no event loop: there is nothing here that could be awaited.
    store = FakeStore() if has_store else None
    with LLMCache(store) as cache:
        cache.update("p", "m", answer("p"))
        for _ in range(3):
            with pytest.raises(StopIteration) as stop:
                cache.alookup("p", "m").send(None)
            assert stop.value.value == answer("p")
        assert (cache.stats().memory_hits, cache.stats().misses) == (3, 0)
    assert store is None or store.sizes("get") == []


@pytest.mark.anyio
async def test_calls_of_one_moment_reach_the_store_together() -> None:
    store = FakeStore()
    async with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        keys = [f"p{n}" for n in range(64)]
        await asyncio.gather(*[cache.aupdate(key, "m", answer(key)) for key in keys])
        assert sum(store.sizes("set")) == 64
        assert len(store.sizes("set")) <= 3
        hits = await asyncio.gather(*[cache.alookup(key, "m") for key in keys])
        assert hits == [answer(key) for key in keys]
        assert sum(store.sizes("get")) == 64
        assert len(store.sizes("get")) <= 3
        assert store.sizes("open") == [0]


@pytest.mark.anyio
async def test_a_key_that_many_want_is_asked_for_once() -> None:
    held = Held("get")
    store = FakeStore(held)
    async with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        await cache.aupdate("p", "m", answer("p"))
        tasks = [asyncio.create_task(cache.alookup(f"other{n % 4}", "m")) for n in range(64)]
        await asyncio.to_thread(held.reached.wait, LIMIT)
        # While the store is busy, more come.
        tasks += [asyncio.create_task(cache.alookup("p", "m")) for n in range(64)]
        await asyncio.sleep(0)
        held.go.set()
        found = await asyncio.gather(*tasks)
    assert found == [None] * 64 + [answer("p")] * 64
    assert len(store.sizes("get")) <= 4
    assert sum(store.sizes("get")) <= 12
    assert (cache.stats().hits, cache.stats().misses) == (64, 64)


@pytest.mark.anyio
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_slow_store_costs_a_caller_its_timeout_and_nothing_else(is_async: bool) -> None:
    held = Held("get", "set")
    store = FakeStore(held)
    cache = LLMCache(store, store_timeout=0.02)
    if is_async:
        assert await cache.alookup("p", "m") is None
        await cache.aupdate("p", "m", answer("p"))
        assert await cache.alookup("p", "m") == answer("p")
    else:
        assert cache.lookup("p", "m") is None
        cache.update("p", "m", answer("p"))
        assert cache.lookup("p", "m") == answer("p")
    stats = cache.stats()
    assert stats.errors == {"store_read_timeout": 1, "store_write_timeout": 1}
    assert (stats.writes_unconfirmed, stats.misses, stats.memory_hits) == (1, 1, 1)
    assert store.records == {}
    held.go.set()
    assert await cache.aclose() == 0
    assert [record.key for record in store.records.values()] == [cache._tiers.key("p", "m")]


@pytest.mark.anyio
async def test_the_queue_of_a_stuck_store_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmemo.worker.MAX_QUEUED_BYTES", 10_000)
    held = Held("set")
    store = FakeStore(held)
    cache = LLMCache(store, store_timeout=LIMIT)
    tasks = [asyncio.create_task(cache.aupdate("first", "m", answer("first")))]
    await asyncio.to_thread(held.reached.wait, LIMIT)
    large = [Generation(text="x" * 1000)]
    tasks += [asyncio.create_task(cache.aupdate(f"p{n}", "m", large)) for n in range(50)]
    for _ in range(3):
        await asyncio.sleep(0)
    held.go.set()
    await asyncio.wait_for(asyncio.gather(*tasks), LIMIT)
    assert await cache.aclose() == 0
    stats = cache.stats()
    assert 40 <= stats.writes_unconfirmed <= 42
    assert stats.errors["write_dropped"] == stats.writes_unconfirmed
    # The oldest went, the newest stayed.
    kept = ["first", *[f"p{n}" for n in range(stats.writes_unconfirmed, 50)]]
    assert set(store.records) == {cache._tiers.key(key, "m") for key in kept}


@pytest.mark.anyio
async def test_a_store_that_blocks_its_thread_does_not_block_a_loop() -> None:
    held = Held("open", "get", "set", "delete", "close")
    cache = LLMCache(FakeStore(held), store_timeout=LIMIT)
    operations: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: cache.alookup("p", "m"),
        lambda: cache.aupdate("p", "m", answer("p")),
        lambda: cache.adelete("p", "m"),
        lambda: cache.aclear(),
        lambda: cache.aclose(LIMIT),
    ]
    for operation in operations:
        held.go.clear()
        task = asyncio.create_task(operation())
        # The store goes on only once this heart has beaten: a blocked loop would be at fault.
        for _ in range(60):
            await asyncio.sleep(0.005)
        assert not task.done()
        held.go.set()
        await task
    assert held.was_released
    assert cache.stats().errors == {}


@pytest.mark.anyio
async def test_memory_and_store_agree_which_update_was_the_last() -> None:
    store = FakeStore()
    async with LLMCache(store, store_timeout=LIMIT) as cache:
        task = asyncio.create_task(cache.aupdate("p", "m", answer("old")))
        await asyncio.sleep(0)
        cache.update("p", "m", answer("new"))
        await task
        in_memory = cache.lookup("p", "m")
    async with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        assert await cache.alookup("p", "m") == in_memory


@pytest.mark.anyio
async def test_close_finishes_or_counts_what_was_begun_before_it() -> None:
    store = FakeStore()
    cache = LLMCache(store, store_timeout=LIMIT)
    await cache.aupdate("p0", "m", answer("p0"))
    tasks = [asyncio.create_task(cache.aupdate(f"p{n}", "m", answer("p"))) for n in range(1, 9)]
    await asyncio.sleep(0)
    dropped = cache.close()
    await asyncio.wait_for(asyncio.gather(*tasks), LIMIT)
    assert len(store.records) + dropped == 9


def test_close_does_not_wait_for_a_stuck_store_and_counts_what_it_drops() -> None:
    held = Held("set")
    cache = LLMCache(FakeStore(held), store_timeout=0.01)
    with no_thread_stays():
        for n in range(5):
            cache.update(f"p{n}", "m", answer("p"))
        assert cache.close(timeout=0.01) == 5
        assert cache.close() == 0
        held.go.set()


@pytest.mark.parametrize("end", ["closed", "dropped"])
def test_two_caches_never_run_one_store_at_once(end: str, tmp_path: Path) -> None:
    held = Held("set")
    store = FakeStore(held)
    first: LLMCache | None = LLMCache(store, store_timeout=0.01)
    assert first is not None
    with no_thread_stays():
        first.update("p", "m", answer("p"))
        assert held.reached.wait(LIMIT)
        if end == "closed":
            first.close(timeout=0.01)
        first = None
        # The store is still busy with the write of the first.
        try:
            second = LLMCache(store, store_timeout=0.2)
        except ValueError:
            second = None
        else:
            second.lookup("p", "m")
        overlapping = [name for name, _ in store.asked]
        held.go.set()
        if second is not None:
            second.close()
    assert overlapping == ["open", "set"]


def test_a_fork_in_the_middle_of_a_loop(tmp_path: Path) -> None:
    program = """
cache = opened()
async def look_up(key):
    assert await cache.alookup(key, "m") == (answer(key) if key < "p4" else None)
async def main():
    await asyncio.gather(*[akeep(cache, key) for key in ("p0", "p1", "p2", "p3")])
    for turn in range(10):
        tasks = [asyncio.ensure_future(look_up(f"p{n}")) for n in range(8)]
        tasks += [asyncio.ensure_future(akeep(cache, f"turn{turn}-{n}")) for n in range(4)]
        for _ in range(turn):
            await asyncio.sleep(0)
        if (pid := os.fork()) == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert cache.stats().errors == {}, cache.stats()
asyncio.run(main())
"""
    kept = run(program, tmp_path / "a.db")
    assert len(kept) == 44
    expect_on_disk(tmp_path / "a.db", kept)

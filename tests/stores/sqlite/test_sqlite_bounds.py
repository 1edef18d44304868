"""An SQLite store stays within its bounds: time, size, and the WAL beside it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import pytest
from support.doubles import FakeStore, answer, patience

from llmemo import LLMCache, SQLiteStore
from llmemo.store_io import maintenance, write_loop
from llmemo.stores import Record
from llmemo.stores.sqlite import eviction, upkeep

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0


class Timed(SQLiteStore):
    """A store whose time is set by the test."""

    now = NOW

    def __init__(self, path: Path, max_store_bytes: int | None = None) -> None:
        super().__init__(path, max_store_bytes=max_store_bytes)
        self.clock = lambda: self.now

    async def settle(self) -> None:
        """Look after the store until nothing is left to do."""
        before = None
        while before != (before := self.facts()):
            self._upkeep._looked = self._upkeep._noted = 0.0
            await self.upkeep()

    def facts(self) -> tuple[object, ...]:
        with closing(sqlite3.connect(self.path)) as connection:
            names = ("page_count", "freelist_count")
            facts = [connection.execute(f"PRAGMA {name}").fetchone() for name in names]
            return (*facts, *connection.execute("SELECT count(*) FROM entries"))

    def numbers(self) -> set[int]:
        with closing(sqlite3.connect(self.path)) as connection:
            rows = connection.execute("SELECT key FROM entries")
            return {int.from_bytes(key, "big") for (key,) in rows}

    def live_bytes(self) -> int:
        with closing(sqlite3.connect(self.path)) as connection:
            return int(
                connection.execute(
                    "SELECT (page_count - freelist_count) * page_size"
                    " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
                ).fetchone()[0]
            )


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def record(
    number: int, *, size: int = 2_000, created: float = NOW, expires: float | None = None
) -> Record:
    return Record(key(number), bytes(size), b"n" * 16, b"l" * 16, created, expires)


@pytest.fixture
async def opened() -> AsyncIterator[list[SQLiteStore]]:
    """Stores to be closed at the end."""
    stores: list[SQLiteStore] = []
    yield stores
    for store in stores:
        await store.close()


async def open_at(opened: list[SQLiteStore], path: Path, bound: int | None = None) -> Timed:
    store = Timed(path, bound)
    opened.append(store)
    await store.open()
    return store


@pytest.mark.slow
async def test_what_has_expired_is_removed(opened: list[SQLiteStore], tmp_path: Path) -> None:
    store = await open_at(opened, tmp_path / "a.db")
    ends = [None, NOW, NOW + 1, NOW - 1]
    await store.set([record(n, expires=ends[n % 4]) for n in range(2_000)])
    await store.settle()
    assert store.numbers() == {n for n in range(2_000) if n % 4 in (0, 2)}
    store.now += 1
    await store.settle()
    assert store.numbers() == {n for n in range(2_000) if n % 4 == 0}


@pytest.mark.slow
async def test_a_little_at_a_time(
    opened: list[SQLiteStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BUDGET", 1e-9)
    store = await open_at(opened, tmp_path / "a.db")
    await store.set([record(n, expires=NOW) for n in range(1_000)])
    store._upkeep._looked = 0.0
    left = []
    for _ in range(5):
        await store.upkeep()
        left.append(len(store.numbers()))
    assert left[0] == 1_000, "no time, nothing done"
    monkeypatch.setattr(upkeep, "BUDGET", 60.0)
    await store.upkeep()
    assert store.numbers() == set(), "there was more to do: it goes on at once"


@pytest.mark.slow
async def test_the_least_recently_used_make_room(opened: list[SQLiteStore], tmp_path: Path) -> None:
    bound = 2_000_000
    store = await open_at(opened, tmp_path / "a.db", bound)
    for start in range(0, 2_000, 50):
        store.now += 1
        await store.set([record(n, created=store.now) for n in range(start, start + 50)])
        store.now += 1
        assert len(await store.get([key(n) for n in range(10)])) == 10
        await store.settle()
        assert store.live_bytes() <= bound
    numbers = store.numbers()
    assert numbers >= set(range(10)), "they were of use all the time"
    newest = sorted(numbers - set(range(10)))
    assert newest == list(range(newest[0], 2_000)), "and of the others the newest stay"
    assert bound * 0.75 < store.live_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("max_bytes", [0, 2**20])
def test_what_is_in_use_stays_wherever_it_is_answered_from(
    max_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot = [f"hot{number}" for number in range(50)]
    store = SQLiteStore(tmp_path / "a.db", max_store_bytes=1_000_000)
    # The store is told about once a second what memory answers: here, more often.
    monkeypatch.setattr("llmemo.store_io.maintenance.PAUSE", 0.01)
    monkeypatch.setattr("llmemo.stores.sqlite.upkeep.PAUSE", 0.03)
    kept, upkeep = threading.Semaphore(0), store.upkeep

    async def counted() -> None:
        await upkeep()
        kept.release()

    monkeypatch.setattr(store, "upkeep", counted)
    with LLMCache(store, max_bytes=max_bytes, store_timeout=patience()) as cache:
        for name in hot:
            cache.update(name, "m", answer(name))
        for number in range(600):
            cache.update(f"cold{number}", "m", answer(os.urandom(1_500).hex()))
            if number % 20 == 0:
                for name in hot:
                    assert cache.lookup(name, "m") == answer(name)
            if number % 200 == 199:
                while kept.acquire(blocking=False):
                    pass
                # One may be under way, which is too early to know all of them.
                assert all(kept.acquire(timeout=patience()) for _ in range(3))
    with LLMCache(store.path, max_bytes=0, store_timeout=patience()) as cache:
        assert [name for name in hot if cache.lookup(name, "m") is None] == []
        assert cache.lookup("cold0", "m") is None


@pytest.mark.slow
async def test_changes_do_not_pile_up(opened: list[SQLiteStore], tmp_path: Path) -> None:
    store = await open_at(opened, tmp_path / "a.db")
    bound = await open_at(opened, tmp_path / "b.db", 1_000_000)
    for one, most in ((store, upkeep.CHANGES), (bound, 1_000_000 // 1_024)):
        for _ in range(3 * most // 300):
            await one.set([record(n, size=100) for n in range(300)])
        await one.settle()
        with closing(sqlite3.connect(one.path)) as connection:
            [(changes,)] = connection.execute("SELECT count(*) FROM changes")
        assert most <= changes < most + 2 * eviction.ROWS
        assert one.numbers() == set(range(300))


@pytest.mark.slow
async def test_the_wal_stays_small_though_nobody_writes(
    opened: list[SQLiteStore], tmp_path: Path
) -> None:
    store = await open_at(opened, tmp_path / "a.db")
    await store.set([record(n, expires=NOW + 1) for n in range(6_000)])
    await store.settle()
    wal, most = store.path.with_name("a.db-wal"), 0
    store.now += 1
    while store.numbers():
        store._upkeep._looked = 0.0
        await store.upkeep()
        most = max(most, wal.stat().st_size)
    await store.settle()
    assert most < 16 * 2**20
    # And nothing has to be written for the file to become smaller.
    assert store.path.stat().st_size + wal.stat().st_size < 8 * 2**20


@pytest.mark.slow
async def test_the_bound_holds_though_writes_never_pause(
    opened: list[SQLiteStore], tmp_path: Path
) -> None:
    bound = 2_000_000
    store = await open_at(opened, tmp_path / "a.db", bound)
    most = 0
    for start in range(0, 4_000, 20):
        store.now += 1
        await store.set([record(n, created=store.now) for n in range(start, start + 20)])
        most = max(most, store.live_bytes())
    batch = 20 * 4_096  # a page each
    assert bound * 0.75 < most <= bound + 2 * batch
    numbers = store.numbers()
    assert numbers == set(range(min(numbers), 4_000)), "the oldest make room"


@pytest.mark.slow
async def test_a_store_is_looked_after_though_writes_never_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Busy(FakeStore):
        async def set(self, records: Sequence[Record]) -> None:
            await super().set(records)
            await anyio.sleep(0.005)

        async def upkeep(self) -> None:
            self._begin("upkeep")

    monkeypatch.setattr(maintenance, "PAUSE", 0.02)
    monkeypatch.setattr(write_loop, "MAX_RECORDS_PER_SET", 1)
    store = Busy()
    async with LLMCache(store, store_timeout=patience()) as cache:
        await asyncio.gather(*(cache.aupdate(str(n), "m", answer("p")) for n in range(100)))
        asked = [name for name, _ in store.asked]
    assert asked.count("set") == 100
    assert "upkeep" in asked[: len(asked) - asked[::-1].index("set")]


async def test_uses_are_remembered_by_the_next_process(
    opened: list[SQLiteStore], tmp_path: Path
) -> None:
    store = await open_at(opened, tmp_path / "a.db", 1_000_000)
    await store.set([record(n) for n in range(200)])
    store.now += 10
    await store.get([key(5)])
    await store.close()
    store = await open_at(opened, tmp_path / "a.db", 1_000_000)
    await store.set([record(n, created=NOW + 5) for n in range(200, 400)])
    await store.settle()
    numbers = store.numbers()
    assert 5 in numbers
    assert 4 not in numbers


@pytest.mark.slow
async def test_space_is_given_back(opened: list[SQLiteStore], tmp_path: Path) -> None:
    store = await open_at(opened, tmp_path / "a.db")
    await store.set([record(n) for n in range(3_000)])
    await store.settle()
    await store.delete(None)
    await store.settle()
    await store.close()
    assert (tmp_path / "a.db").stat().st_size < 100_000


@pytest.mark.slow
async def test_a_bound_that_is_set_later_holds_too(
    opened: list[SQLiteStore], tmp_path: Path
) -> None:
    store = await open_at(opened, tmp_path / "a.db")
    await store.set([record(n) for n in range(3_000)])
    await store.close()
    store = await open_at(opened, tmp_path / "a.db", 1_000_000)
    await store.settle()
    await store.close()
    assert (tmp_path / "a.db").stat().st_size <= 1_000_000


@pytest.mark.slow
async def test_the_wal_stays_small_though_there_is_always_a_reader(
    opened: list[SQLiteStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "WAL_BYTES_MAX", 8 * 2**20)
    monkeypatch.setattr(upkeep, "PAUSE", 0.0)
    path = tmp_path / "a.db"
    store = await open_at(opened, path)
    is_over = threading.Event()

    def read() -> None:
        """Each begins before the last one ends."""
        before = sqlite3.connect(path)
        while not is_over.wait(0.002):
            reader = sqlite3.connect(path)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM changes").fetchone()
            before.close()
            before = reader
        before.close()

    reading = threading.Thread(target=read)
    reading.start()
    largest = 0
    try:
        for turn in range(100):
            await store.set([record(turn * 100 + n, size=3_000) for n in range(100)])
            largest = max(largest, path.with_name("a.db-wal").stat().st_size)
    finally:
        is_over.set()
        reading.join()
    assert largest <= 24 * 2**20, "it would be 40 MB without a checkpoint"


@pytest.mark.slow
async def test_upkeep_is_part_of_a_caches_life(tmp_path: Path) -> None:
    async with LLMCache(tmp_path / "a.db", ttl=0.05) as cache:
        await cache.aupdate("p", "m", answer("p"))
        end = time.monotonic() + patience()
        with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
            while connection.execute("SELECT count(*) FROM entries").fetchone() != (0,):
                assert time.monotonic() < end
                await anyio.sleep(0.05)
        assert cache.stats().errors == {}


async def test_a_wal_that_was_large_is_not_written_back_again_and_again(
    opened: list[SQLiteStore], tmp_path: Path
) -> None:
    store = await open_at(opened, tmp_path / "a.db")
    await store.set([record(n, size=4_000) for n in range(3_000)])
    statements: list[str] = []
    for turn in range(10):
        if turn == 2:  # One commit to write it back, one to begin it anew.
            assert store._session.writer is not None
            await store._session.writer.set_trace_callback(statements.append)
        await store.set([record(turn)])
    assert statements
    assert not [text for text in statements if "wal_checkpoint" in text]

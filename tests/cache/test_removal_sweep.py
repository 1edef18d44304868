"""A removal of many rows leaves room for others between its transactions, and is finished."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.callers import until
from support.doubles import LIMIT, ROUNDS, FakeStore, answer

from llmemo import LLMCache, SQLiteStore, StoreError
from llmemo.stores import Record, Selection
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.sqlite.invalidation import ROWS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    Filled = Callable[..., Awaitable[SQLiteStore]]

pytestmark = pytest.mark.anyio

N, M = b"n" * 16, b"m" * 16
MANY = min(100_000, 20_000 * ROUNDS)


def record(number: int, namespace: bytes = N) -> Record:
    return Record(number.to_bytes(32, "big"), b"v" * 50, namespace, b"l" * 16, float(number), None)


@pytest.fixture
async def filled(tmp_path: Path) -> AsyncIterator[Filled]:
    """Makes a store with so many rows, every third of another namespace; or none. Closed after."""
    stores = []

    async def make(count: int = 0) -> SQLiteStore:
        store = SQLiteStore(tmp_path / "a.db")
        stores.append(store)
        await store.open()
        records = [record(number, N if number % 3 else M) for number in range(count)]
        for start in range(0, count, 10_000):
            await store.set(records[start : start + 10_000])
        return store

    yield make
    for store in stores:
        await store.close()


async def swept(store: SQLiteStore, selection: Selection) -> int:
    while True:
        removed = await store.invalidate(selection)
        if removed is not None:
            return removed


class Spied:
    """How many rows each transaction of a store was to remove, and what was told to others."""

    def __init__(self, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.removals, self.told, self.fails = store, [0], [0], 0
        self._real = store._transaction
        monkeypatch.setattr(store, "_transaction", self)

    async def __call__(self, *steps: tuple[str, Sequence[Any]], size: int = 0) -> list[int]:
        if self.fails:
            self.fails -= 1
            raise StoreUnavailableError("locked")
        self.removals.append(sum(len(rows) for text, rows in steps if text.startswith("DELETE")))
        self.told.append(sum(len(rows) for text, rows in steps if text.startswith("INSERT")))
        return await self._real(*steps, size=size)


@pytest.mark.slow
async def test_others_write_between_its_transactions(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await filled(MANY)
    spied, is_over, written = Spied(store, monkeypatch), threading.Event(), 0

    def write() -> int:
        """As another process does. How often, before all was removed."""
        count = 0
        with closing(sqlite3.connect(store.path, timeout=LIMIT)) as connection:
            while not is_over.wait(0.005):
                with connection:
                    connection.execute("INSERT INTO changes (key, writer) VALUES (x'00', x'00')")
                count += 1
        return count

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            removed = await swept(store, Selection(N, None, None))
        finally:
            is_over.set()
        written = writing.result(LIMIT)
    assert removed == MANY - len(range(0, MANY, 3))
    # Each transaction is short, however many there are; and it is the other's turn in between.
    assert max(spied.removals) <= 500
    assert len(spied.removals) > MANY // 500
    assert written >= 10
    # Others are told at the first and at the last, and are not flooded in between.
    assert (spied.told[1], spied.told[-1], sum(spied.told)) == (1, 1, 2)
    assert await swept(store, Selection(M, None, None)) == MANY - removed


@pytest.mark.parametrize("count", [0, 1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS, 3 * ROWS + 1])
async def test_every_row_is_looked_at_once(
    count: int, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await filled(count)
    spied = Spied(store, monkeypatch)
    assert await swept(store, Selection(None, None, float(count // 2))) == count // 2
    rest = [number for number in range(count // 2, count) if number % 3]
    assert await swept(store, Selection(N, b"l" * 16, None)) == len(rest)
    assert sum(spied.removals) == count // 2 + len(rest)


async def test_others_are_told_though_the_first_transaction_has_to_wait(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await filled(3 * ROWS)
    other = await filled()
    spied = Spied(store, monkeypatch)
    selection, spied.fails = Selection(N, None, None), 2
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await store.invalidate(selection)
    assert await store.invalidate(selection) is None
    assert await other.changes() == [selection]
    assert await swept(store, selection) == 2 * ROWS
    assert await other.changes() == [selection]


async def test_one_that_fails_is_forgotten_and_another_begins_anew(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await filled(3 * ROWS)
    selection = Selection(N, None, None)
    assert await store.invalidate(selection) is None
    with monkeypatch.context() as patch:

        async def fail(*_: object, **__: object) -> None:
            raise OSError(5, "disk")

        patch.setattr(store, "_transaction", fail)
        with pytest.raises(OSError, match="disk"):
            await store.invalidate(selection)
    assert store._sweeps == {}
    # Two at a time, each with its own place and count.
    one, two = Selection(N, None, None), Selection(M, None, None)
    removed: dict[Selection, int] = {}
    while len(removed) < 2:
        for each in {one, two} - removed.keys():
            result = await store.invalidate(each)
            if result is not None:
                removed[each] = result
    assert removed == {one: 2 * ROWS - 170, two: ROWS}
    assert store._sweeps == {}


class Slow(FakeStore):
    """Says so many times that there is more to remove."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.began, self.go = times, threading.Event(), threading.Event()

    async def invalidate(self, selection: Selection) -> int | None:  # type: ignore[override]
        self.asked.append(("invalidate", 0))
        self.began.set()
        assert await asyncio.to_thread(self.go.wait, LIMIT)
        self.times -= 1
        return None if self.times else await super().invalidate(selection)


async def test_a_caches_own_writes_do_not_wait_for_its_end() -> None:
    store = Slow(3)
    async with LLMCache(store, store_timeout=LIMIT) as cache:
        try:
            removing = asyncio.ensure_future(cache.ainvalidate(namespace="a"))
            assert await asyncio.to_thread(store.began.wait, LIMIT)
            writing = asyncio.ensure_future(cache.aupdate("p", "m", answer("x")))
            await until(lambda: cache.stats().updates == 1)
        finally:
            store.go.set()
        await asyncio.wait_for(asyncio.gather(removing, writing), LIMIT)
        kinds = [name for name, _ in store.asked if name in ("invalidate", "set")]
        assert kinds[0] == "invalidate"
        assert kinds.index("set") < len(kinds) - 1
        assert cache.stats().writes_unconfirmed == 0


async def test_closing_does_not_wait_for_its_end() -> None:
    store = Slow(10**9)
    store.go.set()
    cache = LLMCache(store)
    call = asyncio.ensure_future(cache.ainvalidate(namespace="a"))
    assert await asyncio.to_thread(store.began.wait, LIMIT)
    assert await cache.aclose(timeout=0.2) == 0
    with pytest.raises(StoreError):
        await call

"""What an SQLite store is asked at once, in the private thread: the same as by the patient way."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT, answer, files
from support.filled import filled, record

from llmemo import LLMCache
from llmemo.stores import Record, SQLiteStore
from llmemo.stores.sqlite.fast_reads import AT_ONCE, REST, SLOW, FastReader, Rest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    async with filled(tmp_path) as store:
        yield store


@pytest.mark.parametrize("count", [1, 2, 3, 64, 65, 600])
async def test_both_ways_tell_the_same(store: SQLiteStore, count: int) -> None:
    # Beyond 99 there is nothing.
    keys = [record(number * 7 % 131).key for number in range(count)]
    found = store.get_at_once(keys)
    assert found == await store.get(keys)
    assert found is not None
    assert set(found) == {key for key in keys if int.from_bytes(key, "big") < 100}
    # What is written later is seen, too.
    await store.set([record(3)._replace(key=keys[0], value=b"later")])
    again = store.get_at_once(keys)
    assert again is not None
    assert again[keys[0]].value == b"later"


async def test_many_keys_take_the_patient_way(store: SQLiteStore) -> None:
    keys = [record(number).key for number in range(AT_ONCE + 1)]
    assert store.get_at_once(keys) is None
    assert len(await store.get(keys)) == 100


async def test_so_do_large_answers(store: SQLiteStore) -> None:
    large = [record(number)._replace(value=b"x" * 2**20) for number in range(8)]
    await store.set(large)
    assert store.get_at_once([one.key for one in large]) is None
    assert set(await store.get([one.key for one in large])) == {one.key for one in large}
    assert store.get_at_once([large[0].key]) == {large[0].key: large[0]}


async def test_after_a_slow_one_the_patient_way_is_taken_for_a_while(store: SQLiteStore) -> None:
    now, took = [100.0], 0.0

    def clock() -> float:
        now[0] += took
        return now[0]

    quick = FastReader(Rest(clock))
    quick.open(store.path)
    keys = [record(1).key]
    assert quick.get(keys)
    took = 2 * SLOW
    assert quick.get(keys)
    took = 0.0
    assert quick.get(keys) is None
    now[0] += REST
    assert quick.get(keys)
    quick.close()


async def test_trouble_is_left_to_the_patient_way(store: SQLiteStore) -> None:
    connection = store._session.fast_reader._connection
    assert connection is not None
    connection.set_progress_handler(lambda: 1, 1)
    assert store.get_at_once([record(1).key]) is None
    assert await store.get([record(1).key]) == {record(1).key: record(1)._replace(outline=b"")}
    connection.set_progress_handler(None, 1)
    assert store.get_at_once([record(1).key])


async def test_it_makes_no_file_and_writes_to_none(tmp_path: Path) -> None:
    quick = FastReader()
    quick.open(tmp_path / "missing.db")
    assert quick.get([record(1).key]) is None
    assert files(tmp_path) == []
    store = SQLiteStore(tmp_path / "cache.db")
    await store.open()
    connection = store._session.fast_reader._connection
    assert connection is not None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM entries")
    await store.close()


async def test_closing_leaves_the_wal_to_who_holds_the_guard(store: SQLiteStore) -> None:
    path = store.path.with_name("cache.db-wal")
    size = path.stat().st_size
    assert size > 0
    store._session.fast_reader.close()
    assert path.stat().st_size == size
    assert store.get_at_once([record(1).key]) is None
    assert await store.get([record(1).key])


async def test_a_get_of_somebodys_own_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Own(SQLiteStore):
        async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
            asked.append("own")
            return await super().get(keys)

    get = SQLiteStore.get

    async def patched(self: SQLiteStore, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        asked.append("patched")
        return await get(self, keys)

    async def found(store: SQLiteStore) -> list[str]:
        asked.clear()
        async with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
            await cache.aupdate("p", "m", answer("p"))
            assert await cache.alookup("p", "m") == answer("p")
        return list(asked)

    path = tmp_path / "cache.db"
    assert set(await found(Own(path))) == {"own"}
    assert await found(SQLiteStore(path)) == []
    with monkeypatch.context() as context:
        context.setattr(SQLiteStore, "get", patched)
        assert set(await found(SQLiteStore(path))) == {"patched"}
    one = SQLiteStore(path)
    bound: Any = patched.__get__(one)
    monkeypatch.setattr(one, "get", bound)
    assert set(await found(one)) == {"patched"}


async def test_a_file_that_was_replaced_is_read_by_both_ways(store: SQLiteStore) -> None:
    for path in store.path.parent.glob("cache.db*"):
        path.unlink()
    other = SQLiteStore(store.path)
    await other.open()
    await other.set([record(7)._replace(value=b"other")])
    # Opened anew with the next write.
    await store.set([record(8)])
    found = store.get_at_once([record(7).key, record(8).key, record(9).key])
    assert found is not None
    assert found == await store.get([record(7).key, record(8).key, record(9).key])
    assert {key[-1]: one.value for key, one in found.items()} == {7: b"other", 8: b"value 8"}
    await other.close()


async def test_damaged_rows_are_told_from_whole_ones(store: SQLiteStore) -> None:
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute("UPDATE entries SET created = 'x' WHERE id = 3")
        connection.commit()
    found = store.get_at_once([record(2).key, record(3).key])
    assert found is not None
    assert {key[-1]: one.value for key, one in found.items()} == {2: b"", 3: b"value 3"}


async def test_readers_and_a_writer_at_once(tmp_path: Path) -> None:
    async with LLMCache(tmp_path / "cache.db", max_bytes=0, store_timeout=LIMIT) as cache:
        names = [f"p{number}" for number in range(200)]

        async def write(name: str) -> None:
            await cache.aupdate(name, "m", answer(name))
            assert await cache.alookup(name, "m") == answer(name)

        await asyncio.gather(*map(write, names))
        assert cache.stats().store_hits == len(names)
        assert cache.stats().errors == {}

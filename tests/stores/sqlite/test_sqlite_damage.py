"""A damaged file that is ours is set aside, once, and a new one started."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.doubles import LIMIT, answer, expect_on_disk, lines, no_thread_stays

from llmemo import LLMCache, SQLiteStore
from llmemo.stores.sqlite import connection, network_files, session, set_aside

if TYPE_CHECKING:
    import aiosqlite


def damage(path: Path) -> None:
    """Overwrite all pages but the first, as a failing disk may."""
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


def filled(path: Path) -> None:
    with LLMCache(path, store_timeout=LIMIT) as cache:
        for number in range(50):
            cache.update(str(number), "m", answer(str(number)))


def aside(folder: Path) -> list[str]:
    names = (file.name for file in folder.glob("*.corrupt-*"))
    return sorted(name for name in names if not name.endswith(("-wal", "-shm")))


def test_a_file_found_damaged_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.db"
    filled(path)
    damage(path)
    damaged = path.read_bytes()
    with LLMCache(path, store_timeout=LIMIT) as cache:
        assert cache.lookup("1", "m") is None
        cache.update("1", "m", answer("new"))
        assert cache.stats().writes_unconfirmed == 0
    with LLMCache(path, store_timeout=LIMIT) as cache:
        assert cache.lookup("1", "m") == answer("new")
    (name,) = aside(tmp_path)
    assert (tmp_path / name).read_bytes() == damaged
    expect_on_disk(path, [])
    assert sum("was damaged" in line for line in lines(caplog)) == 1


def test_a_file_that_is_damaged_under_an_open_cache(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path)
    with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
        assert cache.lookup("1", "m") == answer("1")
        damage(path)
        for turn in range(20):
            assert cache.lookup(str(turn), "m") in (None, answer(str(turn)), answer("new"))
            cache.update(str(turn), "m", answer("new"))
        assert cache.lookup("19", "m") == answer("new")
    assert len(aside(tmp_path)) >= 1
    with LLMCache(path, store_timeout=LIMIT) as cache:
        assert cache.lookup("19", "m") == answer("new")


def test_stores_that_find_it_at_once_set_it_aside_once(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    filled(path)
    damage(path)

    async def find() -> None:
        stores = [SQLiteStore(path) for _ in range(8)]
        await asyncio.gather(*(store.open() for store in stores))
        for store in stores:
            assert await store.get([b"k" * 32]) == {}
            await store.close()

    with no_thread_stays():
        asyncio.run(find())
    assert len(aside(tmp_path)) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_sound_file_that_was_taken_for_damaged_is_not_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that fails may look like damage to SQLite: test_faults.py finds such reads."""
    path = tmp_path / "a.db"
    filled(path)
    connect, failures = connection.connect, ["database disk image is malformed"]

    async def failing(path: Path, durability: str) -> aiosqlite.Connection:
        if failures:
            raise sqlite3.DatabaseError(failures.pop())
        return await connect(path, durability)

    monkeypatch.setattr(session, "connect", failing)
    store = SQLiteStore(path)
    with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        assert cache.lookup("1", "m") == answer("1")
        assert not failures
        store._session._is_damaged = True
        cache.update("1", "m", answer("new"))
        assert cache.lookup("1", "m") == answer("new")
        assert cache.stats().errors == {}
    assert aside(tmp_path) == []
    expect_on_disk(path, [str(turn) for turn in range(2, 50)])


@pytest.mark.slow
@pytest.mark.parametrize("column", ["value", "namespace", "llm", "created", "expires"])
@pytest.mark.parametrize(
    "damaged", ["CAST(x'fffe' AS TEXT)", "'text'", "7", "0.5", "x'00'"], ids=str.lower
)
def test_a_row_of_wrong_types_is_a_miss_and_harms_no_other(
    column: str, damaged: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.db"
    with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
        for key in ("p", "q"):
            cache.update(key, "m", answer(key))
    named = LLMCache()._tiers.key("p", "m")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE entries SET {column} = {damaged} WHERE key = ?", (named,))
        connection.commit()

    async def both(cache: LLMCache) -> list[object]:
        return await asyncio.gather(*(cache.alookup(one, "m") for one in ("p", "q")))

    with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
        first, second = asyncio.run(both(cache))
        # Where the column may hold it, it is no damage that anybody could see.
        assert first in (None, answer("p"))
        assert second == answer("q")
        assert not {"internal", "store_read"} & set(cache.stats().errors)
        cache.update("p", "m", answer("p"))
        assert asyncio.run(both(cache)) == [answer("p"), answer("q")]


def test_a_wal_goes_with_its_database(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(f"a.db{suffix}").write_text(suffix)
    set_aside.set_aside(path, "why")
    names = sorted(file.name for file in tmp_path.iterdir())
    assert [name.partition("-20")[0] for name in names] == ["a.db.corrupt"] * 3
    assert {(tmp_path / name).read_text() for name in names} == {"", "-wal", "-shm"}
    assert not list(tmp_path.glob("a.db")) + list(tmp_path.glob("a.db-*"))


@pytest.mark.parametrize(
    ("kind", "is_told"), [("nfs4", True), ("fuse.sshfs", True), ("ext4", False), ("", False)]
)
def test_a_network_file_system_is_warned_of_once(
    kind: str,
    is_told: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network_files, "file_system", lambda folder: kind)
    for _ in range(2):
        filled(tmp_path / "a.db")
    told = [line for line in lines(caplog) if "network file system" in line]
    assert len(told) == is_told


def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = (
        "22 1 8:1 / / rw - ext4 /dev/root rw\n"
        f"23 22 0:5 / {str(tmp_path).replace(' ', chr(92) + '040')} rw shared:1 - nfs4 host:/x rw\n"
    )
    monkeypatch.setattr(Path, "read_text", lambda *args: table)
    assert network_files.file_system(tmp_path / "a" / "b") == "nfs4"
    assert network_files.file_system(tmp_path.parent) == "ext4"

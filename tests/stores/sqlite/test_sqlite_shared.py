"""Several stores on one file, in one process or many: what one changes, no other serves."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.doubles import answer, patience, run

from llmemo import LLMCache, SQLiteStore
from llmemo.stores import Record, StoreUnavailableError
from llmemo.stores.sqlite.process_lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio


def record(number: int, value: bytes = b"v") -> Record:
    return Record(number.to_bytes(32, "big"), value, b"n" * 16, b"l" * 16, 1.0, None)


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + patience()
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["clear", "delete", "replace"])
def test_what_one_cache_changes_another_stops_serving(how: str, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with LLMCache(path) as one, LLMCache(path) as other:
        for key in ("p", "q"):
            one.update(key, "m", answer("old"))
            assert other.lookup(key, "m") == answer("old")
        assert other.stats().entries == 2
        if how == "clear":
            one.clear()
            until(lambda: other.lookup("p", "m") is None)
            assert other.lookup("q", "m") is None
        elif how == "delete":
            one.delete("p", "m")
            until(lambda: other.lookup("p", "m") is None)
            assert other.lookup("q", "m") == answer("old")
        else:
            one.update("p", "m", answer("new"))
            until(lambda: other.lookup("p", "m") == answer("new"))
        assert one.lookup("q", "m") in (None, answer("old"))
        assert other.stats().errors == one.stats().errors == {}


@pytest.mark.slow
def test_what_was_evicted_and_computed_anew_replaces_what_others_remember(tmp_path: Path) -> None:
    stores = [SQLiteStore(tmp_path / "a.db", max_store_bytes=2**18) for _ in range(2)]
    one = LLMCache(stores[0], store_timeout=patience())
    other = LLMCache(stores[1], max_bytes=0, store_timeout=patience())
    with one, other:
        one.update("p", "m", answer("old"))
        for number in range(300):
            other.update(str(number), "m", answer(os.urandom(1_500).hex()))
        assert other.lookup("p", "m") is None, "it had to make room"
        assert one.lookup("p", "m") == answer("old"), "it has it in memory"
        other.update("p", "m", answer("new"))
        until(lambda: one.lookup("p", "m") == answer("new"))
        assert one.stats().errors == other.stats().errors == {}


@pytest.mark.slow
def test_a_caches_own_changes_cost_its_memory_nothing(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "a.db") as cache:
        for turn in range(3):
            cache.update("p", "m", answer(str(turn)))
        before = cache.stats()
        time.sleep(0.6)  # two looks at what has changed
        assert cache.lookup("p", "m") == answer("2")
        assert cache.stats().memory_hits == before.memory_hits + 1


async def two(path: Path) -> tuple[SQLiteStore, SQLiteStore]:
    one, other = SQLiteStore(path), SQLiteStore(path)
    await one.open()
    await other.open()
    return one, other


async def test_changes_are_those_of_others_since_they_were_asked_for(tmp_path: Path) -> None:
    one, other = await two(tmp_path / "a.db")
    assert list(await other.changes() or ()) == []
    await one.set([record(1), record(2)])
    assert list(await other.changes() or ()) == [], "what is new cannot be in memory"
    await one.set([record(1, b"w")])
    await one.delete([record(2).key, record(3).key])
    assert await other.changes() == [record(1).key, record(2).key, record(3).key]
    assert list(await other.changes() or ()) == []
    assert list(await one.changes() or ()) == [], "its own"
    await one.delete(None)
    assert await other.changes() is None
    assert list(await other.changes() or ()) == []
    for store in (one, other):
        await store.close()


async def test_what_was_removed_as_damaged_may_return_as_another(tmp_path: Path) -> None:
    one, other = await two(tmp_path / "a.db")
    await one.set([record(1, b"old"), record(2)])
    assert await other.changes() == []
    await other.discard([record(1, b"not that"), record(2)])
    await one.set([record(2, b"new")])
    assert await other.changes() == [record(2).key]
    for store in (one, other):
        await store.close()


async def test_changes_go_on_where_they_were_after_a_store_was_closed(tmp_path: Path) -> None:
    one, other = await two(tmp_path / "a.db")
    await one.set([record(1)])
    for value in (b"w", b"x", b"y"):
        assert list(await other.changes() or ()) == []
        await other.close()  # as a fork does
        await one.set([record(1, value)])
        await other.open()
        assert await other.changes() == [record(1).key]
    for store in (one, other):
        await store.close()


async def test_who_asks_too_late_is_told_to_forget_everything(tmp_path: Path) -> None:
    one, other = await two(tmp_path / "a.db")
    await one.set([record(1)])
    await one.set([record(1, b"w")])
    assert await other.changes() == [record(1).key]
    await one.set([record(1, b"x")])
    await one.set([record(1, b"y")])
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("DELETE FROM changes WHERE id < 3")
        connection.commit()
    assert await other.changes() is None
    await one.set([record(1, b"z")])
    assert await other.changes() == [record(1).key]
    for store in (one, other):
        await store.close()


async def test_another_file_of_the_same_name_is_a_change_of_everything(tmp_path: Path) -> None:
    one, other = await two(tmp_path / "a.db")
    await one.set([record(1)])
    assert await other.get([record(1).key])
    for name in ("a.db", "a.db-wal", "a.db-shm"):
        (tmp_path / name).unlink()
    assert await other.changes() is None
    await one.set([record(2)])
    assert await other.changes() is None
    await other.upkeep()
    assert await other.changes() is None
    assert list(await other.changes() or ()) == []
    assert set(await other.get([record(n).key for n in (1, 2)])) == {record(2).key}
    for store in (one, other):
        await store.close()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (1,)


def test_another_process_is_told_too(tmp_path: Path) -> None:
    program = """
with LLMCache(path) as cache:
    assert cache.lookup("p", "m") == answer("old")
    cache.update("p", "m", answer("new"))
    say("done")
"""
    path = tmp_path / "a.db"
    with LLMCache(path) as cache:
        cache.update("p", "m", answer("old"))
        assert run(program, path) == {"done"}
        until(lambda: cache.lookup("p", "m") == answer("new"))


async def test_the_guard_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most = 0

    async def work(guard: FileLock) -> None:
        nonlocal most
        for _ in range(20):
            async with guard.held():
                inside.append(1)
                most = max(most, len(inside))
                await asyncio.sleep(0)
                inside.pop()

    guards = [FileLock(tmp_path / "a.db", patience()) for _ in range(5)]
    await asyncio.gather(*map(work, guards))
    assert most == 1
    for guard in guards:
        guard.close()


async def test_who_waits_too_long_for_the_guard_is_told_so(tmp_path: Path) -> None:
    one, other = FileLock(tmp_path / "a.db", patience()), FileLock(tmp_path / "a.db", 0.01)
    async with one.held():
        with pytest.raises(StoreUnavailableError, match=r"a\.db-lock"):
            async with other.held():
                pass
    async with other.held():
        pass
    one.close()
    other.close()


async def test_commits_wait_for_the_guard(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "a.db")
    await store.open()
    guard = FileLock(tmp_path / "a.db", patience())
    async with guard.held():
        writing = asyncio.ensure_future(store.set([record(1)]))
        closing_ = asyncio.ensure_future(asyncio.wait([writing], timeout=0.1))
        _, pending = await closing_
        assert pending == {writing}
        assert await store.get([record(1).key]) == {}, "reads need no guard"
    await writing
    assert await store.get([record(1).key])
    await store.close()
    guard.close()


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="no list of locks")
def test_opening_a_store_takes_no_locks_away_from_another_of_this_process(tmp_path: Path) -> None:
    """A process loses all its POSIX locks on a file when it closes it by any descriptor."""
    path = tmp_path / "a.db"
    with LLMCache(path) as cache:
        cache.update("p", "m", answer("p"))
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            before = locks_on(path)
            SQLiteStore(path)
            with LLMCache(path) as other:
                assert other.lookup("p", "m") == answer("p")
                assert before <= locks_on(path)
            assert before <= locks_on(path)
            assert before


def locks_on(path: Path) -> set[str]:
    """What the system knows of this process's locks on a file."""
    inode = f":{path.stat().st_ino}"
    lines = Path("/proc/locks").read_text("utf-8").splitlines()
    return {line.partition(": ")[2] for line in lines if inode in line}

"""A file that is only read: a cache in an image, or on a file system that cannot be written."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support import nursery
from support.doubles import LIMIT, PYTHON, answer, lines, patience

from llmemo import (
    CacheClosedError,
    ConfigurationError,
    LLMCache,
    NotACacheError,
    SQLiteStore,
    StoreError,
    options,
)
from llmemo.stores import Record
from llmemo.stores.sqlite import schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = [f"p{number}" for number in range(60)]


def filled(path: Path) -> LLMCache:
    """A cache over a new file, which is open still, so that much is in the WAL."""
    cache = LLMCache(path, max_bytes=0, store_timeout=LIMIT)
    for name in NAMES:
        cache.update(name, "m", answer(name))
    return cache


def reading(path: Path, max_bytes: int = 2**20) -> LLMCache:
    store = SQLiteStore(path, read_only=True)
    return LLMCache(store, max_bytes=max_bytes, store_timeout=LIMIT)


def state(folder: Path) -> object:
    """All that there is, to the bit, but for the times of reads."""
    found = {
        one.name: (one.read_bytes(), one.stat()[:7], one.stat().st_mtime_ns)
        for one in folder.iterdir()
    }
    return found, folder.stat().st_mtime_ns


def closed(folder: Path, kinds: str) -> Path:
    """A file as it is left by a cache that was closed, or (`kinds`) copied with what is beside."""
    path = folder / "made" / "a.db"
    path.parent.mkdir()
    ends = [f"-{kind}" for kind in kinds.split()]
    with filled(path):
        for end in ends:
            (folder / f"a.db{end}").write_bytes((path.parent / f"a.db{end}").read_bytes())
        if ends:
            (folder / "a.db").write_bytes(path.read_bytes())
    if not ends:
        (folder / "a.db").write_bytes(path.read_bytes())
    shutil.rmtree(path.parent)
    return folder / "a.db"


@pytest.mark.parametrize("kinds", ["", "wal"])
def test_answers_are_served_and_nothing_is_written(kinds: str, tmp_path: Path) -> None:
    path = closed(tmp_path, kinds)
    before = state(tmp_path)
    with reading(path) as cache:
        assert {name for name in NAMES if cache.lookup(name, "m") != answer(name)} == set()
        for turn in range(3):
            cache.update(f"new{turn}", "m", answer(f"new{turn}"))
            assert cache.lookup(f"new{turn}", "m") == answer(f"new{turn}")
        assert cache.lookup("unknown", "m") is None
        assert cache.explain("unknown", "m").reason
        stats = cache.stats()
        assert (stats.errors, stats.writes_unconfirmed, stats.updates) == ({}, 0, 3)
        assert stats.skipped == {"store_read_only": 3}
        assert stats.store_hits == len(NAMES)
    assert state(tmp_path) == before
    with reading(path) as cache:
        assert cache.lookup("new0", "m") is None, "it was in memory alone"


def test_an_answer_that_memory_has_no_room_for_is_one_that_is_not_kept(tmp_path: Path) -> None:
    with reading(closed(tmp_path, ""), max_bytes=0) as cache:
        cache.update("new", "m", answer("new"))
        assert cache.lookup("new", "m") is None
        assert (cache.stats().updates, cache.stats().skipped) == (0, {"store_read_only": 1})


def test_what_was_expired_or_refreshed_is_newer_in_memory(tmp_path: Path) -> None:
    with reading(closed(tmp_path, "")) as cache:
        with options(mode="refresh"):
            assert cache.lookup("p1", "m") is None
            cache.update("p1", "m", answer("newer"))
        assert cache.lookup("p1", "m") == answer("newer")


def test_callers_of_one_process_share_an_answer(tmp_path: Path) -> None:
    async def ask(cache: LLMCache) -> list[object]:
        assert await cache.alookup("new", "m") is None
        waiting = asyncio.ensure_future(asyncio.create_task(cache.alookup("new", "m")))
        await asyncio.sleep(0)
        await cache.aupdate("new", "m", answer("new"))
        return [await waiting, await cache.alookup("new", "m")]

    with reading(closed(tmp_path, "")) as cache:
        assert asyncio.run(ask(cache)) == [answer("new"), answer("new")]
        assert cache.stats().errors == {}


@pytest.mark.parametrize(
    "remove",
    [
        lambda cache: cache.clear(),
        lambda cache: cache.delete("p1", "m"),
        lambda cache: cache.invalidate(llm_string="m"),
    ],
)
def test_removals_say_that_the_file_has_it_still(
    remove: Callable[[LLMCache], object], tmp_path: Path
) -> None:
    with reading(closed(tmp_path, "")) as cache:
        assert cache.lookup("p1", "m") == answer("p1")
        with pytest.raises(StoreError, match="read_only: memory has forgotten it"):
            remove(cache)
        assert cache.stats().entries == 0
        assert cache.lookup("p1", "m") == answer("p1")
        assert cache.stats().errors == {}
    with pytest.raises(CacheClosedError):
        remove(cache)


@pytest.mark.parametrize("is_open", [False, True])
def test_a_file_that_another_cache_writes(is_open: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    writer = filled(path)
    if not is_open:
        writer.close()
    with reading(path, max_bytes=0) as cache, reading(path) as remembering:
        for one in (cache, remembering):
            assert one.lookup("p1", "m") == answer("p1")
        if not is_open:
            writer = LLMCache(path, store_timeout=LIMIT)
        for turn in range(20):
            writer.update("p1", "m", answer(f"turn{turn}"))
            assert cache.lookup("p1", "m") == answer(f"turn{turn}")
        # What it has in memory is told to go, as to any other process.
        deadline = time.monotonic() + LIMIT
        while remembering.lookup("p1", "m") != answer("turn19"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        writer.clear()
        assert cache.lookup("p2", "m") is None
        writer.update("last", "m", answer("last"))
        writer.close()
        assert cache.lookup("last", "m") == answer("last")
        assert cache.stats().errors == remembering.stats().errors == {}
        # Readers keep nobody from writing, nor take any locks of another store's away.
        with LLMCache(path, store_timeout=LIMIT) as again:
            again.update("again", "m", answer("again"))
            assert cache.lookup("again", "m") == answer("again")
            assert again.stats().writes_unconfirmed == 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_file_that_is_replaced_or_gone(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    path, other = closed(tmp_path / "one", ""), closed(tmp_path / "two", "")
    with LLMCache(other, store_timeout=LIMIT) as writer:
        writer.update("p1", "m", answer("other"))
    with reading(path, max_bytes=0) as cache:
        assert cache.lookup("p1", "m") == answer("p1")
        other.replace(path)
        assert cache.lookup("p1", "m") == answer("other")
        assert cache.stats().errors == {}
        path.unlink()
        assert cache.lookup("p1", "m") is None
        assert cache.stats().errors == {"store_read": 1}
        assert not path.exists()


def test_what_cannot_be_a_store_to_read(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with pytest.raises(ConfigurationError, match="not there: read_only=True serves a file"):
        SQLiteStore(path, read_only=True)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        SQLiteStore(tmp_path, read_only=True)
    path.touch()
    with pytest.raises(NotACacheError, match="no cache yet: open it once without"):
        SQLiteStore(path, read_only=True)
    path.write_text("dear diary, " * 100)
    with pytest.raises(NotACacheError, match="left alone"):
        SQLiteStore(path, read_only=True)
    path.unlink()
    filled(path).close()
    with pytest.raises(ConfigurationError, match=r"read_only=1 .*True or False"):
        SQLiteStore(path, read_only=1)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"store_requests=True has no effect"):
        SQLiteStore(path, read_only=True, store_requests=True)
    with pytest.raises(ConfigurationError, match=r"max_store_bytes=1000000 has no effect"):
        SQLiteStore(path, read_only=True, max_store_bytes=1_000_000)
    assert repr(SQLiteStore(path, read_only=True)) == f"SQLiteStore({str(path)!r}, read_only=True)"


def test_a_file_of_a_newer_llmemo_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = closed(tmp_path, "")
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:-1])
    with reading(path) as cache:
        assert cache.lookup("p1", "m") is None
        cache.update("p1", "m", answer("new"))
        assert cache.lookup("p1", "m") == answer("new")
    assert any("newer llmemo" in line for line in lines(caplog))


def test_a_damaged_answer_is_a_miss_each_time(tmp_path: Path) -> None:
    path = closed(tmp_path, "")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE entries SET value = x'00'")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before = path.read_bytes()
    with reading(path, max_bytes=0) as cache:
        for _ in range(2):
            assert cache.lookup("p1", "m") is None
        assert {kind.partition("_")[0] for kind in cache.stats().errors} == {"value"}
    assert path.read_bytes() == before


@pytest.mark.anyio
async def test_the_store_itself(tmp_path: Path) -> None:
    path = closed(tmp_path, "")
    store = SQLiteStore(path, read_only=True)
    assert store.leases is None
    assert store.read_only
    record = Record(b"k" * 32, b"v", b"n" * 16, b"l" * 16, 1.0, None)
    for _ in range(2):
        await store.open()
        assert len(await store.recent(1_000)) == len(NAMES)
        assert [len(await store.recent(7)), await store.changes()] == [7, []]
        assert await store.get([record.key]) == store.get_at_once([record.key]) == {}
        for write in (store.set([record]), store.add([record])):
            with pytest.raises(StoreError, match="nothing can be written"):
                await write
        await store.discard([record])
        await store.upkeep()
        store.saw([record.key])
        await store.close()
    assert os.listdir(tmp_path) == ["a.db"]


AS_ANOTHER = """
import os, sys, encodings.idna
from langchain_core.outputs import Generation
from llmemo import ConfigurationError, LLMCache, SQLiteStore
path, warm = sys.argv[1:]
with LLMCache(warm) as cache:  # imports all that another user may not read
    cache.update("p", "m", [Generation(text="x")])
os.setgroups([])
os.setgid(65533)
os.setuid(65534)
try:
    LLMCache(path)
except ConfigurationError as error:
    print(error)
with LLMCache(SQLiteStore(path, read_only=True), max_bytes=0) as cache:
    found = [cache.lookup(f"p{n}", "m") for n in range(60)]
    print([one[0].text for one in found if one] == [f"answer to p{n}" for n in range(60)])
    cache.update("new", "m", [Generation(text="x")])
    print(cache.stats().errors, cache.stats().skipped)
"""


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to be another user"
)
@pytest.mark.parametrize("kinds", ["", "wal", "wal shm"])
@pytest.mark.parametrize("is_file_writable", [False, True])
def test_a_user_who_may_only_read(
    kinds: str, is_file_writable: bool, tmp_path: Path, public: Path
) -> None:
    folder = public / "baked"
    folder.mkdir()
    path = closed(folder, kinds)
    for file in folder.iterdir():
        file.chmod(0o666 if is_file_writable and file == path else 0o444)
    folder.chmod(0o555)
    before = state(folder)
    words = [str(path), str(tmp_path / "warm.db")]
    printed, noise, code = nursery.run(PYTHON, AS_ANOTHER, words, patience())
    assert (noise, code) == ("", 0)
    refused, *said = printed.splitlines()
    hint = f"to serve answers from it only: SQLiteStore({str(path)!r}, read_only=True)"
    assert refused.endswith(hint)
    assert said == ["True", "{} {'store_read_only': 1}"]
    assert state(folder) == before

"""A file that is replaced, cut off or reached by another name while it is open."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from typing import TYPE_CHECKING

import pytest
from support.doubles import LIMIT, answer, expect_on_disk, lines

from llmemo import ConfigurationError, LLMCache, SQLiteStore
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.sqlite.connection import is_ok
from llmemo.stores.sqlite.path_checks import LONGEST_NAME
from llmemo.stores.sqlite.process_lock import FileLock

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [f"p{number}" for number in range(200)]


def opened(path: Path) -> LLMCache:
    return LLMCache(path, max_bytes=0, store_timeout=LIMIT)


def fill(path: Path, names: list[str]) -> None:
    with opened(path) as cache:
        for name in names:
            cache.update(name, "m", answer(name))


@pytest.mark.slow
@pytest.mark.parametrize("was_damaged", [False, True])
def test_a_file_in_the_place_of_an_open_one_is_not_given_its_wal(
    was_damaged: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, backup, kept = tmp_path / "a.db", tmp_path / "backup.db", [f"new{n}" for n in range(9)]
    fill(backup, NAMES)
    with opened(path) as cache, opened(path) as other:
        for number in range(500):
            cache.update(f"old{number}", "m", answer("x" * 2_000))
        assert other.lookup("old1", "m")
        assert (tmp_path / "a.db-wal").stat().st_size
        for one in (cache, other):
            assert isinstance(one._tiers.store, SQLiteStore)
            one._tiers.store._session._is_damaged = was_damaged
        backup.replace(path)
        for name in kept:
            cache.update(name, "m", answer(name))
        other.update("other", "m", answer("other"))
        for name in NAMES:
            assert cache.lookup(name, "m") == other.lookup(name, "m") == answer(name)
        assert cache.lookup("old1", "m") is None
        assert cache.stats().errors == other.stats().errors == {}
        assert cache.stats().writes_unconfirmed == other.stats().writes_unconfirmed == 0
    expect_on_disk(path, [*NAMES, *kept, "other"])
    (said,) = lines(caplog)
    assert "was replaced" in said
    assert len(list(tmp_path.glob("a.db.replaced-*-wal"))) == 1


def test_a_wal_that_came_with_the_new_file_stays(tmp_path: Path) -> None:
    path, copy = tmp_path / "a.db", tmp_path / "b.db"
    with opened(path) as cache:
        cache.update("old", "m", answer("old"))
        with opened(copy) as other:
            for name in NAMES:
                other.update(name, "m", answer(name))
            # As they are, with what only the WAL has.
            for suffix in ("", "-wal"):
                there = tmp_path / f"c.db{suffix}"
                there.write_bytes((tmp_path / f"b.db{suffix}").read_bytes())
        (tmp_path / "a.db-shm").unlink()
        for suffix in ("-wal", ""):
            (tmp_path / f"c.db{suffix}").replace(tmp_path / f"a.db{suffix}")
        cache.update("new", "m", answer("new"))
        assert cache.lookup("p1", "m") == answer("p1")
    expect_on_disk(path, [*NAMES, "new"])


@pytest.mark.slow
def test_a_file_that_is_cut_off_is_used_again(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with opened(path) as cache:
        for name in NAMES:
            cache.update(name, "m", answer(name))
        os.truncate(path, 0)
        deadline = time.monotonic() + LIMIT
        while True:
            before = cache.stats().writes_unconfirmed
            cache.update("after", "m", answer("after"))
            cache.lookup("unknown", "m")
            is_kept = cache.stats().writes_unconfirmed == before
            if is_kept and cache.lookup("after", "m") == answer("after"):
                break
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(1.5)  # upkeep, which finds out if nothing else has
        cache.update("last", "m", answer("last"))
        assert cache.lookup("last", "m") == answer("last")
    expect_on_disk(path, ["last"])


@pytest.mark.parametrize("is_open", [False, True])
def test_pages_that_are_blank_are_damage(is_open: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    fill(path, NAMES)
    size = path.stat().st_size
    with opened(path) as cache:
        if is_open:
            assert cache.lookup("p1", "m") == answer("p1")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(bytes(size - 4096))
        deadline = time.monotonic() + LIMIT
        while not list(tmp_path.glob("a.db.corrupt-*")):
            assert time.monotonic() < deadline
            for name in NAMES[:5]:
                cache.lookup(name, "m")
                cache.update(name, "m", answer(name))
        cache.update("after", "m", answer("after"))
    expect_on_disk(path, ["after"])


def test_what_cannot_be_read_is_no_damage() -> None:
    verdicts = {
        "Tree 5 page 7: btreeInitPage() returns error code 11": False,
        "Tree 5 page 7: unable to get the page. error code=11": False,
        "Tree 5 page 7: unable to get the page. error code=522": None,
        "Tree 2 page 3: unable to get the page. error code=10": None,
        "ok": True,
    }
    for verdict, expected in verdicts.items():
        if expected is None:
            with pytest.raises(sqlite3.OperationalError, match="error code"):
                is_ok(verdict)
        else:
            assert is_ok(verdict) is expected


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_link_is_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    link, real = tmp_path / "a.db", tmp_path / "data" / "real.db"
    link.symlink_to(real)
    umask = os.umask(0)
    try:
        with LLMCache(link, store_timeout=LIMIT) as cache, opened(real) as other:
            assert SQLiteStore(link).path == real
            cache.update("p", "m", answer("p"))
            assert other.lookup("p", "m") == answer("p")
            found = {file.name: stat.S_IMODE(file.stat().st_mode) for file in real.parent.iterdir()}
    finally:
        os.umask(umask)
    assert {file.name for file in tmp_path.iterdir()} == {"a.db", "data"}
    assert set(found) - {"real.db-lock"} == {"real.db", "real.db-wal", "real.db-shm"}
    assert set(found.values()) == {0o600}


@pytest.mark.anyio
async def test_a_guard_whose_file_was_removed_is_the_guard_of_all_again(
    tmp_path: Path,
) -> None:
    one, other = FileLock(tmp_path / "a.db", LIMIT), FileLock(tmp_path / "a.db", 0.05)
    async with one.held():
        pass
    (tmp_path / "a.db-lock").unlink()
    async with one.held():
        with pytest.raises(StoreUnavailableError):
            async with other.held():
                pytest.fail("two hold it")
    async with other.held():
        pass
    one.close()
    other.close()


def test_a_name_that_leaves_no_room_for_its_wal_is_refused(tmp_path: Path) -> None:
    with LLMCache(tmp_path / ("n" * LONGEST_NAME), store_timeout=LIMIT) as cache:
        cache.update("p", "m", answer("p"))
        assert cache.stats().writes_unconfirmed == 0
    with pytest.raises(ConfigurationError, match="bytes leaves room"):
        LLMCache(tmp_path / ("n" * (LONGEST_NAME + 1)))
    with pytest.raises(ConfigurationError, match="durability"):
        SQLiteStore(tmp_path / "a.db", durability=[])  # type: ignore[arg-type]

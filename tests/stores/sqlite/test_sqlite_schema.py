"""The schema of an SQLite store: brought up to date once, and a newer one left alone."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.doubles import LIMIT, answer, expect_on_disk, lines, patience

from llmemo import LLMCache, StoreError
from llmemo.stores.sqlite import schema
from llmemo.telemetry import stats

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NEXT = (*schema.MIGRATIONS, ("CREATE TABLE extra (id INTEGER PRIMARY KEY)",))
"""What a later version of llmemo may have."""


def filled(path: Path) -> None:
    with LLMCache(path, store_timeout=LIMIT) as cache:
        cache.update("p", "m", answer("p"))


def newer(path: Path) -> None:
    filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def newer_in_its_wal(path: Path) -> None:
    """As a newer process leaves it that was killed: the main file says nothing of it yet."""
    filled(path)
    pid = os.fork()
    if not pid:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        os._exit(0)
    os.waitpid(pid, 0)


def facts(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchall()
        return version + connection.execute("SELECT name FROM sqlite_master ORDER BY 1").fetchall()


def test_a_file_of_an_older_schema_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    filled(path)
    older = LLMCache(path, max_bytes=0, store_timeout=LIMIT)
    assert older.lookup("p", "m") == answer("p")
    monkeypatch.setattr(schema, "MIGRATIONS", NEXT)
    with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
        assert cache.lookup("p", "m") == answer("p")
        assert cache.stats().errors == {}
        # Whoever has it open goes on.
        older.update("q", "m", answer("q"))
        assert cache.lookup("q", "m") == older.lookup("q", "m") == answer("q")
    assert older.stats().errors == {}
    older.close()
    assert facts(path)[0] == (len(NEXT),)
    assert ("extra",) in facts(path)
    expect_on_disk(path, ["p", "q"])


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    filled(path)
    before = facts(path)
    with monkeypatch.context() as patch:
        broken = (*NEXT, ("CREATE TABLE half (id)", "CREATE TABLE entries (id)"))
        patch.setattr(schema, "MIGRATIONS", broken)
        with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
            assert cache.lookup("p", "m") is None
            assert cache.stats().errors == {"store_read": 1}
    assert facts(path) == before
    expect_on_disk(path, ["p"])


def found_again(cache: LLMCache, key: str) -> None:
    """The store is tried again after a while."""
    deadline = time.monotonic() + LIMIT
    while cache.lookup(key, "m") != answer(key):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("make", [newer, newer_in_its_wal])
@pytest.mark.parametrize("when", ["before", "since"])
def test_a_newer_file_is_left_alone_said_once_and_memory_serves(
    make: Callable[[Path], None],
    when: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stats, "LOG_INTERVAL", 0.0)  # As if each call came a minute later.
    path = tmp_path / "a.db"
    if when == "before":
        make(path)
    with LLMCache(path, store_timeout=LIMIT) as cache:
        if when == "since":
            make(path)
        before = facts(path)
        for turn in range(20):
            assert cache.lookup("p", "m") == (answer("fresh") if turn else None)
            assert cache.lookup(f"{turn}", "m") is None
            cache.update("p", "m", answer("fresh"))
        with pytest.raises(StoreError, match="newer llmemo"):
            cache.clear()
        errors = cache.stats().errors
        assert set(errors) == {"store_unusable", "store_read", "store_write", "store_shut"}
        assert (errors["store_unusable"], errors["store_read"] + errors["store_shut"]) == (1, 21)
        assert cache.stats().writes_unconfirmed == 20
        (line,) = lines(caplog)
        assert "schema 99" in line
        assert "upgrade" in line
        assert facts(path) == before
        # Made usable again, by whoever can: it is used again, and its troubles are told again.
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS)}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        found_again(cache, "p")
        cache.update("q", "m", answer("q"))
    assert cache.stats().writes_unconfirmed == 20
    expect_on_disk(path, ["p", "q"])


@pytest.mark.slow
def test_a_file_that_becomes_newer_while_it_is_open_is_used_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.db"
    filled(path)
    with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
        assert cache.lookup("p", "m") == answer("p")
        newer(path)
        deadline = time.monotonic() + patience()
        while cache.lookup("p", "m") is not None:  # Looked at about once a second.
            assert time.monotonic() < deadline
            time.sleep(0.01)
        before = facts(path)
        for _ in range(2):  # After five failures in a row it would not even be asked.
            assert cache.lookup("p", "m") is None
            cache.update("p", "m", answer("fresh"))
        time.sleep(1.5)  # Another look.
        assert cache.stats().errors == {"store_unusable": 1, "store_read": 3, "store_write": 2}
        assert cache.stats().writes_unconfirmed == 2
        for remove in (cache.clear, lambda: cache.invalidate(llm_string="m")):
            start = time.monotonic()
            with pytest.raises(StoreError, match="schema 99"):
                remove()
            assert time.monotonic() - start < LIMIT
        assert facts(path) == before
        (line,) = lines(caplog)
        assert "schema 99" in line
    with LLMCache(path, max_bytes=0) as cache:
        assert cache.lookup("p", "m") is None
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS)}")
    expect_on_disk(path, ["p"])

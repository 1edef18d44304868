"""Files that earlier versions wrote: their answers are hits, and the bytes are those of today.

There is a file of each version of the schema. A release adds the file that it writes: see
tests/vectors/README.md.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support import stored
from support.moved import exported, imported
from support.near import look, near_cache, wording

from llmemo import LLMCache, SQLiteStore, options
from llmemo.stores.sqlite.schema import MIGRATIONS

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "schema-1.db": (1, None),
    "schema-2.db": (2, None),
    "store.db": (3, None),
    "encrypted.db": (3, stored.KEY),
    "schema-4.db": (4, None),
}
"""The version of each schema, and the encryption key."""


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(name: str, tmp_path: Path) -> Path:
    """A copy of an older file."""
    shutil.copy(stored.HERE / name, tmp_path / "cache.db")
    return tmp_path / "cache.db"


def execute(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def version_of(path: Path) -> int:
    return int(execute(path, "PRAGMA user_version")[0][0])


def tables_of(path: Path) -> set[tuple[str, str, str]]:
    """What is in the file, by its statements: spaces do not count."""
    rows = execute(path, "SELECT type, name, sql FROM sqlite_master")
    return {(kind, name, " ".join((sql or "").split())) for kind, name, sql in rows}


def expect_all(cache: LLMCache) -> None:
    """Each answer is a hit in the store."""
    for (namespace, prompt, llm_string), answer in stored.ANSWERS.items():
        with options(namespace=namespace):
            assert cache.lookup(prompt, llm_string) == answer
    stats = cache.stats()
    assert (stats.store_hits, stats.misses) == (len(stored.ANSWERS), 0)
    assert not stats.errors


def test_there_is_a_file_of_each_schema() -> None:
    assert {version for version, _ in FILES.values()} == set(range(1, len(MIGRATIONS) + 1))
    for name, (version, _) in FILES.items():
        with closing(
            sqlite3.connect(f"file:{stored.HERE / name}?mode=ro&immutable=1", uri=True)
        ) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (version,)


def test_all_answers_of_an_older_file_are_hits(name: str, path: Path) -> None:
    with LLMCache(path, encryption_key=FILES[name][1], fresh_ids=False) as cache:
        expect_all(cache)


def test_an_older_file_becomes_one_of_today(name: str, path: Path, tmp_path: Path) -> None:
    with LLMCache(tmp_path / "new.db") as cache:
        cache.update("p", "m", stored.ANSWERS[next(iter(stored.ANSWERS))])
    with LLMCache(path, encryption_key=FILES[name][1]) as cache:
        cache.update("p", "m", stored.ANSWERS[next(iter(stored.ANSWERS))])
    assert version_of(path) == len(MIGRATIONS)
    assert tables_of(path) == tables_of(tmp_path / "new.db")
    assert execute(path, "PRAGMA integrity_check") == [("ok",)]
    # Entries go with their questions, and readers are told: the triggers do their work.
    with LLMCache(path, encryption_key=FILES[name][1], fresh_ids=False) as cache:
        expect_all(cache)
        cache.clear()
    assert execute(path, "SELECT count(*) FROM entries") == [(0,)]


def test_an_older_file_that_is_only_read_stays_as_it_is(
    name: str, path: Path, tmp_path: Path
) -> None:
    before = path.read_bytes()
    store = SQLiteStore(path, read_only=True)
    with LLMCache(store, encryption_key=FILES[name][1], fresh_ids=False) as cache:
        expect_all(cache)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (before, ["cache.db"])


def test_an_older_file_is_exported_as_it_is(name: str, path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    lines, report = exported(path)
    assert (path.read_bytes(), os.listdir(tmp_path)) == (before, ["cache.db"])
    assert (report.answers >= len(stored.ANSWERS), report.damaged) == (True, {})
    imported(lines, tmp_path / "new.db")
    key = FILES[name][1]
    with LLMCache(tmp_path / "new.db", encryption_key=key, fresh_ids=False) as cache:
        expect_all(cache)


def test_similar_questions_of_an_older_file_are_served(tmp_path: Path) -> None:
    shutil.copy(stored.HERE / "schema-4.db", tmp_path / "cache.db")
    with near_cache(tmp_path / "cache.db") as cache:
        assert look(cache, wording(1, "tides")) == "all about tides"


def test_today_the_same_bytes_are_stored(tmp_path: Path) -> None:
    stored.write(tmp_path / "now.db", None)

    def rows(path: Path) -> list[tuple[object, ...]]:
        text = "SELECT key, value, namespace, llm, created, expires, outline FROM entries"
        return sorted(execute(path, text))

    assert rows(tmp_path / "now.db") == rows(stored.HERE / "store.db")

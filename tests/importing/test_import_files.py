"""The file that is imported: what it may be, what it may be doing, and that it stays as it is."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT
from support.langchain_files import LLM, MD5, PLAIN, SCHEMA, answer, insert, make, row, traces

from llmemo import ConfigurationError, LLMCache, NotACacheError, StoreError
from llmemo.importing import rows_by_request, source_file
from llmemo.importing.rows_by_request import LangChainFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def cache() -> Iterator[LLMCache]:
    with LLMCache() as cache:
        yield cache


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".langchain.db"


def database(path: Path, script: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def ours(path: Path) -> None:
    with LLMCache(path, store_timeout=LIMIT) as cache:
        cache.update("p", "m", answer("p"))


WRONG: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "missing": (lambda path: None, ConfigurationError, "there is no file"),
    "a folder": (lambda path: path.mkdir(), ConfigurationError, "name the file in it"),
    "a pipe": (os.mkfifo, ConfigurationError, "not a regular file"),
    "empty": (lambda path: path.touch(), NotACacheError, "not an SQLite database"),
    "a note": (lambda path: path.write_text("x"), NotACacheError, "not an SQLite database"),
    "a diary": (lambda path: path.write_text("dear, " * 999), NotACacheError, "not an SQLite"),
    "ours": (ours, NotACacheError, "store of llmemo itself"),
    "no table": (lambda path: database(path, "VACUUM"), NotACacheError, "no cache of LangChain's"),
    "other tables": (lambda path: database(path, "CREATE TABLE t (a)"), NotACacheError, "no table"),
    "a view": (
        lambda path: database(path, f"CREATE VIEW {PLAIN} AS SELECT 1"),
        NotACacheError,
        "no table",
    ),
    "other columns": (
        lambda path: database(path, f"CREATE TABLE {PLAIN} (prompt, llm, idx)"),
        NotACacheError,
        "has not the columns",
    ),
    "no rowid": (
        lambda path: database(path, SCHEMA[PLAIN].rstrip() + " WITHOUT ROWID"),
        NotACacheError,
        "has not the columns",
    ),
    "no index": (
        lambda path: database(path, f"CREATE TABLE {PLAIN} (prompt, llm, idx, response)"),
        NotACacheError,
        "or the index",
    ),
    "an index of llm only": (
        lambda path: database(path, SCHEMA[MD5].rpartition(";")[0]),
        NotACacheError,
        "or the index",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_imported_is_said_with_what_to_do(
    kind: str, cache: LLMCache, path: Path
) -> None:
    prepare, error, text = WRONG[kind]
    prepare(path)
    before = None if kind == "a pipe" else [os.listdir(path.parent), path.exists()]
    with pytest.raises(error, match=text) as caught:
        cache.import_langchain(path)
    assert type(caught.value) is error
    assert str(path) in str(caught.value) or path.name in str(caught.value)
    if before:
        assert [os.listdir(path.parent), path.exists()] == before


@pytest.mark.parametrize(
    "given", [None, 3, "", " ", b"x.db", "a\0b", "~nobody-here/x", "x" * 5_000]
)
def test_what_is_no_path(given: Any, cache: LLMCache) -> None:
    with pytest.raises(ConfigurationError, match="path="):
        cache.import_langchain(given)


def test_a_file_that_may_not_be_read(
    cache: LLMCache, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(ConfigurationError, match="cannot be read by this user"):
        cache.import_langchain(path)


@pytest.mark.parametrize("table", SCHEMA)
@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "wal"])
def test_the_file_and_its_folder_stay_as_they_were(
    table: str, journal: str, cache: LLMCache, path: Path
) -> None:
    make(path, map(row, "abc"), table, journal)
    before = traces(path.parent)
    assert cache.import_langchain(path).imported == 3
    assert traces(path.parent) == before


def test_a_path_may_have_signs_that_mean_something_to_sqlite(
    cache: LLMCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "a?mode=rwc&b#c%20.db", [row("a")])
    monkeypatch.chdir(tmp_path)
    assert cache.import_langchain("a?mode=rwc&b#c%20.db").imported == 1


def test_what_another_program_has_only_in_its_wal_is_imported(cache: LLMCache, path: Path) -> None:
    make(path, [row("a")], journal="wal")
    with contextlib.closing(sqlite3.connect(path)) as other:
        insert(other, [row("b")])
        other.commit()
        size = path.stat().st_size
        before = traces(path.parent, [path.name + "-shm"])
        assert cache.import_langchain(path).imported == 2
        assert traces(path.parent, [path.name + "-shm"]) == before
        assert path.stat().st_size == size
        insert(other, [row("c")])
        other.commit()  # and it is not in the way afterwards
    assert cache.import_langchain(path).imported == 1


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_a_link_is_what_it_leads_to_with_its_wal(
    cache: LLMCache, path: Path, tmp_path: Path
) -> None:
    make(path, [row("a")], journal="wal")
    link = tmp_path / "elsewhere.db"
    link.symlink_to(path)
    with contextlib.closing(sqlite3.connect(path)) as other:
        insert(other, [row("b")])
        other.commit()
        assert cache.import_langchain(link).imported == 2


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_others_may_write_between_any_two_chunks(
    journal: str, cache: LLMCache, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_by_request, "ROWS", 3)
    make(path, [row(f"old {n}") for n in range(10)], journal=journal)
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as other:
        # One that has it open when it is imported, so that there is a WAL.
        other.execute("UPDATE full_llm_cache SET llm = llm WHERE prompt = 'old 0'")
        other.commit()

        def write(done: int, total: int) -> None:
            insert(other, [row(f"new {done}")])
            other.commit()

        report = cache.import_langchain(path, progress=write)
    # What comes after the beginning is for the next time.
    assert (report.imported, report.skipped) == (10, {})
    assert cache.import_langchain(path).imported == 4


def test_a_file_without_a_wal_that_is_written_to_after_all_is_not_believed(
    cache: LLMCache, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_by_request, "ROWS", 3)
    make(path, [row(n) for n in "abcdefghij"], journal="wal")

    def write(done: int, total: int) -> None:
        if done == 6:
            make(path, [row("x")], journal="wal")

    with pytest.raises(StoreError, match=r"import it again \(imported: 6 answers\)"):
        cache.import_langchain(path, progress=write)
    assert cache.import_langchain(path).imported == 5


def test_a_locked_file(cache: LLMCache, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_file, "TIMEOUT", 0.05)
    make(path, [row("a")])
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="is locked by another program"):
            cache.import_langchain(path)
        other.rollback()
    assert cache.import_langchain(path).imported == 1


def test_a_lock_that_passes_is_waited_for(cache: LLMCache, path: Path) -> None:
    make(path, [row("a")])
    with contextlib.closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        thread = threading.Timer(0.1, other.rollback)
        thread.start()
        assert cache.import_langchain(path).imported == 1
        thread.join()


def test_a_write_that_a_kill_interrupted(cache: LLMCache, path: Path) -> None:
    make(path, [row(f"{n}", response="x" * 3_000) for n in range(100)])
    program = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA cache_size = 1")
connection.execute("UPDATE full_llm_cache SET response = 'y' || response")
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    before = traces(path.parent)
    assert len(before) == 2
    with pytest.raises(StoreError, match="open it once with SQLiteCache"):
        cache.import_langchain(path)
    assert traces(path.parent) == before
    make(path)
    assert cache.import_langchain(path).skipped == {"not_json": 100}


def test_a_file_that_is_damaged_half_way(
    cache: LLMCache, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_by_request, "ROWS", 10)
    make(path, [row(f"{n:3}" + "x" * 500) for n in range(300)])
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    at = data.index(b"answer to 150") // size * size
    data[at : at + size] = b"\xff" * size
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"damaged .*\.recover") as caught:
        cache.import_langchain(path)
    served = [n for n in range(300) if cache.lookup(f"{n:3}" + "x" * 500, row("")[1])]
    assert served == list(range(len(served)))
    assert f"(imported: {len(served)} answers)" in str(caught.value)
    assert 0 < len(served) < 300


def test_a_file_that_is_removed_meanwhile_is_read_to_its_end(
    cache: LLMCache, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_by_request, "ROWS", 3)
    make(path, [row(n) for n in "abcdefghij"])
    report = cache.import_langchain(path, progress=lambda done, total: path.unlink(missing_ok=True))
    assert report.imported == 10


def rows_looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that read rows, by what they begin with."""
    asked: list[str] = []
    statement = rows_by_request._statement

    def noted(text: str, table: str) -> str:
        if text in (rows_by_request.ALONE, rows_by_request.CHUNK):
            asked.append("alone" if text == rows_by_request.ALONE else "beside others")
        return statement(text, table)

    monkeypatch.setattr(rows_by_request, "_statement", noted)
    return asked


@pytest.mark.parametrize(
    ("table", "extra", "expected"),
    [
        (PLAIN, [], "alone"),
        (PLAIN, [row("old 3", 1)], "beside others"),
        (PLAIN, [row("new", 2)], "beside others"),
        (MD5, [], "beside others"),
    ],
)
def test_rows_are_read_without_a_look_at_others_where_there_are_none(
    table: str,
    extra: list[Any],
    expected: str,
    cache: LLMCache,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows_by_request, "ROWS", 3)
    make(path, [*(row(f"old {n}") for n in range(10)), *extra], table)
    asked = rows_looked_up(monkeypatch)
    report = cache.import_langchain(path)
    assert set(asked) == {expected}
    # A row of number 2 alone is no answer.
    assert (report.imported, sum(report.skipped.values())) == (10, sum(it[2] == 2 for it in extra))


def test_a_table_that_would_let_a_request_have_two_first_rows_is_read_with_a_look(
    cache: LLMCache, path: Path
) -> None:
    columns = "prompt VARCHAR, llm VARCHAR, idx INTEGER, response VARCHAR"
    database(path, f"CREATE TABLE {PLAIN} ({columns})")
    database(path, f"CREATE INDEX one ON {PLAIN} (prompt, llm, idx)")
    database(path, f"CREATE UNIQUE INDEX part ON {PLAIN} (prompt, llm, idx) WHERE idx > 0")
    database(path, f"CREATE UNIQUE INDEX more ON {PLAIN} (prompt, llm, idx, response)")
    make(path, [row("twice"), row("once"), row("twice", 0, "x")])
    report = cache.import_langchain(path)
    assert (report.imported, set(report.skipped)) == (1, {"duplicates"})


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("when", ["between chunks", "while it is seen"])
def test_a_second_row_that_another_program_writes_meanwhile_is_part_of_the_answer(
    when: str, journal: str, cache: LLMCache, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_by_request, "ROWS", 3)
    make(path, [row(f"{n}") for n in range(10)], journal=journal)
    with contextlib.closing(sqlite3.connect(path, timeout=0)) as other:
        other.execute("UPDATE full_llm_cache SET llm = llm WHERE prompt = '0'")
        other.commit()
        asked = rows_looked_up(monkeypatch)

        def write(*_: object) -> None:
            with contextlib.suppress(sqlite3.IntegrityError):  # once is enough
                insert(other, [row("8", 1)])
            other.commit()

        if when == "while it is seen":
            look = LangChainFile._look_through

            def slowly(self: LangChainFile, table: str) -> Iterator[None]:
                for step in look(self, table):
                    write()
                    yield step

            monkeypatch.setattr(LangChainFile, "_look_through", slowly)
        report = cache.import_langchain(path, progress=write)
    assert asked[-1] == "beside others"
    assert (report.imported, report.skipped) == (10, {})
    assert cache.lookup("8", LLM) == answer("8") * 2

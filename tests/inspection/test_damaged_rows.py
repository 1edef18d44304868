"""Rows that no store has written, and more than memory is for: counted, and never in the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sqlite3
import tracemalloc
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from langchain_core.outputs import Generation
from support.commands import filled, llmemo
from support.moved import exported

from llmemo import SQLiteStore
from llmemo._core import encode
from llmemo.inspection import paging
from llmemo.inspection.sqlite_view import DamagedError, SQLiteView
from llmemo.stores import Record

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LARGE = 2**20


def changed(path: Path, *statements: str) -> Path:
    """A file with rows changed by another program's hands."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path


def kept(path: Path, records: Iterable[Record]) -> None:
    async def write() -> None:
        store = SQLiteStore(path)
        await store.open()
        await store.set(list(records))
        await store.close()

    asyncio.run(write())


def strictly(text: str) -> list[Any]:
    """JSON lines, as other programs read them: there is no Infinity."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(constant)

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_the_largest_and_the_smallest_id(tmp_path: Path) -> None:
    path = changed(
        filled(tmp_path / "a.db"),
        f"UPDATE entries SET id = {2**63 - 1} WHERE id = 5",
        f"UPDATE entries SET id = {-(2**63)} WHERE id = 6",
    )
    assert exported(path)[1].answers == 20
    assert llmemo("stats", path, "--json").lines[0]["entries"] == 20


def test_times_that_are_infinite(tmp_path: Path) -> None:
    path = changed(
        filled(tmp_path / "a.db"),
        "UPDATE entries SET created = 9e999 WHERE id = 5",
        "UPDATE entries SET expires = 9e999 WHERE id = 6",
    )
    lines, report = exported(path)
    assert (report.answers, report.damaged) == (18, {"not_an_entry": 2})
    assert len(strictly(lines.decode())) == 20
    for command in ("ls", "stats", "doctor", "verify"):
        found = strictly(llmemo(command, path, "--json").out)
    assert found[0]["damaged"] == {"row": 2}


def test_ids_that_do_not_grow_end_an_export_and_a_list(tmp_path: Path) -> None:
    """As those of a page do whose parent's pointers were damaged."""
    path = filled(tmp_path / "a.db", entries=1_000)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        [root] = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'entries'"
        ).fetchone()
    data = bytearray(path.read_bytes())
    at = (root - 1) * size
    # An interior page: its cells are a page and its largest id (sqlite.org/fileformat.html, 1.6).
    assert data[at] == 5
    cells = [
        at + int.from_bytes(data[at + 12 + 2 * each : at + 14 + 2 * each], "big")
        for each in range(int.from_bytes(data[at + 3 : at + 5], "big"))
    ]
    assert len(cells) > 10
    for cell in cells[len(cells) // 2 :]:
        data[cell : cell + 4] = data[cells[0] : cells[0] + 4]
    path.write_bytes(data)
    for command in ("export", "ls"):
        done = llmemo(command, path)
        assert done.code == 1
        assert "damaged" in done.err
    view = SQLiteView(path)
    with pytest.raises(DamagedError):
        list(view.entries())
    view.close()


def test_a_store_without_entries_has_nothing_to_give_back(tmp_path: Path) -> None:
    path = changed(filled(tmp_path / "a.db"), "DROP TABLE entries")
    done = llmemo("vacuum", path)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "no such table: entries" in done.err


@pytest.mark.parametrize("command", ["verify", "stats", "ls", "doctor"])
def test_large_values_are_read_a_few_at_a_time(command: str, tmp_path: Path) -> None:
    path, dice = tmp_path / "a.db", random.Random(1)
    records = []
    for number in range(24):
        key = number.to_bytes(32, "big")
        value = encode([Generation(text=dice.randbytes(LARGE // 2).hex())], key)
        records.append(Record(key, value, b"n" * 16, b"l" * 16, float(number + 1), None))
    kept(path, records)
    del records, value
    llmemo(command, path)
    tracemalloc.start()
    try:
        done = llmemo(command, path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.code == 0, done
    assert peak < paging.BYTES_PER_PAGE + 8 * LARGE


def test_what_sqlite_says_of_a_schema_is_one_plain_line(tmp_path: Path) -> None:
    path = changed(filled(tmp_path / "a.db"), "PRAGMA user_version = 1")
    done = llmemo("rm", path, "--all", "--yes")
    assert done.code == 1
    assert done.err == "llmemo rm: the file cannot be used: table leases already exists\n"


def test_a_table_whose_name_is_no_text(tmp_path: Path) -> None:
    path = changed(
        filled(tmp_path / "a.db"),
        "PRAGMA writable_schema = ON",
        "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql)"
        " VALUES ('view', CAST(x'ff' AS TEXT), CAST(x'ff' AS TEXT), 0, 'CREATE VIEW x')",
    )
    done = llmemo("stats", path)
    assert done.code == 1
    assert "a.db' is damaged (its schema holds names that are no text): " in done.err
    assert done.err.count("\n") == 1

"""A reader leaves the index of the WAL alone: another process may have it mapped into memory."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.commands import filled

from llmemo.inspection.sqlite_view import SQLiteView
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.sqlite import read_only, schema
from llmemo.stores.sqlite.read_only import ReadOnlyFile

if TYPE_CHECKING:
    from pathlib import Path

COUNT = "SELECT count(*) FROM entries"


def counted(file: ReadOnlyFile) -> int:
    return file.read(lambda raw: int(raw.execute(COUNT).fetchone()[0]))


def written(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM entries WHERE id IN (SELECT id FROM entries LIMIT 1)")
    connection.commit()


def test_an_index_that_was_cut_off_is_for_a_writer_to_mend(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db")
    index = tmp_path / "a.db-shm"
    with closing(sqlite3.connect(path)) as writer:
        written(writer)
        size = index.stat().st_size
        file = ReadOnlyFile(path)
        assert counted(file) == 19
        os.truncate(index, 0)
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="index of the WAL"):
                counted(file)
        assert index.stat().st_size == 0
        # As a service does that has it open.
        os.truncate(index, size)
        written(writer)
        assert counted(file) == 18
        file.close()


def test_an_index_that_is_smaller_than_that_of_the_last_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader looks, then another service begins: its index is whole, whatever its size."""
    path = filled(tmp_path / "a.db")
    index = tmp_path / "a.db-shm"
    with closing(sqlite3.connect(path)) as writer:
        written(writer)
        size = index.stat().st_size
        os.truncate(index, 3 * size)
        check = schema.check_version

        def smaller(version: int) -> None:
            os.truncate(index, size)
            check(version)

        monkeypatch.setattr(read_only, "check_version", smaller)
        file = ReadOnlyFile(path)
        file.open()
        assert counted(file) == 19
        assert index.stat().st_size == size
        file.close()


def test_a_file_that_is_caught_in_a_change_is_no_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path / "a.db")
    for method in ("open", "read"):
        real, times = getattr(ReadOnlyFile, method), iter(range(2))

        def sometimes(file: ReadOnlyFile, *work: Any, real: Any = real, times: Any = times) -> Any:
            if next(times, None) is not None:
                msg = "database disk image is malformed"
                raise sqlite3.DatabaseError(msg)
            return real(file, *work)

        monkeypatch.setattr(ReadOnlyFile, method, sometimes)
        view = SQLiteView(path)
        assert view.count() == 20
        view.close()
        assert next(times, None) is None
        monkeypatch.setattr(ReadOnlyFile, method, real)

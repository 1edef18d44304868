"""The answers of an SQLite file that services may be writing to."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Any, TypeVar

from llmemo.errors import StoreError
from llmemo.exporting.source import (
    BYTES_PER_PAGE,
    ROWS_PER_PAGE,
    SAMPLE,
    Page,
    Source,
    kinds_of,
)
from llmemo.stores.base import StoreUnavailableError, StoreUnusableError
from llmemo.stores.records import Record, StoredQuestion
from llmemo.stores.sqlite.path_checks import check_header
from llmemo.stores.sqlite.read_only import ReadOnlyFile, check_read_only
from llmemo.stores.sqlite.rows import record_of
from llmemo.stores.sqlite.schema import COLUMNS, WITH_QUESTIONS

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterable, Iterator

    from llmemo.exporting.lines import Kinds

T = TypeVar("T")

PATIENCE = 10.0
"""Longest time that other programs may be in the way of one page, in seconds."""

PAUSE = 0.05
"""Seconds until it is tried again."""

_ENTRIES = ", ".join(f"e.{column}" for column in (*COLUMNS.split(", "), "outline", "request"))
PAGE = f"""
SELECT e.id, {_ENTRIES}, q.partition, q.sealed
FROM entries e LEFT JOIN questions q ON q.key = e.key
WHERE e.id > ? AND e.id <= ? ORDER BY e.id LIMIT {ROWS_PER_PAGE}
"""  # noqa: S608 (names of columns)
PAGE_WITHOUT_QUESTIONS = PAGE.replace("q.partition, q.sealed", "NULL, NULL").replace(
    "LEFT JOIN questions q ON q.key = e.key", ""
)
ENDS = "SELECT ifnull(min(id), 1) - 1, ifnull(max(id), 0) FROM entries"
STATES = "SELECT name, state FROM states ORDER BY name"
KINDS = f"""
SELECT * FROM (SELECT namespace, substr(value, 1, 4) FROM entries ORDER BY id LIMIT {SAMPLE})
UNION SELECT * FROM
    (SELECT namespace, substr(value, 1, 4) FROM entries ORDER BY id DESC LIMIT {SAMPLE})
"""  # noqa: S608 (a number)


class SQLiteSource(Source):
    """A file that is only read: it is not created, migrated, locked for long or written to."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Check the path.

        Raises:
            ConfigurationError: There is no such file, or it cannot be read.
            NotACacheError: It is not a store of ours.
            StoreError: It is damaged, in use by a program that does not share it, or of a newer
                llmemo.
        """
        self._path = check_read_only(path)
        self._file = ReadOnlyFile(self._path)
        self.schema = check_header(self._path)
        self._first, self._last = self._read(lambda raw: raw.execute(ENDS).fetchall())[0]

    @property
    def total(self) -> int:
        """How many ids there are, from the first answer to the last."""
        return int(self._last - self._first)

    def kinds(self) -> Kinds:
        """See `Source.kinds`."""
        return kinds_of(self._read(lambda raw: raw.execute(KINDS).fetchall()))

    def has_namespace(self, labels: Collection[bytes]) -> bool:
        """See `Source.has_namespace`. Reads all of the file if there is none."""
        marks = ", ".join("?" * len(labels))
        query = f"SELECT 1 FROM entries WHERE namespace IN ({marks}) LIMIT 1"  # noqa: S608
        return bool(self._read(lambda raw: raw.execute(query, list(labels)).fetchall()))

    def states(self) -> Iterable[tuple[bytes, bytes]]:
        """See `Source.states`."""
        if not self._has_questions:
            return ()
        rows = self._read(lambda raw: raw.execute(STATES).fetchall())
        return [(name, state) for name, state in rows if type(name) is type(state) is bytes]

    def pages(self) -> Iterator[Page]:
        """See `Source.pages`."""
        query = PAGE if self._has_questions else PAGE_WITHOUT_QUESTIONS
        at = self._first
        while at < self._last:
            rows = self._read(lambda raw, at=at: _some(raw.execute(query, (at, self._last))))
            if not rows:
                return
            at = rows[-1][0]
            records = [_record(row[1:]) for row in rows]
            whole = [record for record in records if record is not None]
            yield Page(whole, len(records) - len(whole), at - self._first)

    @property
    def _has_questions(self) -> bool:
        return self.schema is not None and self.schema >= WITH_QUESTIONS

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self._file.read(work)
            except StoreUnavailableError as error:
                if time.monotonic() > end:
                    msg = f"{str(self._path)!r} could not be read: {error}"
                    raise StoreError(msg) from error
            except StoreUnusableError as error:
                raise StoreError(str(error)) from error
            except (sqlite3.Error, OSError) as error:
                msg = f"{str(self._path)!r} is damaged, or cannot be read: {error}"
                raise StoreError(msg) from error
            time.sleep(PAUSE)

    def close(self) -> None:
        """See `Source.close`."""
        self._file.close()


def _some(rows: sqlite3.Cursor) -> list[Any]:
    """The rows of one page: as many as memory is for, and one at least."""
    found: list[Any] = []
    size = 0
    with contextlib.closing(rows):
        for row in rows:
            found.append(row)
            size += sum(len(field) for field in row if type(field) is bytes)
            if size > BYTES_PER_PAGE:
                break
    return found


def _record(row: tuple[Any, ...]) -> Record | None:
    """The record of a row; None if it is damaged."""
    outline, request, partition, sealed = row[-4:]
    record = record_of(row[:-4])
    fields = (record.key, outline, *(it for it in (request, partition, sealed) if it is not None))
    if not record.value or not all(type(field) is bytes for field in fields):
        return None
    question = None if partition is None else StoredQuestion(partition, sealed)
    return record._replace(outline=outline, request=request, question=question)

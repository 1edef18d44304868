"""The answers of an SQLite file that services may be writing to."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any, TypeVar

from llmemo.errors import StoreError
from llmemo.exporting.source import SAMPLE, Page, Source, kinds_of
from llmemo.inspection.paging import page_of
from llmemo.inspection.sqlite_view import check_order
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.records import Record, StoredQuestion
from llmemo.stores.sqlite.rows import record_of
from llmemo.stores.sqlite.schema import COLUMNS, WITH_QUESTIONS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from llmemo.exporting.lines import Kinds
    from llmemo.inspection.sqlite_view import SQLiteView

T = TypeVar("T")

PATIENCE = 10.0
"""Longest time that other programs may be in the way of one page, in seconds."""

PAUSE = 0.05
"""Seconds until it is tried again."""

_ENTRIES = ", ".join(f"e.{column}" for column in (*COLUMNS.split(", "), "outline", "request"))
PAGE = f"""
SELECT e.id, {_ENTRIES}, {{questions}} WHERE e.id >= ? AND e.id <= ? ORDER BY e.id
"""
QUESTIONS = "q.partition, q.sealed FROM entries e LEFT JOIN questions q ON q.key = e.key"
NO_QUESTIONS = "NULL, NULL FROM entries e"

# The ids of what is there when it begins: what is stored later has higher ones, or is a new answer
# to an old request.
ENDS = "SELECT ifnull(min(id), 1), ifnull(max(id), 0) FROM entries"
VERSION = "PRAGMA user_version"
STATES = "SELECT name, state FROM states ORDER BY name"
KINDS = """
SELECT * FROM (SELECT namespace, substr(value, 1, 4) FROM entries ORDER BY id LIMIT ?)
UNION SELECT * FROM (SELECT namespace, substr(value, 1, 4) FROM entries ORDER BY id DESC LIMIT ?)
"""


class SQLiteSource(Source):
    """A file that is only read: it is not created, migrated, locked for long or written to."""

    def __init__(self, view: SQLiteView) -> None:
        """Look how much there is.

        Raises:
            StoreError: The file is damaged, or cannot be read now.
        """
        self._view = view
        [(self.schema,)] = self._rows(VERSION)
        [(self._first, self._last)] = self._rows(ENDS)

    @property
    def total(self) -> int:
        """How many ids there are, from the first answer to the last."""
        return int(self._last - self._first + 1)

    def kinds(self) -> Kinds:
        """See `Source.kinds`."""
        return kinds_of(self._rows(KINDS, SAMPLE, SAMPLE))

    def has_namespace(self, labels: Collection[bytes]) -> bool:
        """See `Source.has_namespace`. Reads all of the file if there is none."""
        marks = ", ".join("?" * len(labels))
        return bool(
            self._rows(
                f"SELECT 1 FROM entries WHERE namespace IN ({marks}) LIMIT 1",  # noqa: S608
                *labels,
            )
        )

    def states(self) -> Iterable[tuple[bytes, bytes]]:
        """See `Source.states`."""
        if not self._has_questions:
            return ()
        rows = self._rows(STATES)
        return [(name, state) for name, state in rows if type(name) is type(state) is bytes]

    def pages(self) -> Iterator[Page]:
        """See `Source.pages`."""
        query = PAGE.format(questions=QUESTIONS if self._has_questions else NO_QUESTIONS)
        at = self._first
        while at <= self._last:
            rows = self._read(functools.partial(_some, query, (at, self._last)))
            if not rows:
                return
            check_order(self._view.path, [row[0] for row in rows], at)
            at = rows[-1][0] + 1
            records = [_record(row[1:]) for row in rows]
            whole = [record for record in records if record is not None]
            yield Page(whole, len(records) - len(whole), at - self._first)

    @property
    def _has_questions(self) -> bool:
        return self.schema is not None and self.schema >= WITH_QUESTIONS

    def _rows(self, query: str, *values: object) -> list[Any]:
        return self._read(lambda raw: raw.execute(query, values).fetchall())

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return self._view.read(work)
            except StoreError as error:
                is_brief = isinstance(error.__cause__, StoreUnavailableError)
                if not is_brief or time.monotonic() > end:
                    raise
            time.sleep(PAUSE)


def _some(query: str, values: Sequence[int], connection: sqlite3.Connection) -> list[Any]:
    with contextlib.closing(connection.execute(query, values)) as rows:
        return page_of(rows)


def _record(row: tuple[Any, ...]) -> Record | None:
    """The record of a row; None if it is damaged."""
    outline, request, partition, sealed = row[-4:]
    record = record_of(row[:-4])
    fields = (record.key, outline, *(it for it in (request, partition, sealed) if it is not None))
    if not record.value or not all(type(field) is bytes for field in fields):
        return None
    question = None if partition is None else StoredQuestion(partition, sealed)
    return record._replace(outline=outline, request=request, question=question)

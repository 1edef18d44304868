"""Convert rows of an SQLite store to Records, and Records to statements."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from llmemo.stores.records import Record
from llmemo.stores.sqlite.schema import ADD, ADDED_AT_ONCE, ASK

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    Row = tuple[Any, ...]

AROUND = 200
"""Bytes that a row takes beside what is large in it: a key, digests, indexes. A question's, too."""

COLUMNS_WRITTEN = 8
"""Fields of a record that are columns of its row, from the first."""


def record_of(row: Iterable[Any]) -> Record:
    """The record of a row of `COLUMNS`; with no value, and so unreadable, if it is damaged.

    SQLite stores a type with each field, and damage may change that like any other byte.
    """
    key, value, namespace, llm, created, expires = row
    if (
        type(value) is type(namespace) is type(llm) is bytes
        and type(created) is float
        and (expires is None or type(expires) is float)
    ):
        return Record(key, value, namespace, llm, created, expires)
    return Record(key, b"", b"", b"", 0.0, None)


def size_of(record: Record) -> int:
    """About how many bytes its row takes, and that of its question."""
    return record.size + (AROUND if record.question is None else 2 * AROUND)


def row_of(record: Record, writer: bytes) -> Row:
    """The row that `UPSERT` writes of a record."""
    return (*record[:COLUMNS_WRITTEN], record.created, writer)


def questions_of(records: Iterable[Record]) -> list[Row]:
    """The rows that `ASK` writes of the records that have questions."""
    return [(one.key, *one.question) for one in records if one.question is not None]


def add(
    connection: sqlite3.Connection, records: Sequence[Record], now: float, writer: bytes
) -> int:
    """Add records whose keys are not there, or have expired at `now`. Returns how many came."""
    rows = [row_of(record, writer) for record in records if record.question is None]
    count = sum(
        max(0, connection.executemany(step, some).rowcount) for step, some in _additions(rows, now)
    )
    for record in records:
        # One at a time: a question is written with an answer that came, and with no other.
        if record.question is not None:
            added = connection.execute(ADD[1], (*row_of(record, writer), now)).rowcount
            if added > 0:
                connection.executemany(ASK, questions_of([record]))
                count += 1
    return count


def _additions(rows: Sequence[Row], now: float) -> list[tuple[str, Sequence[Row]]]:
    """Statements that add rows whose keys are not there, or have expired at `now`."""
    border = len(rows) - len(rows) % ADDED_AT_ONCE
    together = [
        (*chain.from_iterable(rows[at : at + ADDED_AT_ONCE]), now)
        for at in range(0, border, ADDED_AT_ONCE)
    ]
    rest = [(*row, now) for row in rows[border:]]
    return [(ADD[ADDED_AT_ONCE], together), (ADD[1], rest)]

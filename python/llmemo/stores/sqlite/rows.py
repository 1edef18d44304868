"""Convert rows of an SQLite store to Records, and Records to statements."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from llmemo.stores.records import Record
from llmemo.stores.sqlite.schema import ADD, ADDED_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

AROUND = 200
"""Bytes that a row takes beside its value, outline and request: a key, digests, indexes."""


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
    """About how many bytes its row takes."""
    return record.size + AROUND


def additions(
    rows: Sequence[tuple[Any, ...]], now: float
) -> list[tuple[str, Sequence[tuple[Any, ...]]]]:
    """Statements that add rows whose keys are not there, or have expired at `now`."""
    border = len(rows) - len(rows) % ADDED_AT_ONCE
    together = [
        (*chain.from_iterable(rows[at : at + ADDED_AT_ONCE]), now)
        for at in range(0, border, ADDED_AT_ONCE)
    ]
    rest = [(*row, now) for row in rows[border:]]
    return [(ADD[ADDED_AT_ONCE], together), (ADD[1], rest)]

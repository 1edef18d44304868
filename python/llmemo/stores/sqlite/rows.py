"""Rows of an SQLite store, as what they are to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo.stores.base import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

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

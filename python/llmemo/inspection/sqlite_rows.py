"""What a row of an SQLite file says of an entry, whatever damage has made of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from llmemo.inspection.entries import Entry, Stored
from llmemo.inspection.paging import page_of
from llmemo.stores.sqlite.schema import WITH_QUESTIONS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

LISTED = """
SELECT id, key, namespace, llm, created, expires, length(value), used
FROM entries WHERE id <= ? ORDER BY id DESC LIMIT ?
"""
STORED = """
SELECT entries.id, entries.key, namespace, llm, created, expires, length(value), used,
    value, request, {question} FROM entries {join} WHERE entries.key = ?
"""


def entry_of(row: Sequence[Any]) -> Entry:
    """The entry of a row of `LISTED`: damage may have changed the type of any field."""
    _, key, namespace, llm, created, expires, size, used = row[:8]
    return Entry(
        key if type(key) is bytes else b"",
        namespace if type(namespace) is bytes else b"",
        llm if type(llm) is bytes else b"",
        created if is_time(created) else 0.0,
        expires if is_time(expires) else None,
        size if type(size) is int else 0,
        used if is_time(used) else None,
    )


def is_time(field: object) -> bool:
    """Whether a field is a time: SQLite's numbers may be infinite."""
    return type(field) is float and math.isfinite(field)


def stored_rows(keys: Sequence[bytes], at: int, raw: sqlite3.Connection) -> list[Any]:
    """The rows of some keys, from this one on; None for one that is gone."""
    [version] = raw.execute("PRAGMA user_version").fetchone()
    has_questions = version >= WITH_QUESTIONS
    query = STORED.format(
        question="questions.sealed" if has_questions else "NULL",
        join="LEFT JOIN questions ON questions.key = entries.key" if has_questions else "",
    )
    return page_of(raw.execute(query, (key,)).fetchone() for key in keys[at:])


def stored_of(row: Sequence[Any]) -> Stored:
    """The same of a row of `STORED`."""
    value, request, question = row[8:]
    expires = row[5]
    is_sound = (
        all(type(one) is bytes for one in (row[2], row[3], value))
        and is_time(row[4])
        and (expires is None or is_time(expires))
    )
    return Stored(
        entry_of(row),
        value if type(value) is bytes else b"",
        request if type(request) is bytes else None,
        question if type(question) is bytes else None,
        is_damaged=not is_sound,
    )

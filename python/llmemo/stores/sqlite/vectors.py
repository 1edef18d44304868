"""Questions and states in an SQLite file: listed beside writes, amended in transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo.errors import StoreError
from llmemo.stores.sqlite.read_only import WRITE_REFUSED
from llmemo.stores.sqlite.schema import WITH_QUESTIONS
from llmemo.stores.vector_store import QuestionRow, VectorStore

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from llmemo.stores.sqlite.read_only import ReadOnlyFile
    from llmemo.stores.sqlite.session import Session

LISTED = """
SELECT id, key, sealed FROM questions
WHERE partition = ? AND id > ? AND id < ? ORDER BY id DESC LIMIT ?
"""
STATE = "SELECT state FROM states WHERE name = ?"
AMENDED = """
INSERT INTO states (name, state) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET state = excluded.state
"""

ROWS_PER_QUERY = 500
"""Rows that one query lists: a millisecond's work, for which other reads may have to wait."""

STATE_BYTES = 1_024
"""About how much a change of a state writes."""


class SQLiteVectorStore(VectorStore):
    """See `VectorStore`."""

    def __init__(self, session: Session, read_only_file: ReadOnlyFile | None) -> None:
        """Questions of the file of a session, or of one that is only read."""
        self._session = session
        self._read_only_file = read_only_file

    async def questions(
        self, partition: bytes, *, after: int, before: int, limit: int
    ) -> Sequence[QuestionRow]:
        """See `VectorStore.questions`."""
        found: list[QuestionRow] = []
        while len(found) < limit:
            size = min(ROWS_PER_QUERY, limit - len(found))
            rows = await self._look(LISTED, (partition, after, before, size))
            found.extend(map(_question, rows))
            if len(rows) < size:
                break
            before = rows[-1][0]
        return found

    async def state(self, name: bytes) -> bytes | None:
        """See `VectorStore.state`."""
        return _state(await self._look(STATE, (name,)))

    async def _look(self, query: str, values: Sequence[Any]) -> list[Any]:
        def work(connection: sqlite3.Connection) -> list[Any]:
            return connection.execute(query, values).fetchall()

        def work_on_any(connection: sqlite3.Connection) -> list[Any]:
            # Nothing brings a file up to date that is only read.
            [(version,)] = connection.execute("PRAGMA user_version").fetchall()
            return work(connection) if version >= WITH_QUESTIONS else []

        if self._read_only_file is not None:
            return self._read_only_file.read(work_on_any)
        return await self._session.look(work)

    async def amend(
        self, name: bytes, change: Callable[[bytes | None], bytes | None]
    ) -> bytes | None:
        """See `VectorStore.amend`."""

        def work(connection: sqlite3.Connection) -> bytes | None:
            stored = _state(connection.execute(STATE, (name,)).fetchall())
            changed = change(stored)
            if changed is None:
                return stored
            connection.execute(AMENDED, (name, changed))
            return changed

        if self._read_only_file is not None:
            raise StoreError(WRITE_REFUSED)
        return await self._session.commit(work, STATE_BYTES)


def _question(row: Sequence[Any]) -> QuestionRow:
    """The question of a row; an empty one if it is damaged: see `rows.record_of`."""
    number, key, sealed = row
    is_sound = type(key) is type(sealed) is bytes
    return QuestionRow(number, key, sealed) if is_sound else QuestionRow(number, b"", b"")


def _state(rows: Sequence[Sequence[Any]]) -> bytes | None:
    """The state among these rows; None if there is none, or it is damaged."""
    return next((state for (state,) in rows if type(state) is bytes), None)

"""Removals: of all records at once, and of a selection, a little at a time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from llmemo.stores.selection_bytes import packed
from llmemo.stores.sqlite.change_log import CHANGED
from llmemo.stores.sqlite.schema import CASCADE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    import aiosqlite

    from llmemo.stores.records import Selection

    Steps = list[tuple[str, Sequence[tuple[Any, ...]]]]

ROWS = 256
"""Rows that one query looks at, and one transaction may remove: some milliseconds' work."""

BYTES = 2**22
"""Bytes of values that one transaction removes, unless one is larger: each page takes time."""

BUDGET = 0.02
"""Seconds after which looking for some is left for the next time."""

REST_MAX = 0.03
"""Longest pause between two transactions, in seconds: other processes try a lock every 20 ms."""

BEFORE_ALL = -1e19
"""Less than any rowid."""

LAST = "SELECT ifnull(max(id), 0) FROM entries"


def clear(connection: sqlite3.Connection, writer: bytes) -> int:
    """Remove all records and questions, in a transaction. Returns how many records there were.

    Without the trigger, with which SQLite removes row by row: that takes three times as long
    (sqlite.org/lang_delete.html, "The Truncate Optimization").
    """
    connection.execute("DROP TRIGGER IF EXISTS entries_removed")
    connection.execute("DELETE FROM questions")
    removed = connection.execute("DELETE FROM entries").rowcount
    connection.execute(CASCADE)
    connection.execute(CHANGED, (None, writer))
    return removed


class Sweep:
    """A walk over all rows that there were when it began, which can be interrupted.

    Other processes write in between.
    """

    def __init__(self, selection: Selection, writer: bytes) -> None:
        """`writer`: by which a store knows its own changes."""
        self.selection = selection
        self.removed = 0
        self.is_over = False
        self._change = (CHANGED, [(packed(selection), writer)])
        parts = ("namespace = ?", "llm = ?", "created < ?")
        given = [one for one in zip(parts, selection, strict=True) if one[1] is not None]
        matches = " AND ".join(part for part, _ in given) or "1"
        self._given = tuple(value for _, value in given)
        self._look = f"""
            SELECT id, {matches}, length(value) FROM entries
            WHERE id > ? AND id <= ? ORDER BY id LIMIT {ROWS}
        """  # noqa: S608 (no text but the above)
        self._delete = f"DELETE FROM entries WHERE id = ? AND {matches}"  # noqa: S608
        self._last: int | None = None
        self._at: float = BEFORE_ALL
        self._next: float = BEFORE_ALL
        self._began = time.monotonic()
        self._took = 0.0

    async def rest(self) -> None:
        """Leave other processes as much time to write as the last transaction took."""
        await asyncio.sleep(min(self._took, REST_MAX))
        self._began = time.monotonic()

    async def look(self, reader: aiosqlite.Connection) -> Steps:
        """What the next transaction has to do; nothing, if nothing was found for long."""
        # Until it is committed: it may be tried again.
        is_first = self._at == BEFORE_ALL
        if self._last is None:
            [(self._last,)] = await reader.execute_fetchall(LAST)
        while True:
            args = (*self._given, self._at, self._last)
            rows = list(await reader.execute_fetchall(self._look, args))
            meant, self._next = self._some_of(rows, self._last)
            # Other processes are told at first, to stop serving them soon; and at last, since they
            # may have read some in between. Even if there are none here: memory may have some.
            if is_first or self._next == self._last:
                return [(self._delete, meant), self._change]
            if meant:
                return [(self._delete, meant)]
            if time.monotonic() - self._began > BUDGET:
                return []
            self._at = self._next

    def _some_of(self, rows: list[sqlite3.Row], last: int) -> tuple[list[Any], int]:
        """Of the rows that were looked at, those to remove; and where to go on."""
        meant: list[Any] = []
        total = 0
        for id_, is_match, size in rows:
            if not is_match:
                continue
            total += size or 0
            if meant and total > BYTES:
                return meant, meant[-1][0]
            meant.append((id_, *self._given))
        return meant, rows[-1][0] if len(rows) == ROWS else last

    def done(self, removed: int) -> None:
        """The transaction is committed; or there was none to make."""
        self.removed += max(removed, 0)
        self._at = self._next
        self.is_over = self._at == self._last
        self._took = time.monotonic() - self._began if removed else 0.0

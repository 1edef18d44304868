"""The records that were added last, without their values, and not more than fits in memory."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from llmemo.stores.records import Record

if TYPE_CHECKING:
    import sqlite3

    from llmemo.stores.sqlite.read_only import ReadOnlyFile
    from llmemo.stores.sqlite.session import Session

ROWS_AT_ONCE = 500
"""Rows that one step lists: some milliseconds' work, for which reads have to wait."""

BYTES_AT_ONCE = 2 * 2**20
"""Bytes after which a step ends."""

BYTES_MAX = 32 * 2**20
"""Bytes of outlines and requests after which a listing ends."""

LONGEST_REQUEST = 64 * 2**10
"""Bytes of the longest request that is listed; a longer one is left out, and its record listed."""

# SQLite knows the length of a BLOB without reading it.
RECENT = """
SELECT id, key, x'', namespace, llm, created, expires, outline,
    CASE WHEN length(request) <= ? THEN request END
FROM entries WHERE id < ? ORDER BY id DESC LIMIT ?
"""


async def recent_rows(
    session: Session, read_only_file: ReadOnlyFile | None, limit: int
) -> list[Record]:
    """See `Store.recent`."""
    listing = _Listing(limit)
    while not listing.is_done:
        if read_only_file is None:
            listing.take(await session.look(listing.step))
        else:
            listing.take(read_only_file.read(listing.step))
            await asyncio.sleep(0)  # other reads are answered by this thread
    return listing.records


class _Listing:
    """What was listed so far."""

    def __init__(self, limit: int) -> None:
        self.records: list[Record] = []
        self.is_done = limit <= 0
        self._limit = limit
        self._before = 2**63 - 1
        self._bytes = 0

    def step(self, connection: sqlite3.Connection) -> tuple[int, list[tuple[int, Record]]]:
        """Read some more: how many bytes, and the rows.

        It may run again before `take`, since a file may change meanwhile.
        """
        rows: list[tuple[int, Record]] = []
        size = 0
        count = min(ROWS_AT_ONCE, self._limit - len(self.records))
        query = connection.execute(RECENT, (LONGEST_REQUEST, self._before, count))
        # A query that is left half read would hold its snapshot of the file.
        with contextlib.closing(query):
            for row in query:
                rows.append((row[0], Record(*row[1:])))
                # A damaged file may have anything.
                size += sum(len(it) for it in row if isinstance(it, bytes))
                if size >= BYTES_AT_ONCE:
                    break
        return size, rows

    def take(self, read: tuple[int, list[tuple[int, Record]]]) -> None:
        """Keep what a step has read."""
        size, rows = read
        self.records += [record for _, record in rows]
        self._bytes += size
        self._before = rows[-1][0] if rows else self._before
        is_full = len(self.records) >= self._limit or self._bytes >= BYTES_MAX
        self.is_done = is_full or not rows

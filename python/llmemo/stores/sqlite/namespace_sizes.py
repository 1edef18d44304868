"""What each namespace takes in an SQLite file: summed up a few rows at a time."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from llmemo.stores.records import NamespaceSizes

if TYPE_CHECKING:
    import sqlite3

    from llmemo.stores.sqlite.read_only import ReadOnlyFile
    from llmemo.stores.sqlite.session import Session

ROWS_AT_ONCE = 1_000
"""Rows that one query sums up: some milliseconds, for which other reads may have to wait."""

LABEL = 16
"""Bytes of the digest of a namespace."""

# SQLite knows the length of a value without reading it (`sqlite3_column_bytes` of the header).
SUMS = """
SELECT namespace, count(*), sum(size), min(id)
FROM (
    SELECT id, namespace, length(value) AS size FROM entries WHERE id < ? ORDER BY id DESC LIMIT ?
)
GROUP BY namespace
"""


async def sizes_of(
    session: Session, read_only_file: ReadOnlyFile | None, seconds: float
) -> NamespaceSizes:
    """See `Store.namespace_sizes`."""
    end = time.monotonic() + seconds
    sums: defaultdict[bytes, list[int]] = defaultdict(lambda: [0, 0])
    before, is_whole = 2**63 - 1, False
    while not is_whole and time.monotonic() < end:

        def work(connection: sqlite3.Connection, before: int = before) -> list[Any]:
            return connection.execute(SUMS, (before, ROWS_AT_ONCE)).fetchall()

        if read_only_file is None:
            rows = await session.look(work)
        else:
            rows = read_only_file.read(work)
            await asyncio.sleep(0)  # other reads are answered by this thread
        for namespace, count, size, _ in rows:
            # A damaged file may have anything.
            if isinstance(namespace, bytes) and len(namespace) == LABEL:
                sums[namespace][0] += count
                sums[namespace][1] += int(size or 0)
        is_whole = sum(row[1] for row in rows) < ROWS_AT_ONCE
        before = min((row[3] for row in rows), default=before)
    return NamespaceSizes({name: (sum_[0], sum_[1]) for name, sum_ in sums.items()}, is_whole)

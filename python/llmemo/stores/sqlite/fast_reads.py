"""Fast reads: rows by key, read on the private thread itself where no lock is in the way."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from llmemo.stores.sqlite.cold_reads import LEAST, ColdReads
from llmemo.stores.sqlite.connection import READING, read_only
from llmemo.stores.sqlite.rows import record_of
from llmemo.stores.sqlite.schema import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from llmemo.stores.records import Record

KEYS_PER_QUERY = 256
"""Most keys that one SELECT asks for; a power of two, see `_padded`."""

AT_ONCE = 1_024
"""Most keys that are read at once, and"""
BYTES_AT_ONCE = 4 * 2**20
"""most bytes of answers: some milliseconds' work each, for which writes have to wait."""

LATE = 0.0005
"""Seconds after which it is seen whether the pages come from a disk."""

SLOW = 0.05
"""Seconds that reading at once may take; if it took longer, that is left for"""
REST = 10.0
"""seconds: of what holds it up there is more to come."""


class Rest:
    """Whether what takes microseconds as a rule has just taken long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """It has not. `clock`: seconds that never go back."""
        self.clock = clock
        self._until = -math.inf

    def is_on(self, now: float) -> bool:
        """Whether it has, at this time of the clock."""
        return now < self._until

    def took(self, begun: float) -> None:
        """Note how long it took that was begun then."""
        end = self.clock()
        if end - begun > SLOW:
            self._until = end + REST


class FastReader:
    """A connection of one thread's own, which reads and never waits for a lock.

    aiosqlite runs each statement in a thread of its connection's: two changes of threads, which
    take longer than the statement does. So what takes microseconds is done here, where only
    callers wait, each with its own timer; what finds a lock in its way, or any trouble, goes the
    other way, which is patient and says what is wrong.

    It may be held up all the same: by a disk, or by SQLite, which tries for some 10 seconds to see
    a WAL's index whole (`walTryBeginRead`) where another process was stopped while it wrote that.
    """

    def __init__(self, rest: Rest | None = None) -> None:
        """Not connected. `rest`: of all that read the same file."""
        self._connection: sqlite3.Connection | None = None
        self._cold: ColdReads | None = None
        self._rest = rest or Rest()
        self.is_reading = False
        """Set by the thread that uses it, while it does; see `ThreadReaders`."""
        self.opening: object = None
        """Of `ThreadReaders`: when it was connected."""

    def __del__(self) -> None:
        """With the thread that used it."""
        self.close()

    def open(self, path: Path) -> None:
        """Connect to a file that was opened before. Raises nothing."""
        self.close()
        connection = None
        try:
            # Closed by another thread than that which reads.
            connection = sqlite3.connect(
                read_only(path), uri=True, timeout=0.0, check_same_thread=False
            )
            connection.text_factory = bytes
            for name, value in READING.items():
                connection.execute(f"PRAGMA {name} = {value}").fetchall()
            # From here on it has the file open, for SQLite too: see `hold`.
            connection.execute("PRAGMA user_version").fetchall()
        except sqlite3.Error:
            if connection is not None:
                connection.close()
            return
        self._connection, self._cold = connection, ColdReads(path)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Record] | None:
        """The records of those keys that there are; None if that takes longer."""
        begun, connection = self._rest.clock(), self._connection
        if connection is None or len(keys) > AT_ONCE or self._rest.is_on(begun):
            return None
        try:
            return self._read(connection, keys, begun + LATE)
        except sqlite3.Error:
            return None
        finally:
            self._rest.took(begun)

    def _read(
        self, connection: sqlite3.Connection, keys: Sequence[bytes], late: float
    ) -> dict[bytes, Record] | None:
        """The same; from `late` on, the disk is asked ahead for the rest."""
        found: dict[bytes, Record] = {}
        size = 0
        cold = self._cold if len(keys) > LEAST else None
        if cold is not None:
            cold.begin()
        for query, chunk in queries(keys):
            for row in connection.execute(query, chunk):
                found[row[0]] = record = record_of(row)
                size += len(record.value)
                if size > BYTES_AT_ONCE:
                    return None
                if cold and self._rest.clock() > late and cold.are_due():
                    cold.announce([key for key in keys if key not in found], connection)
                    cold = None
        return found

    def hold(self, path: Path) -> None:
        """Be connected, if that can be, so that no other connection is the last to be closed.

        That one would write its WAL back into the file; this one may not write.
        """
        if self._connection is None:
            self.open(path)

    def close(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        self._cold = None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def forget(self) -> object:
        """Give up the connection without closing it: it is a copy that a fork made."""
        connection, self._connection = self._connection, None
        return connection


def queries(keys: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Queries for the rows of these keys, and what they are given."""
    for start in range(0, len(keys), KEYS_PER_QUERY):
        chunk = Unprinted(_padded(keys[start : start + KEYS_PER_QUERY]))
        marks = ", ".join("?" * len(chunk))
        yield f"SELECT {COLUMNS} FROM entries WHERE key IN ({marks})", chunk  # noqa: S608


class Unprinted(list[Any]):
    """What a statement is given. aiosqlite logs it (at level DEBUG), and answers are among it."""

    def __repr__(self) -> str:
        """How much it is."""
        return f"<{len(self)} given>"


def _padded(keys: Sequence[bytes]) -> Iterable[bytes]:
    """Fill up to a power of two with the last key, so that few statements serve all batches.

    sqlite3 caches prepared statements by their text; a text for every number of keys would
    make it prepare most of them again.
    """
    size = 1 << (len(keys) - 1).bit_length()
    return [*keys, *[keys[-1]] * (size - len(keys))]

"""Cold reads: the pages of a batch are read beside each other, where they come from a disk.

SQLite asks the disk for one page after another, and waits for each. A disk takes little longer for
many pages than for one, if it is asked for all of them at once. So the system is told which pages
SQLite is about to read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from llmemo import _core
from llmemo.stores.sqlite.open_files import is_same, look

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

LEAST = 8
"""Keys of a batch up to which it is not worth while."""

LARGE = 64 * 2**20
"""Bytes of a file whose pages may be on the disk for long. A smaller one is soon in RAM."""

OPEN_FILES = Path("/proc/self/fd")

PLACES = """
SELECT page_size,
    (SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_entries_1'),
    (SELECT rootpage FROM sqlite_master WHERE name = 'entries')
FROM pragma_page_size
"""

if sys.platform == "linux":
    from resource import RUSAGE_THREAD, getrusage

    def blocks_read() -> int:
        """Blocks that this thread has read from disks; always 0 where that is not counted."""
        return getrusage(RUSAGE_THREAD).ru_inblock

else:

    def blocks_read() -> int:
        """Blocks that this thread has read from disks; always 0 where that is not counted."""
        return 0


class ColdReads:
    """Of one open database: when the disk is asked ahead, and for what."""

    def __init__(self, path: Path) -> None:
        """For a database that was just opened."""
        self._file = look(str(path))
        self._number: int | None = None
        """Of a file that SQLite has open."""
        self._places: tuple[int, int, int] | None = None
        """Size of a page, and the first pages of the index on the key and of the table."""
        self._blocks = 0

    def begin(self) -> None:
        """Called before a batch is read, on the thread that reads it."""
        self._blocks = blocks_read()

    def are_due(self) -> bool:
        """Whether this thread has waited for a disk since the batch began."""
        return blocks_read() > self._blocks

    def announce(self, keys: Sequence[bytes], connection: sqlite3.Connection) -> None:
        """Have the system read the pages that the rows of these keys are on."""
        if self._places is None:
            [places] = connection.execute(PLACES).fetchall()
            if None in places:
                return
            self._places = places
        number = self._open_file()
        if number is not None:
            size, index, table = self._places
            _core.announce_rows(number, page_bytes=size, index=index, table=table, keys=keys)

    def _open_file(self) -> int | None:
        """A file of this database that SQLite has open, if the database is a large one.

        Not one of our own: closing it would take away SQLite's locks (sqlite.org/howtocorrupt.html,
        2.2). If SQLite closes it at this moment, what is read is of no use, and does no harm.
        """
        if self._number is None or not self._is_large(self._number):
            try:
                numbers = [int(file.name) for file in OPEN_FILES.iterdir()]
                self._number = next(filter(self._is_large, numbers), None)
            except OSError:
                self._number = None
        return self._number

    def _is_large(self, number: int) -> bool:
        """Whether this is the database, and large."""
        try:
            found = os.fstat(number)
        except OSError:
            return False
        return is_same(found, self._file) and found.st_size >= LARGE

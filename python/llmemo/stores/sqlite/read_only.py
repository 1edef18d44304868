"""Read-only files: answers are served from them, and nothing is written to their folder.

SQLite has three ways to read one, and each is right for what is beside the database:

- **nothing, or a WAL without a commit**: `immutable`, without locks or other files;
- **a WAL and its index**: another process may be writing. As any reader does, by its locks;
- **a WAL without an index**, as in an image that was made while the file was open: with an index in
  memory, since another one would be made in the folder.

The first and the last are for files that do not change. So they are believed only if nothing has
changed when a read is over; if anything has, the file is opened again and read once more.

Another process may have the index mapped into memory. So it is never mended here: without the end
of it, the file cannot be read now.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from llmemo import _core
from llmemo.config.validation import absolute_path
from llmemo.errors import ConfigurationError, NotACacheError
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.sqlite.change_log import LAST, ChangeLog
from llmemo.stores.sqlite.connection import BUSY_TIMEOUT, READING, read_only, translated
from llmemo.stores.sqlite.fast_reads import AT_ONCE, queries
from llmemo.stores.sqlite.inherited_files import check_inherited
from llmemo.stores.sqlite.open_files import OpenFiles, is_same, is_untouched, size_of
from llmemo.stores.sqlite.path_checks import check_header, wal_of
from llmemo.stores.sqlite.rows import record_of
from llmemo.stores.sqlite.schema import check_version
from llmemo.stores.sqlite.wal_commits import has_commit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from llmemo.stores.records import Record, Selection
    from llmemo.stores.sqlite.open_files import FileState

T = TypeVar("T")

ATTEMPTS = 5
"""Most times that a file is opened if it changes while it is read."""

WITHOUT_LOCKS = "win32-none" if sys.platform == "win32" else "unix-none"
"""SQLite's own name for a file system without locks (sqlite.org/vfs.html, 2.1)."""

REMOVAL_REFUSED = "the store is read_only: memory has forgotten it, but the file has it still"
WRITE_REFUSED = "the store is read_only: nothing can be written to it"


def check_read_only(path: str | os.PathLike[str]) -> Path:
    """The absolute path, if there is a store to read.

    Raises:
        ConfigurationError: There is no such file, or it cannot be read.
        NotACacheError: It is not a store of ours.
    """
    given, absolute = absolute_path("store", path, example="cache.db")
    try:
        if not absolute.is_file():
            what = "not a regular file" if absolute.exists() else "not there"
            msg = f"store={given!r} is {what}: read_only=True serves a file that was written before"
            raise ConfigurationError(msg)
        if not os.access(absolute, os.R_OK):
            msg = f"store={given!r} cannot be read by this user: change its mode or owner"
            raise ConfigurationError(msg)
        if not check_header(absolute):
            msg = f"{str(absolute)!r} is no cache yet: open it once without read_only=True"
            raise NotACacheError(msg)
    except (OSError, sqlite3.OperationalError) as error:
        msg = f"store={given!r} cannot be read: {error}"
        raise ConfigurationError(msg) from error
    return absolute


def refuse_options(**options: object) -> None:
    """Raise for options that have no effect where nothing is written.

    Raises:
        ConfigurationError: One of the options is set.
    """
    for name, value in options.items():
        if value:
            msg = f"{name}={value!r} has no effect with read_only=True: leave it out"
            raise ConfigurationError(msg)


class ReadOnlyFile:
    """The connection to such a file. It is used by the private thread alone."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self._path = path
        self._files = OpenFiles(path)
        self._connection: sqlite3.Connection | None = None
        self._is_shared = False
        """Whether another process may be writing."""
        self._is_without_locks = False
        self._changes = ChangeLog()
        self._database: FileState | None = None
        """What was opened last."""

    def open(self) -> None:
        """Open the file, in the way that fits what is beside it.

        Raises:
            StoreUnavailableError: It is not there now, or another process is in the way.
            StoreUnusableError: It is of a newer llmemo.
            sqlite3.Error: It cannot be read.
        """
        self.close()
        check_inherited(self._path)
        now = self._files.now()
        if now.database is None:
            msg = f"{str(self._path)!r} is gone"
            raise StoreUnavailableError(msg)
        check_version(check_header(self._path))
        has_wal = size_of(now.wal) > 0 and self._has_commit()
        self._is_shared = has_wal and now.shm is not None
        self._is_without_locks = has_wal and not self._is_shared
        uri = read_only(self._path)
        if not has_wal:
            uri += "&immutable=1"
        elif self._is_without_locks:
            uri += f"&vfs={WITHOUT_LOCKS}"
        self._files.was = now
        with translated(), contextlib.ExitStack() as undo:
            connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT)
            undo.callback(self._give_up, connection)
            connection.text_factory = bytes
            if self._is_without_locks:
                # The only mode in which SQLite has the index in memory.
                connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
            for name, value in (*READING.items(), ("query_only", "ON")):
                connection.execute(f"PRAGMA {name} = {value}").fetchall()
            [(last,)] = connection.execute(LAST).fetchall()
            undo.pop_all()
        before, self._database = self._database, now.database
        self._changes.start(
            last, is_first=before is None, is_another=not is_same(now.database, before)
        )
        self._connection = connection
        if self._is_shared and self._is_same():
            # What is open may be another index of the same number, and smaller.
            self._files.was = self._files.now()

    def _has_commit(self) -> bool:
        try:
            return has_commit(wal_of(self._path))
        except FileNotFoundError:
            return False
        except OSError as error:
            msg = f"its WAL cannot be read: {error}"
            raise StoreUnavailableError(msg) from error

    def _is_same(self) -> bool:
        """Whether the file is still the one that was read, and whole."""
        was, now = self._files.was, self._files.now()
        if self._is_shared:
            # SQLite sees to what is in them.
            return all(is_same(*files) for files in zip(was, now, strict=True))
        return all(is_untouched(*files) for files in zip(was, now, strict=True))

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function that only reads.

        Raises:
            StoreUnavailableError: Another process is in the way, or goes on changing the file.
            sqlite3.Error: It cannot be read.
        """
        for _ in range(ATTEMPTS):
            try:
                connection = self._current()
                with translated():
                    result = work(connection)
            except sqlite3.DatabaseError:
                if self._is_same():
                    raise
                continue
            if self._is_same():
                return result
        msg = f"{str(self._path)!r} changes while it is read"
        raise StoreUnavailableError(msg)

    def _current(self) -> sqlite3.Connection:
        """The connection to the file that has this name now. Raises as `read` does."""
        if self._connection is None or not self._is_same():
            self.open()
        if self._connection is None or self._has_cut_index():
            msg = f"the index of the WAL of {str(self._path)!r} was cut off"
            raise StoreUnavailableError(msg)
        return self._connection

    def _has_cut_index(self) -> bool:
        """Whether SQLite would touch what is not there any more: that is a SIGBUS."""
        return self._is_shared and self._files.is_index_cut()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Record]:
        """The records of those keys that there are. Raises as `read` does."""

        def work(connection: sqlite3.Connection) -> dict[bytes, Record]:
            return {
                row[0]: record_of(row)
                for query, chunk in queries(keys)
                for row in connection.execute(query, chunk)
            }

        return self.read(work)

    def get_at_once(self, keys: Sequence[bytes]) -> dict[bytes, Record] | None:
        """The same; None where that would take long, or the file is yet to be opened."""
        return None if self._connection is None or len(keys) > AT_ONCE else self.get(keys)

    async def changes(self) -> Collection[bytes | Selection] | None:
        """See `Store.changes`. Raises as `read` does."""
        reader: Any = _Direct(self._current())
        with translated():
            changed = await self._changes.others(reader)
        return changed if self._is_same() else None

    def close(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._give_up(connection)

    def _give_up(self, connection: sqlite3.Connection) -> None:
        """Close a connection, unless that does harm."""
        was, now = self._files.was, self._files.now()
        # Closed without SQLite's knowledge of locks, it would release those of another store of
        # this process (sqlite.org/howtocorrupt.html, 2.2), or remove the WAL of another process.
        is_in_use = now.shm is not None or not is_untouched(was.wal, now.wal)
        if (self._is_without_locks and is_in_use) or self._has_cut_index():
            _core.leak(connection)
            return
        with contextlib.suppress(sqlite3.Error):
            connection.close()

    def forget(self) -> object:
        """Give up the connection without closing it: it is a copy that a fork made."""
        connection, self._connection = self._connection, None
        return connection


class _Direct:
    """The part of a connection that `ChangeLog` needs, without a thread in between."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    async def execute_fetchall(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        return self._connection.execute(query, values).fetchall()

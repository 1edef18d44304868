"""The files of an open database: are they still those that were opened?

A clean-up job may remove `cache.db-wal`, rename another file over it, or cut it off, while it is
open. SQLite does not notice: it goes on writing to a file that has no name any more, and all of
that is gone when the process is killed. So a commit looks at the files before it writes, under the
lock that keeps other writers out, and again before it is acknowledged.

Files are looked at by name, and never opened: a process that closes a database file by any
descriptor loses SQLite's locks on it (sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.sqlite.connection import WAL_BYTES
from llmemo.stores.sqlite.path_checks import LEAST_PAGE
from llmemo.stores.sqlite.set_aside import renamed, set_wal_aside
from llmemo.telemetry.stats import logger

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

T = TypeVar("T")

INDEX_PAGE, INDEX_FRAMES = 32_768, 4_062
"""Bytes by which the index grows, and frames of the WAL for which that does, at least."""


class FilesChangedError(StoreUnavailableError):
    """A file of the open database is another one, is gone, or has lost its end."""

    def __init__(self, *, is_committed: bool = False, result: Any = None) -> None:
        """`is_committed`: into the files that were open; `result` is what that returned."""
        super().__init__(
            "a file of the database was removed, replaced or cut off while it was open"
        )
        self.is_committed = is_committed
        self.result = result


FileState: TypeAlias = os.stat_result
"""Metadata of a file, unconverted: each commit looks at five."""


def look(path: str) -> FileState | None:
    """Metadata of the file of this name; None if there is none to be seen.

    A link is not followed: SQLite would name the WAL of where it leads otherwise.
    """
    try:
        return os.lstat(path)
    except OSError:
        return None


def is_same(one: FileState | None, other: FileState | None) -> bool:
    """Whether both are the same file, whatever is in it."""
    return (
        one is not None
        and other is not None
        and one.st_ino == other.st_ino
        and one.st_dev == other.st_dev
    )


def is_untouched(one: FileState | None, other: FileState | None) -> bool:
    """Whether both are the same file, and what is in it is the same, too; or there is none."""
    if one is None or other is None:
        return one is other
    return (
        is_same(one, other)
        and one.st_size == other.st_size
        and one.st_mtime_ns == other.st_mtime_ns
    )


def size_of(found: FileState | None) -> int:
    """Size of a file in bytes; 0 if there is none."""
    return 0 if found is None else found.st_size


class DatabaseFiles(NamedTuple):
    """The three files of a database."""

    database: FileState | None
    wal: FileState | None
    shm: FileState | None
    """The WAL's index."""


NOTHING = DatabaseFiles(None, None, None)


class OpenFiles:
    """Metadata of the open files, as of the last look that found them to be the same."""

    def __init__(self, path: Path) -> None:
        """For the database at this path, which is not open yet."""
        self._path = path
        self._database, self._wal, self._shm = (f"{path}{end}" for end in ("", "-wal", "-shm"))
        self.was = NOTHING

    def now(self) -> DatabaseFiles:
        """Their metadata now."""
        return DatabaseFiles(look(self._database), look(self._wal), look(self._shm))

    def opened(self, found: DatabaseFiles) -> None:
        """Remember them as those that are open.

        Raises:
            FilesChangedError: Between then and now they were changed, or one is missing.
        """
        now = self.now()
        if not _are_same(found, now):
            raise FilesChangedError
        self.was = now

    def are_whole(self) -> bool:
        """Whether they are those that are open, and have lost nothing; if so, remember them."""
        now = self.now()
        was = self.was
        if not _are_same(was, now) or size_of(now.database) < size_of(was.database):
            return False
        if size_of(now.wal) < size_of(was.wal):
            return False
        self.was = now
        return True

    def written_back(self) -> None:
        """Remember what a checkpoint of our own, or a transaction of upkeep, has made of them."""
        now = self.now()
        if _are_same(self.was, now):
            self.was = now

    def check_index(self) -> None:
        """Called before SQLite touches the index, which it has mapped into memory.

        What was cut off of it would be a SIGBUS.

        Raises:
            FilesChangedError: It is another file, or gone.
        """
        was, now = self.was.shm, look(self._shm)
        if was is None or now is None or not is_same(was, now):
            raise FilesChangedError
        if now.st_size < was.st_size:
            self._restore_index(was, now)

    def keep_index(self) -> None:
        """The same for a read, which may use a file that has lost its name."""
        try:
            now = os.stat(self._shm)  # noqa: PTH116 (as above)
        except OSError:
            return
        was = self.was.shm
        if was is not None and now.st_size < was.st_size and is_same(was, now):
            with contextlib.suppress(OSError):
                self._restore_index(was, now)

    def is_index_cut(self) -> bool:
        """Whether the end of the index is missing: for a reader, which does not restore it."""
        was, now = self.was.shm, look(self._shm)
        return is_same(was, now) and size_of(now) < size_of(was)

    def has_index(self) -> bool:
        """Whether nothing is missing of the index. From any thread."""
        was = self.was.shm
        try:
            return was is not None and os.stat(self._shm).st_size >= was.st_size  # noqa: PTH116
        except OSError:
            return False

    def _restore_index(self, was: FileState, now: FileState) -> None:
        """Give it its size again, and nothing but zeros: SQLite makes it again from the WAL.

        `truncate` takes a name, and opens nothing.
        """
        if now.st_size:
            # It says less than what it lacks: half of it would be believed.
            os.truncate(self._shm, 0)
        frames = self.wal_bytes() // LEAST_PAGE
        os.truncate(self._shm, max(was.st_size, (frames // INDEX_FRAMES + 2) * INDEX_PAGE))
        logger.warning("llmemo: %s was cut off while it was open: it is made anew", self._shm)

    def check_wal(self) -> None:
        """Raise unless a transaction that has just begun may write. Called under SQLite's lock.

        Raises:
            FilesChangedError: It would write to a file that other processes do not see.
        """
        was, now = self.was.wal, look(self._wal)
        if not is_same(was, now) or size_of(now) < size_of(was):
            raise FilesChangedError

    def check_after(self, result: object) -> None:
        """Raise unless what was committed would be found after the process was killed.

        Raises:
            FilesChangedError: One is not the file that is open, or was cut off.
        """
        now = self.now()
        if not _are_same(self.was, now) or self._are_cut(now):
            raise FilesChangedError(is_committed=True, result=result)
        self.was = now

    def wal_bytes(self) -> int:
        """Size of the WAL now; 0 if there is none."""
        return size_of(look(self._wal))

    def _are_cut(self, now: DatabaseFiles) -> bool:
        # The commit itself may have begun the WAL again, and cut it to this.
        least = min(size_of(self.was.wal), WAL_BYTES)
        return size_of(now.wal) < least or size_of(now.database) < size_of(self.was.database)

    def is_new_database(self, now: DatabaseFiles) -> bool:
        """Whether the database is another one than that which is open, or none."""
        return not is_same(now.database, self.was.database)

    def is_cut_wal(self, now: DatabaseFiles) -> bool:
        """Whether the WAL is the one that is open, and shorter than it was."""
        return is_same(now.wal, self.was.wal) and size_of(now.wal) < size_of(self.was.wal)

    def is_whole_wal(self, now: DatabaseFiles) -> bool:
        """Whether the WAL is the one that is open, and not shorter than it was."""
        return is_same(now.wal, self.was.wal) and not self.is_cut_wal(now)

    def is_own_index(self, now: DatabaseFiles) -> bool:
        """Whether the index is the one that is open, or none is there."""
        return now.shm is None or is_same(now.shm, self.was.shm)

    def make_way(self, now: DatabaseFiles) -> None:
        """Take what is beside the database out of the way of those that open it next.

        That is a WAL that does not belong to the database that is there, and an index that does not
        belong to the WAL: processes that have it open see by its absence that they have to open
        everything again. What another process has begun meanwhile stays. Under the file lock.
        """
        if self.is_new_database(now):
            if is_same(now.wal, self.was.wal):
                if now.database is None:
                    _unlink(self._wal)
                else:
                    set_wal_aside(self._path)
            if is_same(now.shm, self.was.shm):
                _unlink(self._shm)
        elif self.is_own_index(now) and not self.is_whole_wal(now):
            # In this order: a WAL without an index is read again, an index without its WAL is not.
            _unlink(self._shm)
            if size_of(now.wal):
                renamed(self._path, "replaced", "-wal")
            elif now.wal is not None:
                _unlink(self._wal)


def commit(
    connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T], files: OpenFiles
) -> T:
    """Run a function in one transaction, which goes into files that other processes see.

    Raises:
        FilesChangedError: It did not, or may not have.
    """
    files.check_index()
    connection.execute("BEGIN IMMEDIATE")
    try:
        files.check_wal()
        result = work(connection)
        connection.commit()
    except BaseException:
        connection.rollback()
        raise
    files.check_after(result)
    return result


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()


def _are_same(one: DatabaseFiles, other: DatabaseFiles) -> bool:
    return (
        is_same(one.database, other.database)
        and is_same(one.wal, other.wal)
        and is_same(one.shm, other.shm)
    )

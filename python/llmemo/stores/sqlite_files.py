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
from typing import Any, NamedTuple

from llmemo.stats import logger
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.sqlite_aside import renamed, set_wal_aside
from llmemo.stores.sqlite_connection import WAL_BYTES
from llmemo.stores.sqlite_file import LEAST_PAGE

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


class Seen(NamedTuple):
    """What `stat` says of a file."""

    device: int
    inode: int
    size: int
    """In bytes."""
    changed: int
    """When its contents were changed last, in nanoseconds."""

    def is_file(self, other: Seen | None) -> bool:
        """Whether the other is the same file, whatever is in it."""
        return other is not None and self[:2] == other[:2]


def look(path: str) -> Seen | None:
    """What there is of this name; None if nothing can be seen there."""
    try:
        found = os.stat(path)  # noqa: PTH116 (a `Path` takes as long again)
    except OSError:
        return None
    return Seen(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class All(NamedTuple):
    """The three files of a database."""

    database: Seen | None
    wal: Seen | None
    shm: Seen | None
    """The WAL's index."""


NOTHING = All(None, None, None)


class Files:
    """What the files were like when they were last found to be those that are open."""

    def __init__(self, path: Path) -> None:
        """Of the database at this path, which is not open yet."""
        self._path = path
        self._database, self._wal, self._shm = (f"{path}{end}" for end in ("", "-wal", "-shm"))
        self.was = NOTHING

    def now(self) -> All:
        """What they are like now."""
        return All(look(self._database), look(self._wal), look(self._shm))

    def opened(self, found: All) -> None:
        """Remember them as those that are open.

        Raises:
            FilesChangedError: Between then and now they were changed, or one is missing.
        """
        now = self.now()
        if None in found or not _are_same(found, now):
            raise FilesChangedError
        self.was = now

    def are_whole(self) -> bool:
        """Whether they are those that are open, and have lost nothing; if so, remember them."""
        now = self.now()
        if not _are_same(self.was, now) or _is_shorter(self.was, now):
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

        What was cut off of it would be a SIGBUS. With its size again, and nothing but zeros in it,
        SQLite makes it anew from the WAL. (`truncate` takes a name and opens nothing.)

        Raises:
            FilesChangedError: It is another file, or gone.
        """
        was, now = self.was.shm, look(self._shm)
        if was is None or now is None or not was.is_file(now):
            raise FilesChangedError
        if now.size < was.size:
            if now.size:
                # It says less than what it lacks: half of it would be believed.
                os.truncate(self._shm, 0)
            frames = self.wal_bytes() // LEAST_PAGE
            os.truncate(self._shm, max(was.size, (frames // INDEX_FRAMES + 2) * INDEX_PAGE))
            logger.warning("llmemo: %s was cut off while it was open: it is made anew", self._shm)

    def keep_index(self) -> None:
        """The same for a read, to which it is all one which file of that name others have."""
        with contextlib.suppress(FilesChangedError, OSError):
            self.check_index()

    def check_wal(self) -> None:
        """Raise unless a transaction that has just begun may write. Called under SQLite's lock.

        Raises:
            FilesChangedError: It would write to a file that other processes do not see.
        """
        was, now = self.was.wal, look(self._wal)
        if was is None or now is None or not was.is_file(now) or now.size < was.size:
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
        found = look(self._wal)
        return 0 if found is None else found.size

    def _are_cut(self, now: All) -> bool:
        before = self.was
        if before.wal is not None and before.wal.size > WAL_BYTES:
            # The commit itself may have begun the WAL again, and cut it to this.
            before = before._replace(wal=before.wal._replace(size=WAL_BYTES))
        return _is_shorter(before, now)

    def is_new_database(self, now: All) -> bool:
        """Whether the database is another one than that which is open, or none."""
        return now.database is None or not now.database.is_file(self.was.database)

    def is_whole_wal(self, now: All) -> bool:
        """Whether the WAL is the one that is open, and not shorter than it was."""
        was = self.was.wal
        return was is not None and was.is_file(now.wal) and not self.is_cut_wal(now)

    def is_cut_wal(self, now: All) -> bool:
        """Whether the WAL is the one that is open, and shorter than it was."""
        was, wal = self.was.wal, now.wal
        return was is not None and wal is not None and was.is_file(wal) and wal.size < was.size

    def is_own_index(self, now: All) -> bool:
        """Whether the index is the one that is open, or none is there."""
        return now.shm is None or now.shm.is_file(self.was.shm)

    def make_way(self, now: All) -> None:
        """Take what is beside the database out of the way of those that open it next.

        That is a WAL that does not belong to the database that is there, and an index that does not
        belong to the WAL: processes that have it open see by its absence that they have to open
        everything again. What another process has begun meanwhile stays. Call it under the guard.
        """
        if self.is_new_database(now):
            if now.wal is not None and now.wal.is_file(self.was.wal):
                if now.database is None:
                    _unlink(self._wal)
                else:
                    set_wal_aside(self._path)
            if now.shm is not None and now.shm.is_file(self.was.shm):
                _unlink(self._shm)
        elif self.is_own_index(now) and not self.is_whole_wal(now):
            # In this order: a WAL without an index is read anew, an index without its WAL is not.
            _unlink(self._shm)
            if now.wal is not None and now.wal.size:
                renamed(self._path, "replaced", "-wal")
            elif now.wal is not None:
                _unlink(self._wal)


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).unlink()


def _are_same(one: All, other: All) -> bool:
    return all(a is not None and a.is_file(b) for a, b in zip(one, other, strict=True))


def _is_shorter(was: All, now: All) -> bool:
    """Whether database or WAL have lost their ends."""
    return any(
        a is not None and b is not None and b.size < a.size
        for a, b in zip(was[:2], now[:2], strict=True)
    )

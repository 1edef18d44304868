"""One lock for all processes that use a file, where SQLite's own are not enough.

SQLite 3.7.0 to 3.51.2 may corrupt a database in WAL mode when one connection resets the WAL in a
checkpoint while another commits ("WAL-reset bug", fixed in 3.51.3, 3.50.7 and 3.44.6:
sqlite.org/wal.html). With such an SQLite, what commits or may checkpoint holds this lock: closing
the last connection, too. It also serves to set a damaged file aside only once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.sqlite.process_lock_file import open_lock

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FIRST_PAUSE = 0.0005
"""Seconds before the second attempt to take the lock; each pause is twice the one before."""

LONGEST_PAUSE = 0.02
"""Seconds between attempts, at most."""

FIXED = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
"""The first sound version of each branch that was mended."""


def has_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite can corrupt a file that is in WAL mode."""
    if version >= FIXED[-1]:
        return False
    return not any(version[:2] == fixed[:2] and version >= fixed for fixed in FIXED)


class FileLock:
    """An advisory lock on a file of its own beside the database: `cache.db-lock`.

    Of its own since a process that closes a database file by any descriptor loses SQLite's locks
    on it (sqlite.org/howtocorrupt.html, 2.2). It is never removed; if another program does that, it
    is made again: a lock on a file that is gone keeps no process out.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        """For the database at `path`; `timeout`: seconds to wait for other processes."""
        self._database, self._path, self._name = str(path), f"{path}-lock", f"{path.name}-lock"
        self._timeout = timeout
        self._file: int | None = None
        self._identity: tuple[int, ...] = ()
        self._is_needed = has_wal_reset_bug(sqlite3.sqlite_version_info[:3])

    def committing(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Held around what commits, checkpoints or closes; nothing where SQLite is sound.

        Raises:
            StoreUnavailableError: Another process holds it for too long.
        """
        return self.held() if self._is_needed else contextlib.nullcontext()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Held by this store, and no other, in any process. Not to be taken twice.

        Raises:
            StoreUnavailableError: Another process holds it for too long.
            OSError: It cannot be had: see `open_lock`.
        """
        while True:
            if self._file is None:
                self._file = await open_lock(self._path, self._database)
                self._identity = os.fstat(self._file)[1:3]
            file = self._file
            await self._lock(file)
            if self._is_there():
                break
            self.close()
        try:
            yield
        finally:
            _unlock(file)

    def _is_there(self) -> bool:
        try:
            return os.lstat(self._path)[1:3] == self._identity
        except FileNotFoundError:
            return False
        except OSError:
            return True  # as far as one can tell

    async def _lock(self, file: int) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout
        pause = FIRST_PAUSE
        while not _try_to_lock(file):
            if clock() > deadline:
                msg = f"another process holds {self._name!r}"
                raise StoreUnavailableError(msg)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def close(self) -> None:
        """Let go of the file."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


if sys.platform == "win32":

    def _try_to_lock(file: int) -> bool:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(file: int) -> None:
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:

    def _try_to_lock(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)

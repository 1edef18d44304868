"""Commits of an SQLite store, under its file lock: on the private thread if they are brief."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.sqlite.connection import BUSY_TIMEOUT, in_one_step, in_this_thread
from llmemo.stores.sqlite.fast_reads import Rest
from llmemo.stores.sqlite.open_files import FilesChangedError, commit

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import aiosqlite

    from llmemo.stores.sqlite.open_files import OpenFiles

T = TypeVar("T")

BYTES_AT_ONCE = 256 * 1024
"""Most bytes that are committed on the private thread: about a millisecond's work."""


class Committer:
    """Runs functions in a transaction of the connection that writes.

    A commit takes tens of microseconds, and a change of threads twice as long. So what is small is
    committed on the private thread, where it waits for no lock; what meets one, or may wait for the
    disk, goes to the connection's own thread. Both use the one connection, never at a time.
    """

    def __init__(
        self,
        files: OpenFiles,
        watched: Callable[[], AbstractContextManager[None]],
        *,
        waits_for_disk: bool,
    ) -> None:
        """For a connection that has these files open.

        Args:
            files: See above.
            watched: Translates errors of SQLite.
            waits_for_disk: Whether each commit does.
        """
        self._files = files
        self._watched = watched
        self._waits_for_disk = waits_for_disk
        self._rest = Rest()
        self._wait = BUSY_TIMEOUT
        """Seconds that the connection waits for the locks of other programs: `busy_timeout`."""

    def opened(self) -> None:
        """There is a new connection."""
        self._wait = BUSY_TIMEOUT

    def commit_here(
        self,
        writer: aiosqlite.Connection,
        work: Callable[[sqlite3.Connection], T],
        size: int,
    ) -> tuple[T] | None:
        """Commit in this thread; None, with nothing done, if that may take long.

        `size`: about how many bytes are written.

        Raises:
            FilesChangedError: See `open_files.commit`.
        """
        begun = self._rest.clock()
        if self._waits_for_disk or size > BYTES_AT_ONCE or self._rest.is_on(begun):
            return None
        try:
            with self._watched():
                return in_this_thread(writer, lambda raw: (self._commit(raw, work, wait=0.0),))
        except FilesChangedError:
            raise
        except StoreUnavailableError:
            # Another program has SQLite's lock: what has ours is not in the way.
            return None
        finally:
            self._rest.took(begun)

    async def commit_aside(
        self, writer: aiosqlite.Connection, work: Callable[[sqlite3.Connection], T]
    ) -> tuple[T]:
        """Commit in the connection's own thread, which may wait.

        Raises:
            FilesChangedError: See `open_files.commit`.
            StoreUnavailableError: Another program has SQLite's lock for too long.
        """
        with self._watched():
            return await in_one_step(
                writer, lambda raw: (self._commit(raw, work, wait=BUSY_TIMEOUT),)
            )

    async def be_patient(self, writer: aiosqlite.Connection) -> None:
        """Have the connection wait for other programs' locks: for what is not committed here."""
        if self._wait != BUSY_TIMEOUT:
            await in_one_step(writer, lambda raw: self._let_wait(raw, BUSY_TIMEOUT))

    def _commit(
        self,
        raw: sqlite3.Connection,
        work: Callable[[sqlite3.Connection], T],
        *,
        wait: float,
    ) -> T:
        if wait != self._wait:
            self._let_wait(raw, wait)
        return commit(raw, work, self._files)

    def _let_wait(self, raw: sqlite3.Connection, seconds: float) -> None:
        self._wait = seconds
        raw.execute(f"PRAGMA busy_timeout = {int(seconds * 1_000)}").fetchall()

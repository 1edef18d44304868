"""The open connections of an SQLite store: how they are opened, read from and committed to."""

from __future__ import annotations

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from llmemo import _core
from llmemo.stores.base import StoreUnavailableError, StoreUnusableError
from llmemo.stores.sqlite.change_log import ChangeLog
from llmemo.stores.sqlite.commits import Committer
from llmemo.stores.sqlite.connection import (
    BUSY_TIMEOUT,
    connect,
    in_one_step,
    is_damage,
    is_sound,
    translated,
)
from llmemo.stores.sqlite.fast_reads import FastReader, Rest
from llmemo.stores.sqlite.inherited_files import check_inherited, identity_of
from llmemo.stores.sqlite.network_files import warn_of_network
from llmemo.stores.sqlite.open_files import FilesChangedError, FileState, OpenFiles, look
from llmemo.stores.sqlite.open_files import size_of as size_of_file
from llmemo.stores.sqlite.path_checks import check_header, check_place, create_file, is_ours
from llmemo.stores.sqlite.process_lock import FileLock
from llmemo.stores.sqlite.schema import check_version
from llmemo.stores.sqlite.set_aside import set_aside
from llmemo.stores.sqlite.thread_reads import ThreadReaders

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import aiosqlite

    from llmemo.stores.sqlite.upkeep import Upkeep

T = TypeVar("T")

ATTEMPTS = 3
"""Times that a transaction is begun while its files keep being taken away."""


class Session(ABC):
    """A connection that reads, one that writes, and a `FastReader`; opened again after trouble."""

    def __init__(self, path: Path, durability: str, upkeep: Upkeep) -> None:
        """Open nothing yet. `upkeep` runs after commits, too."""
        self.path = path
        self._durability = durability
        self._upkeep = upkeep
        self.reader: aiosqlite.Connection | None = None
        self.writer: aiosqlite.Connection | None = None
        rest = Rest()
        self.fast_reader = FastReader(rest)
        self.thread_readers = ThreadReaders(rest)
        self.file_lock = FileLock(path, BUSY_TIMEOUT)
        self.change_log = ChangeLog()
        self.files = OpenFiles(path)
        self.identity: object = None
        """Of the file that is open."""
        self.newer = 0
        """The version of its schema, since it was found to be of a newer llmemo while open."""
        self.openings = 0
        """How often the connections were opened."""
        self._like: FileState | None = None
        """What the database was like when it was last seen: a new one in its place is alike."""
        self._version = 0
        """Of the writer's `data_version`: it changes with what other connections commit."""
        self._is_damaged = False
        self._is_readonly = False
        """Whether SQLite opened it for reading only, as it does where it may not write: then."""
        self._is_detached = False
        """Whether there is nothing open, until the next write opens it again."""
        self._has_lost = False
        """Whether something that was committed was in a file that is gone."""
        self._committer = Committer(self.files, self.watched, waits_for_disk=durability == "full")
        self._gap: asyncio.Event | None = None
        """While there is nothing open for some milliseconds: set when that is over."""

    async def open(self) -> None:
        """Create the file if it is missing, and open it; set it aside first if it is damaged."""
        left = self.reader, self.writer, self.fast_reader.forget()
        if any(left):
            # Open since a fork that could not wait: see `lifecycle`.
            _core.leak(left)
        self._gap = None
        self.file_lock.close()
        warn_of_network(self.path)
        await self._open_sound()

    async def _open_sound(self) -> None:
        found = identity_of(self.path)
        try:
            await self._open()
        except sqlite3.DatabaseError as error:
            if not (is_damage(error) and is_ours(self.path)):
                raise
            await self._set_aside(found, error)
            await self._open()

    async def _open(self) -> None:
        check_inherited(self.path)
        check_place(self.path)
        # Before SQLite sees the file: opening one of a newer schema could already change it.
        check_version(check_header(self.path))
        self._like = look(str(self.path)) or self._like
        create_file(self.path, self._like)
        async with self.file_lock.held(), contextlib.AsyncExitStack() as undo:
            writer = await connect(self.path, self._durability)
            undo.push_async_callback(writer.close)
            files = self.files.now()
            reader = await connect(self.path, self._durability)
            undo.push_async_callback(reader.close)
            self.fast_reader.open(self.path)
            undo.callback(self.fast_reader.close)
            identity, before = identity_of(self.path), self.identity
            with translated():
                await self.change_log.begin(
                    reader,
                    is_first=before is None,
                    is_another=self._has_lost or identity != before,
                )
                [(self._version,)] = await writer.execute_fetchall("PRAGMA data_version")
            self.files.opened(files)
            undo.pop_all()
        self.identity = identity
        self._is_damaged = self._is_readonly = self._is_detached = self._has_lost = False
        self.newer = 0
        self._committer.opened()
        self.reader, self.writer = reader, writer
        self.thread_readers.open(self.path, identity)
        self.openings += 1

    @abstractmethod
    async def mend(self) -> bool:
        """Open again what was deleted, replaced, cut off or damaged, or not opened for writing.

        Returns whether what was committed last is certainly in the file that is open now.
        """

    def _detach(self) -> tuple[aiosqlite.Connection | None, aiosqlite.Connection | None]:
        """Have nothing open any more; the caller closes the connections."""
        reader, self.reader = self.reader, None
        writer, self.writer = self.writer, None
        self.fast_reader.close()
        self.thread_readers.close()
        return reader, writer

    async def _set_aside(self, found: object, reason: object, *, is_empty: bool = False) -> None:
        """Rename a file that is damaged; `is_empty`: it has nothing, which SQLite calls sound."""
        async with self.file_lock.held():
            # Another process may have been first.
            if identity_of(self.path) != found:
                return
            if is_empty or not await is_sound(self.path):
                set_aside(self.path, reason)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Translate errors of SQLite, and note those that call for `mend`."""
        try:
            with translated():
                yield
        except sqlite3.DatabaseError as error:
            self._is_damaged |= is_damage(error)
            self._is_readonly |= "readonly database" in str(error)
            raise

    async def reading(self) -> aiosqlite.Connection:
        """The connection that reads."""
        while self._gap is not None:
            await self._gap.wait()
        self.files.keep_index()
        return opened(self.reader)

    async def look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function that only reads."""
        check_version(self.newer)
        reader = await self.reading()
        with self.watched():
            return await in_one_step(reader, work)

    async def commit(self, work: Callable[[sqlite3.Connection], T], size: int = 0) -> T:
        """Run a function in one transaction, which writes about `size` bytes.

        When this returns another process would find it, should this one be killed.
        """
        if self._is_damaged or self._is_readonly or self._is_detached or self.newer:
            await self.mend()
        for attempt in range(1, ATTEMPTS + 1):
            writer = opened(self.writer)
            try:
                async with self.file_lock.held():
                    done = self._committer.commit_here(writer, work, size)
                    if done is None:
                        done = await self._committer.commit_aside(writer, work)
                    if self._upkeep.has_to_follow(size, size_of_file(self.files.was.wal)):
                        await self._after_write(writer)
                    (result,) = done
            except FilesChangedError as error:
                is_kept = await self.mend()
                if error.is_committed and is_kept:
                    return error.result  # type: ignore[no-any-return]
                if attempt == ATTEMPTS:
                    raise
            except FileNotFoundError:
                # The folder is gone, and the lock file with it.
                if attempt == ATTEMPTS:
                    raise
                await self.mend()
            else:
                return result
        raise AssertionError

    async def _after_write(self, writer: aiosqlite.Connection) -> None:
        """Keep the WAL small, under the file lock."""
        # It is committed, whatever becomes of the WAL.
        with contextlib.suppress(sqlite3.Error, StoreUnavailableError), self.watched():
            try:
                wal_bytes = size_of_file(self.files.was.wal)
                await self._committer.be_patient(writer)
                has_written = await self._upkeep.after_write(writer, wal_bytes)
            except BaseException:
                await writer.rollback()
                raise
            if has_written:
                self.files.written_back()

    async def run_upkeep(self, now: float) -> None:
        """Remove what expired before `now` (Unix time in seconds), and the like."""
        await self.mend()
        writer = opened(self.writer)
        with self.watched():
            [(version,)] = await writer.execute_fetchall("PRAGMA user_version")
        try:
            check_version(version)
        except StoreUnusableError:
            self.newer = version
            await self.close(now)
            raise
        await self._keep_up(writer, now, at_end=False)

    async def _keep_up(self, writer: aiosqlite.Connection, now: float, *, at_end: bool) -> None:
        async with self.file_lock.held():
            with self.watched():
                try:
                    await self._committer.be_patient(writer)
                    await self._upkeep.run(writer, now, at_end=at_end)
                except BaseException:
                    await writer.rollback()
                    raise
                finally:
                    self.files.written_back()

    @abstractmethod
    async def close(self, now: float) -> None:
        """Do the last upkeep, as of `now`, and close everything."""


async def close_all(*connections: aiosqlite.Connection | None) -> None:
    """Close connections that are replaced. How that goes is of no consequence."""
    for connection in connections:
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                await connection.close()


def opened(connection: aiosqlite.Connection | None) -> aiosqlite.Connection:
    """The connection.

    Raises:
        StoreUnavailableError: There is none.
    """
    if connection is None:
        msg = "the store is not open"
        raise StoreUnavailableError(msg)
    return connection

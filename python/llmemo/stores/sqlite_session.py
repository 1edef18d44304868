"""The connections of an SQLite store: opened, mended when a file is no longer theirs, closed."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from llmemo import _core
from llmemo.stats import logger
from llmemo.stores.base import Store, StoreUnavailableError
from llmemo.stores.sqlite_changes import Changes
from llmemo.stores.sqlite_connection import (
    BUSY_TIMEOUT,
    committed,
    connect,
    has_lost_frames,
    has_lost_pages,
    in_one_step,
    is_damage,
    is_sound,
    translated,
    wrote_all_back,
)
from llmemo.stores.sqlite_file import (
    check_header,
    check_inherited,
    check_place,
    create_file,
    create_folder,
    identity_of,
    is_ours,
    set_aside,
    warn_of_network,
)
from llmemo.stores.sqlite_files import Files, FilesChangedError
from llmemo.stores.sqlite_guard import Guard
from llmemo.stores.sqlite_reading import Quick
from llmemo.stores.sqlite_schema import check_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import aiosqlite

    from llmemo.stores.sqlite_files import All

T = TypeVar("T")

ATTEMPTS = 3
"""Times that a transaction is begun while its files keep being taken away."""


class Session(Store):
    """What an SQLite store has open: one connection that reads, one that writes, and `Quick`."""

    path: Path
    durability: str
    _newer = 0
    """The version of its schema, since it was found to be of a newer llmemo while open."""

    def _prepare(self, path: Path) -> None:
        """For the file at this path; nothing is opened yet."""
        self._reader: aiosqlite.Connection | None = None
        self._writer: aiosqlite.Connection | None = None
        self._quick = Quick()
        self._guard = Guard(path, BUSY_TIMEOUT)
        self._changes = Changes()
        self._files = Files(path)
        self._identity: object = None
        """Of the file that is open."""
        self._version = 0
        """Of the writer's `data_version`: it changes with what other connections commit."""
        self._is_damaged = False
        self._is_readonly = False
        """Whether SQLite opened it for reading only, as it does where it may not write: then."""
        self._is_detached = False
        """Whether there is nothing open, until the next write opens it again."""
        self._has_lost = False
        """Whether something that was committed was in a file that is gone."""
        self._gap: asyncio.Event | None = None
        """While there is nothing open for some milliseconds: set when that is over."""

    def _reopened(self) -> None:
        """Called when the connections are other ones."""

    async def open(self) -> None:
        """Create the file if it is missing, and open it; set it aside first if it is damaged."""
        left = self._reader, self._writer, self._quick.forget()
        if any(left):
            # Open since a fork that could not wait: see `process`.
            _core.leak(left)
        self._gap = None
        self._guard.close()
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
        create_file(self.path)
        async with self._guard.committing(), contextlib.AsyncExitStack() as undo:
            writer = await connect(self.path, self.durability)
            undo.push_async_callback(writer.close)
            files = self._files.now()
            reader = await connect(self.path, self.durability)
            undo.push_async_callback(reader.close)
            self._quick.open(self.path)
            undo.callback(self._quick.close)
            identity, before = identity_of(self.path), self._identity
            with translated():
                await self._changes.begin(
                    reader,
                    is_first=before is None,
                    is_another=self._has_lost or identity != before,
                )
                [(self._version,)] = await writer.execute_fetchall("PRAGMA data_version")
            self._files.opened(files)
            undo.pop_all()
        self._identity = identity
        self._is_damaged = self._is_readonly = self._is_detached = self._has_lost = False
        self._newer = 0
        self._reader, self._writer = reader, writer
        self._reopened()

    async def _mend(self) -> bool:
        """Open again what was deleted, replaced, cut off or damaged, or not opened for writing.

        Returns whether what was committed last is certainly in the file that is open now.
        """
        if self._newer or self._is_detached:
            await self._open_sound()
            return False
        opened(self._writer)
        self._files.keep_index()
        if not (self._is_damaged or self._is_readonly) and self._files.are_whole():
            return True
        now = self._files.now()
        if self._files.is_new_database(now) or await self._has_lost_pages(now):
            await self._follow()
            return False
        if not await self._has_own_wal(now):
            # Before what follows: what SQLite reads from another WAL may look like damage.
            return await self._begin_again()
        if self._is_damaged and not await self._is_set_aside():
            await self._open_empty()
        elif self._is_damaged or self._is_readonly:
            await self._follow()
        else:
            self._files.written_back()
            return True
        return False

    async def _open_empty(self) -> None:
        """Open what was cut off, say, and is sound without what it had."""
        # What is new would wait for the locks of what is old.
        self._is_detached = True
        await close_all(*self._detach())
        await self._open_sound()

    async def _is_set_aside(self) -> bool:
        await self._set_aside(self._identity, "it was found damaged")
        return self._files.is_new_database(self._files.now())

    async def _mend_at_end(self) -> None:
        """The same before everything is closed; nothing is made in the place of what is gone."""
        self._files.keep_index()
        now = self._files.now()
        if self._newer or self._is_detached or self._writer is None or now.database is None:
            return
        if self._files.is_new_database(now):
            async with self._guard.held():
                self._files.make_way(self._files.now())
        elif not self._files.are_whole():
            await self._mend()

    async def _follow(self) -> None:
        """Open what has come into the place of the database, or begin with nothing."""
        create_folder(self.path)
        async with self._guard.held():
            # Or SQLite would take the WAL of the one that was replaced for that of the new one.
            self._files.make_way(self._files.now())
        reader, writer = self._reader, self._writer
        await self._open()
        # SQLite sees that their file has moved, and leaves the WAL of that name alone.
        await close_all(reader, writer)

    async def _has_lost_pages(self, now: All) -> bool:
        """Whether the database was cut off; if so, it was set aside."""
        was = self._files.was.database
        if now.database is None or was is None or now.database.size >= was.size:
            return False
        if now.database.size and not await has_lost_pages(opened(self._writer), now.database.size):
            return False
        await self._set_aside(self._identity, "it was cut off", is_empty=not now.database.size)
        return self._files.is_new_database(self._files.now())

    async def _has_own_wal(self, now: All) -> bool:
        """Whether WAL and index are those that are open, with all that was in them."""
        if now.wal is None or now.shm is None or not self._files.is_own_index(now):
            return False
        if not self._files.is_cut_wal(now):
            return self._files.is_whole_wal(now)
        before, writer = self._version, opened(self._writer)
        with translated():
            [(self._version,)] = await writer.execute_fetchall("PRAGMA data_version")
        if self._version == before:
            # Other processes had no part in it, and a cut of our own would have been noted.
            return False
        async with self._guard.committing():
            return not await has_lost_frames(writer, self._files.wal_bytes)

    async def _begin_again(self) -> bool:
        """Save what the WAL holds, if it can be, and begin with another one."""
        self._gap = asyncio.Event()
        try:
            async with self._guard.held():
                is_kept = await self._leave()
            self._has_lost = not is_kept
            await self._open_sound()
        finally:
            self._gap.set()
            self._gap = None
        return is_kept

    async def _leave(self) -> bool:
        """Close everything; what is beside the database belongs to it no longer.

        Returns whether nothing is lost. Call it under the guard.
        """
        now = self._files.now()
        is_kept = await self._is_saved(now)
        reader, writer, self._reader, self._writer = self._reader, self._writer, None, None
        self._is_detached = True
        # The last one to be closed would write its WAL into the database, whatever another process
        # has made of that meanwhile; one that only reads never does.
        self._quick.hold(self.path)
        await close_all(reader, writer)
        self._quick.close()
        self._files.make_way(now)
        fate = "all answers are kept" if is_kept else "answers that only it held are lost"
        text = "llmemo: the WAL or index of %s was removed, replaced or cut off while open: %s"
        logger.warning(text, self.path, fate)
        return is_kept

    async def _is_saved(self, now: All) -> bool:
        """Whether all that was committed is in the database, or in a WAL that others see."""
        files = self._files
        if files.is_new_database(now) or files.is_cut_wal(now):
            return False
        if not files.is_own_index(now):
            # Another process may have begun. What it does not see is in no file of this name.
            return now.wal is not None and now.wal == files.was.wal
        # If the database is as it was, no other process has used another WAL since: one that did
        # would have written that back. Then ours, whether it has a name or not, holds the rest.
        if now.database != files.was.database:
            return False
        return await wrote_all_back(opened(self._writer))

    def _detach(self) -> tuple[aiosqlite.Connection | None, aiosqlite.Connection | None]:
        """Have nothing open any more; the caller closes what was."""
        reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        self._quick.close()
        return reader, writer

    async def _set_aside(self, found: object, reason: object, *, is_empty: bool = False) -> None:
        """Rename a file that is damaged; `is_empty`: it has nothing, which SQLite calls sound."""
        async with self._guard.held():
            # Another process may have been first.
            if identity_of(self.path) != found:
                return
            if is_empty or not await is_sound(self.path):
                set_aside(self.path, reason)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            with translated():
                yield
        except sqlite3.DatabaseError as error:
            self._is_damaged |= is_damage(error)
            self._is_readonly |= "readonly database" in str(error)
            raise

    async def _reading(self) -> aiosqlite.Connection:
        """The connection that reads."""
        while self._gap is not None:
            await self._gap.wait()
        self._files.keep_index()
        return opened(self._reader)

    async def _look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function that only reads."""
        check_version(self._newer)
        reader = await self._reading()
        with self._watched():
            return await in_one_step(reader, work)

    async def _commit(self, work: Callable[[sqlite3.Connection], T], size: int = 0) -> T:
        """Run a function in one transaction, which writes about `size` bytes.

        When this returns another process would find it, should this one be killed.
        """
        if self._is_damaged or self._is_readonly or self._is_detached or self._newer:
            await self._mend()
        for attempt in range(1, ATTEMPTS + 1):
            writer = opened(self._writer)
            try:
                async with self._guard.committing():
                    with self._watched():
                        result = await in_one_step(
                            writer, lambda connection: committed(connection, work, self._files)
                        )
                    await self._after_write(writer, size)
            except FilesChangedError as error:
                is_kept = await self._mend()
                if error.is_committed and is_kept:
                    return error.result  # type: ignore[no-any-return]
                if attempt == ATTEMPTS:
                    raise
            except FileNotFoundError:
                # The folder is gone, and the guard with it.
                if attempt == ATTEMPTS:
                    raise
                await self._mend()
            else:
                return result
        raise AssertionError

    async def _after_write(self, writer: aiosqlite.Connection, size: int) -> None:
        """Called after each commit, under the guard."""


async def close_all(*connections: aiosqlite.Connection | None) -> None:
    """Close connections in whose place there are others: how that goes is of no consequence."""
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

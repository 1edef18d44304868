"""The connections of an SQLite store: how they are opened, read from and committed to."""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from llmemo import _core
from llmemo.stores.base import Store, StoreUnavailableError
from llmemo.stores.sqlite.change_log import Changes
from llmemo.stores.sqlite.connection import (
    BUSY_TIMEOUT,
    committed,
    connect,
    in_one_step,
    is_damage,
    is_sound,
    translated,
)
from llmemo.stores.sqlite.fast_reads import Quick
from llmemo.stores.sqlite.file import (
    check_header,
    check_inherited,
    check_place,
    create_file,
    identity_of,
    is_ours,
    warn_of_network,
)
from llmemo.stores.sqlite.file_lock import Guard
from llmemo.stores.sqlite.open_files import Files, FilesChangedError, Seen, look
from llmemo.stores.sqlite.schema import check_version
from llmemo.stores.sqlite.set_aside import set_aside

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import aiosqlite

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
        self._like: Seen | None = None
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
        self._like = look(str(self.path)) or self._like
        create_file(self.path, self._like)
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
        """See `Mending`."""
        raise NotImplementedError

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

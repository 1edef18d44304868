"""What an SQLite store does when a file is no longer the one that it has open, or is damaged.

- **The database is another one, gone, or was cut off**: what is there now is opened, or a new one
  begun, and the WAL of the old one is taken out of its way.
- **The WAL is another one, gone, or was cut off**: SQLite has it open still, so what it holds can
  be written into the database if no other process has written there meanwhile. Everything is opened
  again, with another WAL and another index: processes that have the old ones see by the index that
  they have to do the same. No process writes one WAL into the database after another was begun.
- **The index is another one, or gone**: the WAL has everything, and SQLite makes an index from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import TYPE_CHECKING

from llmemo.stores.base import StoreUnavailableError, StoreUnusableError
from llmemo.stores.sqlite.connection import (
    has_lost_frames,
    has_lost_pages,
    translated,
    wrote_all_back,
)
from llmemo.stores.sqlite.open_files import is_untouched, size_of
from llmemo.stores.sqlite.path_checks import create_folder
from llmemo.stores.sqlite.session import Session, close_all, opened
from llmemo.telemetry.stats import logger

if TYPE_CHECKING:
    from llmemo.stores.sqlite.open_files import DatabaseFiles


class RepairedSession(Session):
    """A session that opens its files again when they were replaced, cut off or damaged."""

    async def mend(self) -> bool:
        """See `Session.mend`."""
        if self.newer or self._is_detached:
            await self._open_sound()
            return False
        opened(self.writer)
        self.files.keep_index()
        if not (self._is_damaged or self._is_readonly) and self.files.are_whole():
            return True
        now = self.files.now()
        if self.files.is_new_database(now) or await self._has_lost_pages(now):
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
            self.files.written_back()
            return True
        return False

    async def _open_empty(self) -> None:
        """Open what was cut off, say, and is sound without what it had."""
        # What is new would wait for the locks of what is old.
        self._is_detached = True
        await close_all(*self._detach())
        await self._open_sound()

    async def _is_set_aside(self) -> bool:
        await self._set_aside(self.identity, "it was found damaged")
        return self.files.is_new_database(self.files.now())

    async def _mend_at_end(self) -> None:
        """The same before everything is closed; nothing is made in the place of what is gone."""
        self.files.keep_index()
        now = self.files.now()
        if self.newer or self._is_detached or self.writer is None or now.database is None:
            return
        if self.files.is_new_database(now):
            async with self.file_lock.held():
                self.files.make_way(self.files.now())
        elif not self.files.are_whole():
            await self.mend()

    async def _follow(self) -> None:
        """Open what has come into the place of the database, or begin with nothing."""
        create_folder(self.path)
        async with self.file_lock.held():
            # Or SQLite would take the WAL of the one that was replaced for that of the new one.
            self.files.make_way(self.files.now())
        reader, writer = self.reader, self.writer
        await self._open()
        # SQLite sees that their file has moved, and leaves the WAL of that name alone.
        await close_all(reader, writer)

    async def _has_lost_pages(self, now: DatabaseFiles) -> bool:
        """Whether the database was cut off; if so, it was set aside."""
        size = size_of(now.database)
        if size >= size_of(self.files.was.database):
            return False
        if size and not await has_lost_pages(opened(self.writer), size):
            return False
        await self._set_aside(self.identity, "it was cut off", is_empty=not size)
        return self.files.is_new_database(self.files.now())

    async def _has_own_wal(self, now: DatabaseFiles) -> bool:
        """Whether WAL and index are those that are open, with all that was in them."""
        if now.wal is None or now.shm is None or not self.files.is_own_index(now):
            return False
        if not self.files.is_cut_wal(now):
            return self.files.is_whole_wal(now)
        before, writer = self._version, opened(self.writer)
        with translated():
            [(self._version,)] = await writer.execute_fetchall("PRAGMA data_version")
        if self._version == before:
            # Other processes had no part in it, and a cut of our own would have been noted.
            return False
        async with self.file_lock.held():
            return not await has_lost_frames(writer, self.files.wal_bytes)

    async def _begin_again(self) -> bool:
        """Save what the WAL holds, if it can be, and begin with another one."""
        self._gap = asyncio.Event()
        try:
            async with self.file_lock.held():
                is_kept = await self._leave()
            self._has_lost = not is_kept
            await self._open_sound()
        finally:
            self._gap.set()
            self._gap = None
        return is_kept

    async def _leave(self) -> bool:
        """Close everything; what is beside the database belongs to it no longer.

        Returns whether nothing is lost. Call it under the file lock.
        """
        now = self.files.now()
        is_kept = await self._is_saved(now)
        reader, writer, self.reader, self.writer = self.reader, self.writer, None, None
        self._is_detached = True
        # The last one to be closed would write its WAL into the database, whatever another process
        # has made of that meanwhile; one that only reads never does.
        self.fast_reader.hold(self.path)
        self.thread_readers.close()
        await close_all(reader, writer)
        self.fast_reader.close()
        self.files.make_way(now)
        fate = "all answers are kept" if is_kept else "answers that only it held are lost"
        text = "llmemo: the WAL or index of %s was removed, replaced or cut off while open: %s"
        logger.warning(text, self.path, fate)
        return is_kept

    async def _is_saved(self, now: DatabaseFiles) -> bool:
        """Whether all that was committed is in the database, or in a WAL that others see."""
        files = self.files
        if files.is_new_database(now) or files.is_cut_wal(now):
            return False
        if not files.is_own_index(now):
            # Another process may have begun. What it does not see is in no file of this name.
            return is_untouched(now.wal, files.was.wal)
        # If the database is as it was, no other process has used another WAL since: one that did
        # would have written that back. Then ours, whether it has a name or not, holds the rest.
        if not is_untouched(now.database, files.was.database):
            return False
        return await wrote_all_back(opened(self.writer))

    async def close(self, now: float) -> None:
        """See `Session.close`."""
        with contextlib.suppress(sqlite3.Error, OSError, StoreUnavailableError, StoreUnusableError):
            await self._mend_at_end()
        reader, writer = self._detach()
        if writer is None or reader is None:
            self.file_lock.close()
            return
        # A holder that has the lock for so long is not writing: better to close without it.
        with contextlib.suppress(sqlite3.Error, OSError, StoreUnavailableError):
            if not self.newer:
                await self._keep_up(writer, now, at_end=True)
        async with contextlib.AsyncExitStack() as locked:
            # Closing the last connection writes the WAL back into the file.
            with contextlib.suppress(OSError, StoreUnavailableError):
                await locked.enter_async_context(self.file_lock.held())
            try:
                await reader.close()
            finally:
                await writer.close()
        self.file_lock.close()

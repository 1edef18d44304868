"""An SQLite store that removes and gives back, and leaves a damaged file where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from llmemo.errors import ConfigurationError
from llmemo.stores.base import StoreRefusedError
from llmemo.stores.sqlite import SQLiteStore
from llmemo.stores.sqlite.repair import RepairedSession
from llmemo.stores.sqlite.session import opened

if TYPE_CHECKING:
    import os

    import aiosqlite

WRITABLE = 0o222
"""Bits of a mode: root may write without them, and is not meant to."""

PAGES = 256
"""Free pages that one transaction gives back: some milliseconds, for which services wait."""

CUT_WAIT = 500
"""Milliseconds for which cutting the WAL waits for what reads from it: no commit passes then."""


class CarefulSession(RepairedSession):
    """A session of a command: to begin a new file is the services' business, or the user's."""

    async def _set_aside(self, *_: object, **__: object) -> NoReturn:
        msg = f"{str(self.path)!r} is damaged: it was left alone; see llmemo verify"
        raise StoreRefusedError(msg)

    async def give_back(self) -> int:
        """Give some free pages back. Returns how many are left."""
        writer = await self._own_writer()
        async with self.file_lock.held():
            with self.watched():
                await writer.execute_fetchall(f"PRAGMA incremental_vacuum({PAGES})")
                await writer.commit()
                [(left,)] = await writer.execute_fetchall("PRAGMA freelist_count")
            self.files.written_back()
        return int(left)

    async def cut_wal(self) -> bool:
        """Write the WAL back and cut it. Returns whether that was possible.

        Under the file lock, as services commit: see docs/decisions/sqlite-wal-reset.md.
        """
        writer = await self._own_writer()
        async with self.file_lock.held():
            with self.watched():
                await writer.execute_fetchall(f"PRAGMA busy_timeout = {CUT_WAIT}")
                [(is_busy, *_)] = await writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
            self.files.written_back()
        return not is_busy

    async def _own_writer(self) -> aiosqlite.Connection:
        """The connection that writes, to the files that have these names now."""
        await self.mend()
        return opened(self.writer)


class CarefulStore(SQLiteStore):
    """See above."""

    session_class = CarefulSession
    _session: CarefulSession

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Find the file, or the place for one.

        Raises:
            ConfigurationError: There can be no store, or it is read-only.
        """
        super().__init__(path)
        if self.path.exists() and not self.path.stat().st_mode & WRITABLE:
            msg = f"{str(self.path)!r} is read-only: change its mode, or name another file"
            raise ConfigurationError(msg)

    async def give_back(self) -> int:
        """See `CarefulSession.give_back`."""
        return await self._session.give_back()

    async def cut_wal(self) -> bool:
        """See `CarefulSession.cut_wal`."""
        return await self._session.cut_wal()

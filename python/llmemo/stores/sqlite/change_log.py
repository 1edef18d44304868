"""The table of changes: what other processes have removed or replaced in the file."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from llmemo.stores.selection_bytes import unpacked

if TYPE_CHECKING:
    from collections.abc import Collection

    import aiosqlite

    from llmemo.stores.records import Selection

CHANGED = "INSERT INTO changes (key, writer) VALUES (?, ?)"
SINCE = "SELECT id, key, writer FROM changes WHERE id >= ? ORDER BY id"
LAST = "SELECT ifnull(max(id), 0) FROM changes"


class ChangeLog:
    """How far the table of changes has been read."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self.writer = b""
        """Marks our own changes."""
        self._pid = 0
        self._seen: int | None = None
        self._version: int | None = None

    async def begin(
        self, reader: aiosqlite.Connection, *, is_first: bool, is_another: bool
    ) -> None:
        """Begin with a connection. Nothing is known of another file than before."""
        [(last,)] = await reader.execute_fetchall(LAST)
        self.start(last, is_first=is_first, is_another=is_another)

    def start(self, last: int, *, is_first: bool, is_another: bool) -> None:
        """The same, once it is known which change is the last one."""
        self._version = None
        if self._pid != os.getpid():
            # What a fork copied is a writer of its own.
            self.writer, self._pid = secrets.token_bytes(8), os.getpid()
        if is_first or is_another:
            self._seen = last if is_first else None

    async def others(self, reader: aiosqlite.Connection) -> Collection[bytes | Selection] | None:
        """What other processes have changed since the last call; None for everything."""
        # Of one connection it changes only with what others commit (sqlite.org/pragma.html).
        [(version,)] = await reader.execute_fetchall("PRAGMA data_version")
        seen = self._seen
        if seen is not None and version == self._version:
            return ()
        rows = list(await reader.execute_fetchall(SINCE, (seen or 0,)))
        self._version, self._seen = version, rows[-1][0] if rows else 0
        # The last one that was seen is there still, unless changes after it are gone too.
        if seen is None or (seen and not (rows and rows[0][0] == seen)):
            return None
        changed = [key for id_, key, writer in rows if id_ != seen and writer != self.writer]
        return None if None in changed else [unpacked(key) for key in changed]

"""What keeps an SQLite store's files within their bounds, a little at a time."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING

from llmemo.stores.sqlite.connection import BUSY_TIMEOUT, WAL_BYTES
from llmemo.stores.sqlite.eviction import ROWS, Eviction

if TYPE_CHECKING:
    from pathlib import Path

    import aiosqlite

WAL_BYTES_MAX = 32 * 2**20
"""A WAL that is larger, since it is always being read, is made to begin again."""

RESTART_WAIT = 500
"""Milliseconds for which that may wait for readers."""

PAUSE = 1.0
"""Seconds between two looks at sizes and times."""

NOTES_PAUSE = 60.0
"""Seconds for which uses are gathered before they are written down."""

NOTES_MAX = 10_000
"""Uses that are gathered, at most."""

PAGES = 256
"""Free pages that one transaction gives back."""

BUDGET = 0.05
"""Seconds after which the rest is left for the next time."""

FREE = 0.25
"""Part of a file that may be free: what was removed makes room for what comes."""

CHANGES, LEAST_CHANGES, CHANGES_SHARE = 10_000, 256, 1_024
"""Changes that other processes may still ask for; where the file has a bound, fewer: one for so
many bytes of it. A process that asks for more forgets all."""

CHANGES_AT_ONCE = 4_096
"""Changes that one transaction removes."""

LOOK = """
SELECT EXISTS (SELECT 1 FROM entries WHERE expires <= ?),
    ifnull((SELECT max(id) FROM changes) - (SELECT min(id) FROM changes), 0),
    page_count, freelist_count, page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""
EXPIRED = """
DELETE FROM entries WHERE id IN
    (SELECT id FROM entries WHERE expires <= ? ORDER BY expires LIMIT ?)
"""
OLD_CHANGES = """
DELETE FROM changes WHERE id <= (SELECT max(id) FROM changes) - ?
    AND id < (SELECT min(id) FROM changes) + ?
"""


class Upkeep:
    """What is due, and when it was done last. Its methods are called under the file lock."""

    def __init__(self, wal: Path, max_bytes: int | None) -> None:
        """For the file with this WAL; `max_bytes`: what the file may take, or None."""
        self._wal = wal
        self._max_bytes = max_bytes
        self._changes = CHANGES
        if max_bytes is not None:
            self._changes = min(CHANGES, max(LEAST_CHANGES, max_bytes // CHANGES_SHARE))
        self.eviction = Eviction(max_bytes)
        self._looked = self._noted = self._restarted = time.monotonic()
        self._has_more = False

    def has_to_follow(self, size: int, wal_bytes: int) -> bool:
        """Note a write of about `size` bytes. Returns whether to call `after_write`."""
        self.eviction.wrote(size)
        return self.eviction.has_to_look or wal_bytes > WAL_BYTES

    async def after_write(self, writer: aiosqlite.Connection, wal_bytes: int) -> bool:
        """Keep the file and its WAL, of this size, small. Returns whether that took any writing."""
        has_made_room = await self.eviction.make_room(writer)
        return await self._checkpoint(writer, wal_bytes) or has_made_room

    async def _checkpoint(
        self, writer: aiosqlite.Connection, size: int, *, cuts: bool = False
    ) -> bool:
        """Write the WAL back if it is large; `cuts`: and cut it at once, if nothing reads it."""
        if size <= WAL_BYTES:
            return False
        # Waits for no reader. Complete if there is none: then the next commit restarts the WAL.
        await writer.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
        now = time.monotonic()
        if size > WAL_BYTES_MAX and now - self._restarted > PAUSE:
            # There was always a reader. This keeps writers out until the readers have left; a new
            # reader has no need of the WAL, all of which is in the file by then.
            self._restarted = now
            await _begun_anew(writer, "RESTART", wait=RESTART_WAIT)
        if cuts:
            # There may be no next commit, and until then neither it nor the file gets smaller.
            await _begun_anew(writer, "TRUNCATE", wait=0)
        return True

    async def run(self, writer: aiosqlite.Connection, now: float, *, at_end: bool = False) -> None:
        """Do what is due, for about `BUDGET` seconds at most; `now`: Unix time in seconds."""
        start = time.monotonic()
        is_time = at_end or start - self._noted > NOTES_PAUSE
        if self.eviction.uses and (is_time or len(self.eviction.uses) > NOTES_MAX):
            self._noted = start
            await self.eviction.write_uses(writer)
        if at_end or not (self._has_more or start - self._looked > PAUSE):
            return
        self._looked = start
        self._has_more = True
        while time.monotonic() - start < BUDGET:
            if not await self._step(writer, now):
                self._has_more = False
                break
        with contextlib.suppress(OSError):
            await self._checkpoint(writer, self._wal.stat().st_size, cuts=True)

    async def _step(self, writer: aiosqlite.Connection, now: float) -> bool:
        """Remove some of what has to go. Returns whether there may be more."""
        look = await writer.execute_fetchall(LOOK, (now,))
        [(has_expired, changes, pages, free, page_bytes)] = look
        surplus = self.eviction.surplus(pages, free, page_bytes)
        bound = self._max_bytes or math.inf
        if has_expired:
            await writer.execute(EXPIRED, (now, ROWS))
        elif changes >= self._changes + ROWS:
            await writer.execute(OLD_CHANGES, (self._changes, CHANGES_AT_ONCE))
        elif self.eviction.is_on:
            await self.eviction.evict(writer, surplus)
        elif free > 0 and (pages * page_bytes > bound or free > pages * FREE):
            await writer.execute_fetchall(f"PRAGMA incremental_vacuum({PAGES})")
        else:
            return False
        await writer.commit()
        return True


async def _begun_anew(writer: aiosqlite.Connection, how: str, *, wait: int) -> None:
    """Have the WAL begin again; waits for its readers for `wait` milliseconds at most."""
    await writer.execute_fetchall(f"PRAGMA busy_timeout = {wait}")
    try:
        await writer.execute_fetchall(f"PRAGMA wal_checkpoint({how})")
    finally:
        await writer.execute_fetchall(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1_000)}")

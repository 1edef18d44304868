"""Eviction from an SQLite file: the least recently used answers make room under its bound."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmemo.stores.sqlite.schema import REMOVED

if TYPE_CHECKING:
    from collections.abc import Iterable

    import aiosqlite

ROWS = 256
"""Rows that one transaction removes: a few milliseconds' work."""

SPARE = 0.05
"""Part of the bound that eviction frees at once, so that not every write begins it again."""

LOOKS = 16
"""Looks at the size while `SPARE` is written, where writes never pause."""

NOTED_BEFORE_EVICTION = 4
"""Times that `ROWS` of the least used may turn out to be in use before other rows are removed."""

SIZES = """
SELECT page_count, freelist_count, page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""
# The least recently used rows that together free the bytes asked for. A row takes 200 bytes beside
# its content, and so does its question.
LEAST_USED = """
DELETE FROM entries WHERE id IN (
    SELECT id FROM (
        SELECT id, size, sum(size) OVER (ORDER BY used, id) AS freed FROM (
            SELECT id, used,
                length(value) + length(outline) + ifnull(length(request), 0) + 200 + ifnull(
                    (SELECT length(sealed) + 200 FROM questions WHERE key = entries.key), 0
                ) AS size
            FROM entries ORDER BY used, id LIMIT ?
        )
    ) WHERE freed - size < ?
)
"""
LEAST_USED_KEYS = "SELECT key FROM entries ORDER BY used, id LIMIT ?"
USED = "UPDATE entries SET used = max(used, ?) WHERE key = ?"


class Eviction:
    """Which answers were used, and how much has to go."""

    def __init__(self, max_bytes: int | None) -> None:
        """Begin with no uses. `max_bytes`: what the file may take, or None."""
        self._max_bytes = max_bytes
        self.is_on = False
        """Whether it has begun, and has yet to free `SPARE`."""
        self.uses: dict[bytes, float] = {}
        """Unix times of uses that are not written down yet, by key."""
        self._unseen = 0
        """Bytes that were written since the last look at the size."""

    def saw(self, keys: Iterable[bytes], now: float) -> None:
        """Remember that these records were used; `now`: Unix time in seconds."""
        if self._max_bytes is not None:
            self.uses.update(dict.fromkeys(keys, now))

    def wrote(self, size: int) -> None:
        """Note a write of about `size` bytes."""
        self._unseen += size

    @property
    def has_to_look(self) -> bool:
        """Whether `make_room` has anything to do."""
        return self._max_bytes is not None and self._unseen * LOOKS >= self._max_bytes * SPARE

    async def make_room(self, writer: aiosqlite.Connection) -> bool:
        """Keep the bound where writes leave no time for `Upkeep`: remove twice what they add."""
        if not self.has_to_look:
            return False
        room, self._unseen = 2.0 * self._unseen, 0
        before = math.inf
        while room > 0:
            [sizes] = await writer.execute_fetchall(SIZES)
            surplus = self.surplus(*sizes)
            if not self.is_on or surplus >= before:
                break
            if before < math.inf:
                room -= before - surplus
            before = surplus
            await self.evict(writer, min(surplus, room))
            await writer.commit()
        return before < math.inf

    async def evict(self, writer: aiosqlite.Connection, room: float) -> None:
        """Remove the least recently used answers, for about `room` bytes.

        Uses that are not written down yet count.
        """
        for _ in range(NOTED_BEFORE_EVICTION):
            if not self.uses:
                break
            least = await writer.execute_fetchall(LEAST_USED_KEYS, (ROWS,))
            used = [(self.uses.pop(key), key) for (key,) in least if key in self.uses]
            if not used:
                break
            await writer.executemany(USED, used)
        await writer.execute(REMOVED)
        await writer.execute(LEAST_USED, (ROWS, room))

    def surplus(self, pages: int, free: int, page_bytes: int) -> float:
        """Bytes to remove once eviction has begun. Also decides whether it is on."""
        bound = self._max_bytes or math.inf
        spare = bound * SPARE
        surplus = (pages - free) * page_bytes - (bound - spare)
        self.is_on = surplus > (0 if self.is_on else spare)
        return surplus

    async def write_uses(self, writer: aiosqlite.Connection) -> None:
        """Write down which answers were used."""
        uses, self.uses = self.uses, {}
        await writer.executemany(USED, [(used, key) for key, used in uses.items()])
        await writer.commit()

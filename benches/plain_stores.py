"""What is below a cache in a file: SQLite alone, and diskcache, which pickles.

Neither has a method of its own for tasks, nor does it need one: a read takes microseconds. Both are
LangChain caches here as a user would write one in ten lines.
"""

from __future__ import annotations

import hashlib
import sqlite3
from typing import TYPE_CHECKING, Any

import diskcache  # type: ignore[import-untyped]
from langchain_core.caches import BaseCache

from llmemo._core import decode, encode

if TYPE_CHECKING:
    from pathlib import Path

    from langchain_core.caches import RETURN_VAL_TYPE


class PlainSQLite(BaseCache):
    """One SELECT by a primary key for each lookup, and llmemo's codec: as fast as it can be."""

    def __init__(self, path: Path) -> None:
        """Open a file, or make one."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB)"
        )

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        key = self._key(prompt, llm_string)
        row = self._connection.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
        return None if row is None else decode(row[0], key)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        key = self._key(prompt, llm_string)
        value = encode(return_val, key)
        self._connection.execute("REPLACE INTO entries VALUES (?, ?)", (key, value))

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        return self.lookup(prompt, llm_string)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        self.update(prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        self._connection.execute("DELETE FROM entries")

    def close(self) -> None:
        self._connection.close()

    def _key(self, prompt: str, llm_string: str) -> bytes:
        return hashlib.sha256(f"{llm_string}\0{prompt}".encode()).digest()


class DiskCache(BaseCache):
    """diskcache, with its defaults."""

    def __init__(self, folder: Path) -> None:
        """Open a folder, or make one."""
        self._cache = diskcache.Cache(str(folder))

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        found: RETURN_VAL_TYPE | None = self._cache.get((prompt, llm_string))
        return found

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        self._cache.set((prompt, llm_string), return_val)

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        return self.lookup(prompt, llm_string)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        self.update(prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        self._cache.clear()

    def close(self) -> None:
        self._cache.close()

"""An SQLite store with a hundred records."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from llmemo import SQLiteStore
from llmemo.stores import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RECORDS = 100


def record(number: int) -> Record:
    """One of them, by its number from 0; or one more."""
    key = number.to_bytes(32, "big")
    return Record(key, b"value %d" % number, b"n" * 16, b"l" * 16, float(number), None)


@asynccontextmanager
async def filled(folder: Path) -> AsyncIterator[SQLiteStore]:
    """The store, open, in a file of this folder."""
    store = SQLiteStore(folder / "cache.db")
    await store.open()
    await store.set([record(number) for number in range(RECORDS)])
    yield store
    await store.close()

"""The SQLite tier: one file, WAL, one connection that reads and one that writes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import aiosqlite

from llmemo import _core
from llmemo.errors import ConfigurationError
from llmemo.stores.base import Record, Store, StoreUnavailableError
from llmemo.stores.sqlite_file import check_file, check_header
from llmemo.stores.sqlite_schema import COLUMNS, RECENT, UPSERT, check_version, create_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

KEYS_PER_QUERY = 256
"""Most keys that one SELECT asks for; a power of two, see `_padded`."""

ROWS_PER_QUERY = 500
"""Rows that one query lists: some milliseconds' work, for which reads have to wait."""

BUSY_TIMEOUT = 5.0
"""Seconds for which SQLite itself waits on another process's lock before we are told."""

BUSY_PAUSE = 0.02
"""Seconds between attempts at what SQLite does not wait for."""

PRAGMAS = {
    # A commit appends to the WAL and returns; readers are never in the way of the writer.
    "journal_mode": "WAL",
    # Half of all pages may be spent on rows being replaced: give the WAL's space back.
    "journal_size_limit": str(64 * 2**20),
    # A page that was damaged on disk should be an error, not a wrong row.
    "cell_size_check": "ON",
    # A file from elsewhere may bring triggers and views: they get no functions with effects.
    "trusted_schema": "OFF",
    # Memory-mapped pages turn a truncated file into SIGBUS: see sqlite.org/mmap.html.
    "mmap_size": "0",
}
SYNCHRONOUS = {
    # Survives kill -9 at any moment; a power loss may take the last commits (sqlite.org/wal.html).
    "normal": "NORMAL",
    # One fsync a commit: survives power loss too.
    "full": "FULL",
}


class SQLiteStore(Store):
    """Answers in an SQLite file that several threads, event loops and processes may share.

    Args:
        path: The file; `~` is expanded and the path made absolute at once. It is created, with
            mode 0600, at first use; its folder has to exist.
        durability: "normal" survives the process being killed at any moment; "full" also
            survives loss of power, at the price of an fsync for each batch of writes.
        store_requests: Keep each request beside its answer, in clear: column `request`, a JSON list
            of namespace, llm_string and prompt. `LLMCache.explain` can then say in words what
            differs, after a restart too. Without it the file holds digests of requests only; an
            llm_string may hold headers, and these may hold tokens.

    Raises:
        ConfigurationError: The path is a folder, or lies in one that is missing or not writable,
            `durability` is neither word, or `store_requests` is no bool.
        NotACacheError: The file is not an SQLite database, or not one of ours.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Literal["normal", "full"] = "normal",
        store_requests: bool = False,
    ) -> None:
        """Check the arguments; nothing is created before first use."""
        if durability not in SYNCHRONOUS:
            msg = f'durability={durability!r} is not known: it is "normal" or "full"'
            raise ConfigurationError(msg)
        if not isinstance(store_requests, bool):
            msg = f"store_requests={store_requests!r} is not allowed: True or False"
            raise ConfigurationError(msg)
        self.store_requests = store_requests
        self.path = check_file(path)
        self.durability = durability
        self._reader: aiosqlite.Connection | None = None
        self._writer: aiosqlite.Connection | None = None

    def __repr__(self) -> str:
        """Path and settings."""
        return f"SQLiteStore({str(self.path)!r}, durability={self.durability!r})"

    async def open(self) -> None:
        """Create the file if it is missing, and open it."""
        if self._writer is not None:
            # Left open by a fork that could not wait: see `process`.
            _core.leak((self._reader, self._writer))
        # Before SQLite sees the file: opening one of a newer schema could already change it.
        check_version(check_header(self.path))
        # SQLite gives -wal and -shm the mode of the database, so this decides for all three.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        try:
            self._writer = await self._connect_patiently(create=True)
            self._reader = await self._connect_patiently(create=False)
        except BaseException:
            await self.close()
            raise

    async def _connect_patiently(self, *, create: bool) -> aiosqlite.Connection:
        # The switch to WAL, and whatever meets another process's switch, is refused at once:
        # SQLite's own timeout does not cover it (sqlite.org/c3ref/busy_handler.html).
        clock = asyncio.get_running_loop().time
        deadline = clock() + BUSY_TIMEOUT
        while True:
            try:
                return await self._connect(create=create)
            except StoreUnavailableError:
                if clock() > deadline:
                    raise
            await asyncio.sleep(BUSY_PAUSE)

    async def _connect(self, *, create: bool) -> aiosqlite.Connection:
        # IMMEDIATE: a transaction that begins as a reader and turns writer fails at once with
        # SQLITE_BUSY_SNAPSHOT, whatever the timeout (sqlite.org/isolation.html).
        connection = await aiosqlite.connect(
            self.path, timeout=BUSY_TIMEOUT, isolation_level="IMMEDIATE"
        )
        try:
            with _translated():
                if create:
                    await create_schema(connection)
                for name, value in PRAGMAS.items():
                    await connection.execute_fetchall(f"PRAGMA {name} = {value}")
                level = SYNCHRONOUS[self.durability]
                await connection.execute_fetchall(f"PRAGMA synchronous = {level}")
        except BaseException:
            await connection.close()
            raise
        return connection

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        """See `Store.get`."""
        reader = _opened(self._reader)
        found = {}
        for start in range(0, len(keys), KEYS_PER_QUERY):
            chunk = _Unprinted(_padded(keys[start : start + KEYS_PER_QUERY]))
            marks = ", ".join("?" * len(chunk))
            query = f"SELECT {COLUMNS} FROM entries WHERE key IN ({marks})"  # noqa: S608
            with _translated():
                rows = await reader.execute_fetchall(query, chunk)
            found.update({row[0]: Record(*row) for row in rows})
        return found

    async def recent(self, limit: int) -> Sequence[Record]:
        """See `Store.recent`."""
        reader = _opened(self._reader)
        found: list[Record] = []
        before = 2**63 - 1
        while len(found) < limit:
            size = min(ROWS_PER_QUERY, limit - len(found))
            with _translated():
                rows = list(await reader.execute_fetchall(RECENT, (before, size)))
            found.extend(Record(*row[1:]) for row in rows)
            if len(rows) < size:
                break
            before = rows[-1][0]
        return found

    async def set(self, records: Sequence[Record]) -> None:
        """See `Store.set`."""
        await self._transaction(UPSERT, list(records))

    async def delete(self, keys: Sequence[bytes] | None) -> int:
        """See `Store.delete`."""
        if keys is None:
            return await self._transaction("DELETE FROM entries", [()])
        return await self._transaction("DELETE FROM entries WHERE key = ?", [(k,) for k in keys])

    async def discard(self, records: Sequence[Record]) -> None:
        """See `Store.discard`."""
        rows = [(record.key, record.value) for record in records]
        await self._transaction("DELETE FROM entries WHERE key = ? AND value = ?", rows)

    async def _transaction(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run a statement for each row, all of them or none. Returns how many rows it touched."""
        writer = _opened(self._writer)
        with _translated():
            try:
                # sqlite3 sends BEGIN IMMEDIATE by itself (isolation_level): a thread hop less.
                cursor = await writer.executemany(statement, _Unprinted(rows))
                await writer.commit()
            except BaseException:
                await writer.rollback()
                raise
        return cursor.rowcount

    async def close(self) -> None:
        """See `Store.close`."""
        # The writer last: closing the last connection writes the WAL back into the file.
        reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        try:
            if reader is not None:
                await reader.close()
        finally:
            if writer is not None:
                await writer.close()


class _Unprinted(list[Any]):
    """What a statement is given. aiosqlite logs it (at level DEBUG), and answers are among it."""

    def __repr__(self) -> str:
        """How much it is."""
        return f"<{len(self)} given>"


def _opened(connection: aiosqlite.Connection | None) -> aiosqlite.Connection:
    if connection is None:
        msg = "the store is not open"
        raise StoreUnavailableError(msg)
    return connection


def _padded(keys: Sequence[bytes]) -> list[bytes]:
    """Fill up to a power of two with the last key, so that few statements serve all batches.

    sqlite3 caches prepared statements by their text; a text for every number of keys would
    make it prepare most of them anew.
    """
    size = 1 << (len(keys) - 1).bit_length()
    return [*keys, *[keys[-1]] * (size - len(keys))]


@contextmanager
def _translated() -> Iterator[None]:
    """Tell what may pass (a lock held by another process) from what will not."""
    try:
        yield
    except sqlite3.OperationalError as error:
        # `sqlite_errorcode` came with Python 3.11; the messages are stable.
        if "locked" in str(error) or "busy" in str(error):
            raise StoreUnavailableError(str(error)) from error
        raise

"""The SQLite tier: one file, WAL, one connection that reads and one that writes."""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from llmemo import _core
from llmemo.arguments import check_whole
from llmemo.errors import ConfigurationError
from llmemo.stores.base import Record, Selection, Store, StoreUnavailableError, StoreUnusableError
from llmemo.stores.sqlite_changes import CHANGED, Changes
from llmemo.stores.sqlite_connection import (
    BUSY_TIMEOUT,
    SYNCHRONOUS,
    committed,
    connect,
    in_one_step,
    is_damage,
    is_sound,
    translated,
)
from llmemo.stores.sqlite_file import (
    check_file,
    check_header,
    check_inherited,
    create_file,
    identity_of,
    inherit,
    is_ours,
    set_aside,
    set_wal_aside,
    wal_of,
    warn_of_network,
)
from llmemo.stores.sqlite_guard import Guard
from llmemo.stores.sqlite_leases import SQLiteLeases
from llmemo.stores.sqlite_reading import Quick, queries
from llmemo.stores.sqlite_removal import Sweep
from llmemo.stores.sqlite_rows import record_of, size_of
from llmemo.stores.sqlite_schema import (
    ADD,
    ADDED_AT_ONCE,
    RECENT,
    REMOVED,
    UPSERT,
    check_version,
)
from llmemo.stores.sqlite_upkeep import Upkeep

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import aiosqlite

T = TypeVar("T")

ROWS_PER_QUERY = 500
"""Rows that one query lists: some milliseconds' work, for which reads have to wait."""

LEAST_BYTES = 256 * 1024
"""A bound on the file that leaves room for its own bookkeeping."""


class SQLiteStore(Store):
    """Answers in an SQLite file that several threads, event loops and processes may share.

    Args:
        path: The file; `~` is expanded and the path made absolute at once. It is created, with
            mode 0600, at first use; its folder has to exist.
        durability: "normal" survives the process being killed at any moment; "full" also
            survives loss of power, at the price of an fsync for each batch of writes.
        max_store_bytes: Bound on what the file holds, in bytes; the least recently used answers are
            removed. None for no bound. The WAL beside the file may take 64 MiB more for a while.
        store_requests: Keep each request beside its answer, in clear: column `request`, a JSON list
            of namespace, llm_string and prompt. `LLMCache.explain` can then say in words what
            differs, after a restart too. Without it the file holds digests of requests only; an
            llm_string may hold headers, and these may hold tokens.

    Raises:
        ConfigurationError: The path is a folder, or lies in one that is missing or not writable,
            or another argument is not one of those allowed.
        NotACacheError: The file is not an SQLite database, or not one of ours.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_store_bytes: int | None = None,
        durability: Literal["normal", "full"] = "normal",
        store_requests: bool = False,
    ) -> None:
        """Check the arguments; nothing is created before first use."""
        if not isinstance(durability, str) or durability not in SYNCHRONOUS:
            msg = f'durability={durability!r} is not known: it is "normal" or "full"'
            raise ConfigurationError(msg)
        if not isinstance(store_requests, bool):
            msg = f"store_requests={store_requests!r} is not allowed: True or False"
            raise ConfigurationError(msg)
        if max_store_bytes is not None:
            check_whole("max_store_bytes", max_store_bytes, least=LEAST_BYTES)
        self.store_requests = store_requests
        self.path = check_file(path)
        self.durability = durability
        self.max_store_bytes = max_store_bytes
        self.counts_uses = max_store_bytes is not None
        self._reader: aiosqlite.Connection | None = None
        self._writer: aiosqlite.Connection | None = None
        self._quick = Quick()
        self._wal = wal_of(self.path)
        self._upkeep = Upkeep(self._wal, max_store_bytes)
        self._guard = Guard(self.path, BUSY_TIMEOUT)
        self._changes = Changes()
        self._sweeps: dict[int, Sweep] = {}
        """By the identity of what they were asked for."""
        self._identity: object = None
        """Of the file that is open."""
        self._wal_identity: object = None
        """Of the WAL that belongs to it."""
        self._is_damaged = False
        self._is_detached = False
        """Whether there is nothing open, until the next write opens it anew."""
        self._leases = self.leases = SQLiteLeases(
            look=self._look, commit=self._commit, row=self._row, clock=self._now
        )
        self._is_readonly = False
        """Whether SQLite opened it for reading only, as it does where it may not write: then."""
        self._newer = 0
        """The version of its schema, since it was found to be of a newer llmemo while open."""

    def __repr__(self) -> str:
        """Path and settings. Never raises."""
        try:
            return f"SQLiteStore({str(self.path)!r}, durability={self.durability!r})"
        except AttributeError:  # half-made
            return "<SQLiteStore>"

    async def open(self) -> None:
        """Create the file if it is missing, and open it; set it aside first if it is damaged."""
        left = self._reader, self._writer, self._quick.forget()
        if any(left):
            # Open since a fork that could not wait: see `process`.
            _core.leak(left)
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
        # Before SQLite sees the file: opening one of a newer schema could already change it.
        check_version(check_header(self.path))
        create_file(self.path)
        async with self._guard.committing(), contextlib.AsyncExitStack() as undo:
            writer = await connect(self.path, self.durability)
            undo.push_async_callback(writer.close)
            reader = await connect(self.path, self.durability)
            undo.push_async_callback(reader.close)
            self._quick.open(self.path)
            undo.callback(self._quick.close)
            identity, before = identity_of(self.path), self._identity
            with translated():
                await self._changes.begin(
                    reader, is_first=before is None, is_another=identity != before
                )
            undo.pop_all()
        self._identity, self._wal_identity = identity, identity_of(self._wal)
        self._is_damaged = self._is_readonly = self._is_detached = False
        self._newer = 0
        self._reader, self._writer = reader, writer
        self._leases.reopened()

    async def _mend(self) -> None:
        """Open anew what was deleted, replaced or damaged while it was open, or not for writing."""
        if self._newer or self._is_detached:
            await self._open_sound()
        reader, writer = self._reader, _opened(self._writer)
        if self._is_damaged:
            await self._set_aside(self._identity, "it was found damaged")
        identity = identity_of(self.path)
        if identity == self._identity:
            if self._is_damaged:
                # It was cut off, say, and is sound without what it had. What is new would wait for
                # the locks of what is old.
                self._is_detached = True
                await _closed(*self._detach())
                await self._open_sound()
                return
            if not self._is_readonly:
                return
        elif identity is not None:
            # Or SQLite would take the WAL of the one that was replaced for that of the new one.
            async with self._guard.held():
                if identity_of(self._wal) == self._wal_identity:
                    set_wal_aside(self.path)
        await self._open()
        # SQLite sees that their file has moved, and leaves the WAL of that name alone.
        await _closed(reader, writer)

    def _detach(self) -> tuple[aiosqlite.Connection | None, aiosqlite.Connection | None]:
        """Have nothing open any more; the caller closes what was."""
        reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        self._quick.close()
        return reader, writer

    async def _set_aside(self, found: object, reason: object) -> None:
        async with self._guard.held():
            # Another process may have been first.
            if identity_of(self.path) == found and not await is_sound(self.path):
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

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        """See `Store.get`."""
        check_version(self._newer)
        reader = _opened(self._reader)
        found: dict[bytes, Record] = {}
        for query, chunk in queries(keys):
            with self._watched():
                rows = await reader.execute_fetchall(query, chunk)
            found.update((row[0], record_of(row)) for row in rows)
        self._upkeep.saw(found, self.clock())
        return found

    def get_at_once(self, keys: Sequence[bytes]) -> Mapping[bytes, Record] | None:
        """See `Store.get_at_once`."""
        # Whoever has put another `get` in its place is not to be passed over.
        if self._newer or type(self).get is not GET or "get" in vars(self):
            return None
        found = self._quick.get(keys)
        if found:
            self._upkeep.saw(found, self.clock())
        return found

    async def recent(self, limit: int) -> Sequence[Record]:
        """See `Store.recent`."""
        check_version(self._newer)
        reader = _opened(self._reader)
        found: list[Record] = []
        before = 2**63 - 1
        while len(found) < limit:
            size = min(ROWS_PER_QUERY, limit - len(found))
            with self._watched():
                rows = list(await reader.execute_fetchall(RECENT, (before, size)))
            found.extend(Record(*row[1:]) for row in rows)
            if len(rows) < size:
                break
            before = rows[-1][0]
        return found

    async def changes(self) -> Collection[bytes | Selection] | None:
        """See `Store.changes`."""
        if self._newer:
            return ()
        is_same = identity_of(self.path) == self._identity
        with self._watched():
            changed = await self._changes.others(_opened(self._reader))
        return changed if is_same else None

    async def set(self, records: Sequence[Record]) -> None:
        """See `Store.set`."""
        rows = [self._row(record) for record in records]
        await self._transaction((UPSERT, rows), size=sum(map(size_of, records)))

    def _row(self, record: Record) -> tuple[Any, ...]:
        return (*record, record.created, self._changes.writer)

    async def add(self, records: Sequence[Record]) -> int:
        """See `Store.add`."""
        now = self.clock()
        rows = [self._row(record) for record in records]
        border = len(rows) - len(rows) % ADDED_AT_ONCE
        together = [
            (*chain.from_iterable(rows[at : at + ADDED_AT_ONCE]), now)
            for at in range(0, border, ADDED_AT_ONCE)
        ]
        rest = [(*row, now) for row in rows[border:]]
        steps = (ADD[ADDED_AT_ONCE], together), (ADD[1], rest)
        return sum(await self._transaction(*steps, size=sum(map(size_of, records))))

    async def delete(self, keys: Sequence[bytes] | None) -> int:
        """See `Store.delete`."""
        if keys is None:
            everything: Sequence[tuple[Any, ...]] = [()]
            touched = await self._transaction(
                ("DELETE FROM entries", everything), (CHANGED, [(None, self._changes.writer)])
            )
        else:
            touched = await self._transaction(
                ("DELETE FROM entries WHERE key = ?", [(key,) for key in keys]),
                (CHANGED, [(key, self._changes.writer) for key in keys]),
            )
        return touched[0]

    async def invalidate(self, selection: Selection) -> int | None:
        """See `Store.invalidate`."""
        await self._mend()
        sweep = self._sweeps.pop(id(selection), None) or Sweep(selection, self._changes.writer)
        await sweep.rest()
        try:
            with self._watched():
                steps = await sweep.look(_opened(self._reader))
            sweep.done((await self._transaction(*steps))[0] if steps else 0)
        except StoreUnavailableError:
            self._sweeps[id(selection)] = sweep
            raise
        if sweep.is_over:
            return sweep.removed
        self._sweeps[id(selection)] = sweep
        return None

    async def discard(self, records: Sequence[Record]) -> None:
        """See `Store.discard`."""
        rows = [(record.key, record.value) for record in records]
        await self._transaction(
            ("DELETE FROM entries WHERE key = ? AND value = ?", rows), (REMOVED, [()])
        )

    async def _transaction(
        self, *steps: tuple[str, Sequence[tuple[Any, ...]]], size: int = 0
    ) -> list[int]:
        """Run statements for their rows, all or none. Returns how many rows each touched.

        `size`: about how many bytes they bring.
        """

        def work(connection: sqlite3.Connection) -> list[int]:
            counts = [connection.executemany(step, rows).rowcount for step, rows in steps]
            return [max(count, 0) for count in counts]  # -1: there were none

        return await self._commit(work, size)

    async def _after_write(self, writer: aiosqlite.Connection, size: int) -> None:
        # It is committed, whatever becomes of the WAL.
        with contextlib.suppress(sqlite3.Error, StoreUnavailableError), self._watched():
            try:
                await self._upkeep.after_write(writer, size)
            except BaseException:
                await writer.rollback()
                raise

    def _now(self) -> float:
        # The cache sets its clock after the store was made.
        return self.clock()

    async def _commit(self, work: Callable[[sqlite3.Connection], T], size: int = 0) -> T:
        """Run a function in one transaction, which writes about `size` bytes."""
        await self._mend()
        writer = _opened(self._writer)
        async with self._guard.committing():
            with self._watched():
                result = await in_one_step(writer, lambda connection: committed(connection, work))
            await self._after_write(writer, size)
        return result

    async def _look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        check_version(self._newer)
        with self._watched():
            return await in_one_step(_opened(self._reader), work)

    def saw(self, keys: Collection[bytes]) -> None:
        """See `Store.saw`."""
        self._upkeep.saw(keys, self.clock())

    def left_open(self) -> None:
        """See `Store.left_open`."""
        self._guard.close()
        inherit(self._identity, identity_of(self.path))

    async def upkeep(self) -> None:
        """See `Store.upkeep`."""
        await self._mend()
        writer = _opened(self._writer)
        with self._watched():
            [(version,)] = await writer.execute_fetchall("PRAGMA user_version")
        try:
            check_version(version)
        except StoreUnusableError:
            self._newer = version
            await self.close()
            raise
        await self._keep_up(writer, at_end=False)

    async def _keep_up(self, writer: aiosqlite.Connection, *, at_end: bool) -> None:
        async with self._guard.committing():
            with self._watched():
                try:
                    await self._upkeep.run(writer, self.clock() - self.grace, at_end=at_end)
                except BaseException:
                    await writer.rollback()
                    raise

    async def close(self) -> None:
        """See `Store.close`."""
        reader, writer = self._detach()
        if writer is None or reader is None:
            return
        # Who holds the guard for so long is not writing: better to close without it than never.
        with contextlib.suppress(sqlite3.Error, StoreUnavailableError):
            if not self._newer:
                await self._keep_up(writer, at_end=True)
        async with contextlib.AsyncExitStack() as guarded:
            # Closing the last connection writes the WAL back into the file.
            with contextlib.suppress(StoreUnavailableError):
                await guarded.enter_async_context(self._guard.committing())
            try:
                await reader.close()
            finally:
                await writer.close()
        self._guard.close()


GET = SQLiteStore.get


async def _closed(*connections: aiosqlite.Connection | None) -> None:
    """Close connections in whose place there are others: how that goes is of no consequence."""
    for connection in connections:
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                await connection.close()


def _opened(connection: aiosqlite.Connection | None) -> aiosqlite.Connection:
    if connection is None:
        msg = "the store is not open"
        raise StoreUnavailableError(msg)
    return connection

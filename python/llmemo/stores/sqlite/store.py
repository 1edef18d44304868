"""The SQLite tier: one file, WAL, one connection that reads and one that writes."""

from __future__ import annotations

import contextlib
import sqlite3
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from llmemo import _core
from llmemo.config.validation import check_flag, check_whole
from llmemo.errors import ConfigurationError, StoreError
from llmemo.stores.base import Record, Selection, StoreUnavailableError, StoreUnusableError
from llmemo.stores.sqlite.change_log import CHANGED
from llmemo.stores.sqlite.connection import SYNCHRONOUS
from llmemo.stores.sqlite.fast_reads import queries
from llmemo.stores.sqlite.file import check_file, identity_of, inherit, wal_of
from llmemo.stores.sqlite.leases import SQLiteLeaseStore
from llmemo.stores.sqlite.open_files import size_of as size_of_file
from llmemo.stores.sqlite.read_only import (
    REMOVAL_REFUSED,
    WRITE_REFUSED,
    ReadOnlyFile,
    check_read_only,
    refuse_options,
)
from llmemo.stores.sqlite.repair import Mending
from llmemo.stores.sqlite.rows import record_of, size_of
from llmemo.stores.sqlite.schema import (
    ADD,
    ADDED_AT_ONCE,
    RECENT,
    REMOVED,
    UPSERT,
    check_version,
)
from llmemo.stores.sqlite.session import opened
from llmemo.stores.sqlite.sweep import Sweep
from llmemo.stores.sqlite.upkeep import Upkeep

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping, Sequence

    import aiosqlite

T = TypeVar("T")

ROWS_PER_QUERY = 500
"""Rows that one query lists: some milliseconds' work, for which reads have to wait."""

LEAST_BYTES = 256 * 1024
"""A bound on the file that leaves room for its own bookkeeping."""


class SQLiteStore(Mending):
    """Answers in an SQLite file that several threads, event loops and processes may share.

    Args:
        path: The file; `~` is expanded and the path made absolute at once. It is created, with
            mode 0600, at first use, and so is its folder (mode 0700) if only that is missing.
        durability: "normal" survives the process being killed at any moment; "full" also
            survives loss of power, at the price of an fsync for each batch of writes.
        max_store_bytes: Bound on what the file holds, in bytes; the least recently used answers are
            removed. None for no bound. The WAL beside the file may take 64 MiB more for a while.
        store_requests: Keep each request beside its answer, in clear: column `request`, a JSON list
            of namespace, llm_string and prompt. `LLMCache.explain` can then say in words what
            differs, after a restart too. Without it the file holds digests of requests only; an
            llm_string may hold headers, and these may hold tokens.
        read_only: Serve the answers that the file has, and write nothing: neither to it nor beside
            it. For a cache that is part of an image, or on a read-only file system. New answers are
            kept in memory alone, which `stats().skipped` counts as `store_read_only`; processes do
            not wait for each other's. `clear`, `delete` and `invalidate` empty memory and then
            raise StoreError, since the file still has what was to be removed. Another process may
            write to the file meanwhile.

    Raises:
        ConfigurationError: The path is a folder, or lies in one that is missing or not writable,
            or another argument is not one of those allowed; with `read_only`, there is no file.
        NotACacheError: The file is not an SQLite database, or not one of ours.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_store_bytes: int | None = None,
        durability: Literal["normal", "full"] = "normal",
        store_requests: bool = False,
        read_only: bool = False,
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
        check_flag("read_only", read_only)
        self.read_only = read_only
        self._file: ReadOnlyFile | None = None
        self.store_requests = store_requests
        if read_only:
            refuse_options(max_store_bytes=max_store_bytes, store_requests=store_requests)
            self.path = check_read_only(path)
            self._file = ReadOnlyFile(self.path)
        else:
            self.path = check_file(path)
        self.durability = durability
        self.max_store_bytes = max_store_bytes
        self.counts_uses = max_store_bytes is not None
        self._prepare(self.path)
        self._upkeep = Upkeep(wal_of(self.path), max_store_bytes)
        self._sweeps: dict[int, Sweep] = {}
        """By the identity of what they were asked for."""
        self._leases = SQLiteLeaseStore(
            look=self._look, commit=self._commit, row=self._row, clock=self._now
        )
        self.leases = None if read_only else self._leases

    def __repr__(self) -> str:
        """Path and settings. Never raises."""
        try:
            how = "read_only=True" if self.read_only else f"durability={self.durability!r}"
            return f"SQLiteStore({str(self.path)!r}, {how})"
        except AttributeError:  # half-made
            return "<SQLiteStore>"

    async def open(self) -> None:
        """See `Store.open`: a damaged file is set aside first, and a new one begun."""
        if self._file is None:
            await super().open()
            return
        left = self._file.forget()
        if left is not None:
            _core.leak(left)
        self._file.open()

    def _reopened(self) -> None:
        self._leases.reopened()

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        """See `Store.get`."""
        if self._file is not None:
            return self._file.get(keys)
        check_version(self._newer)
        reader = await self._reading()
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
        if self._file is not None:
            return self._file.get_at_once(keys)
        self._files.keep_index()
        found = self._quick.get(keys)
        if found:
            self._upkeep.saw(found, self.clock())
        return found

    async def recent(self, limit: int) -> Sequence[Record]:
        """See `Store.recent`."""
        if self._file is not None:
            return self._file.recent(limit)
        check_version(self._newer)
        reader = await self._reading()
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
        if self._file is not None:
            return await self._file.changes()
        if self._newer:
            return ()
        reader = await self._reading()
        is_same = identity_of(self.path) == self._identity
        with self._watched():
            changed = await self._changes.others(reader)
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
        if self.read_only:
            raise StoreError(REMOVAL_REFUSED)
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
        if self.read_only:
            raise StoreError(REMOVAL_REFUSED)
        await self._mend()
        sweep = self._sweeps.pop(id(selection), None) or Sweep(selection, self._changes.writer)
        await sweep.rest()
        try:
            with self._watched():
                steps = await sweep.look(opened(self._reader))
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
        if self.read_only:
            return  # they are refused each time that they are met
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

        if self.read_only:
            raise StoreError(WRITE_REFUSED)
        return await self._commit(work, size)

    async def _after_write(self, writer: aiosqlite.Connection, size: int) -> None:
        # It is committed, whatever becomes of the WAL.
        with contextlib.suppress(sqlite3.Error, StoreUnavailableError), self._watched():
            try:
                wal_bytes = size_of_file(self._files.was.wal)
                has_written = await self._upkeep.after_write(writer, size, wal_bytes)
            except BaseException:
                await writer.rollback()
                raise
            if has_written:
                self._files.written_back()

    def _now(self) -> float:
        # The cache sets its clock after the store was made.
        return self.clock()

    def saw(self, keys: Collection[bytes]) -> None:
        """See `Store.saw`."""
        self._upkeep.saw(keys, self.clock())

    def left_open(self) -> None:
        """See `Store.left_open`."""
        self._guard.close()
        inherit(self._identity, identity_of(self.path))

    async def upkeep(self) -> None:
        """See `Store.upkeep`."""
        if self.read_only:
            return
        await self._mend()
        writer = opened(self._writer)
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
                finally:
                    self._files.written_back()

    async def close(self) -> None:
        """See `Store.close`."""
        if self._file is not None:
            self._file.close()
            return
        with contextlib.suppress(sqlite3.Error, OSError, StoreUnavailableError, StoreUnusableError):
            await self._mend_at_end()
        reader, writer = self._detach()
        if writer is None or reader is None:
            return
        # Who holds the guard for so long is not writing: better to close without it than never.
        with contextlib.suppress(sqlite3.Error, OSError, StoreUnavailableError):
            if not self._newer:
                await self._keep_up(writer, at_end=True)
        async with contextlib.AsyncExitStack() as guarded:
            # Closing the last connection writes the WAL back into the file.
            with contextlib.suppress(OSError, StoreUnavailableError):
                await guarded.enter_async_context(self._guard.committing())
            try:
                await reader.close()
            finally:
                await writer.close()
        self._guard.close()


GET = SQLiteStore.get

"""The SQLite tier: one file, WAL, one connection that reads and one that writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from llmemo import _core
from llmemo.errors import StoreError
from llmemo.stores.base import Store
from llmemo.stores.pending_sweeps import PendingSweeps
from llmemo.stores.sqlite.change_log import CHANGED
from llmemo.stores.sqlite.fast_reads import queries
from llmemo.stores.sqlite.inherited_files import identity_of, inherit
from llmemo.stores.sqlite.invalidation import Sweep, clear
from llmemo.stores.sqlite.leases import SQLiteLeaseStore
from llmemo.stores.sqlite.namespace_sizes import sizes_of
from llmemo.stores.sqlite.path_checks import check_file, size_on_disk, wal_of
from llmemo.stores.sqlite.read_only import (
    REMOVAL_REFUSED,
    WRITE_REFUSED,
    ReadOnlyFile,
    check_read_only,
)
from llmemo.stores.sqlite.recent_rows import recent_rows
from llmemo.stores.sqlite.repair import RepairedSession
from llmemo.stores.sqlite.rows import add, questions_of, record_of, row_of, size_of
from llmemo.stores.sqlite.schema import ASK, REMOVED, UPSERT, check_version
from llmemo.stores.sqlite.session import opened
from llmemo.stores.sqlite.settings import check_settings
from llmemo.stores.sqlite.upkeep import Upkeep
from llmemo.stores.sqlite.vectors import SQLiteVectorStore

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Callable, Collection, Mapping, Sequence

    from llmemo.stores.records import NamespaceSizes, Record, Selection


T = TypeVar("T")


class SQLiteStore(Store):
    """Answers in an SQLite file that several threads, event loops and processes may share.

    Args:
        path: The file; `~` is expanded and the path made absolute at once. It is created, with
            mode 0600, at first use, and so is its folder (mode 0700) if only that is missing.
        durability: "normal" survives the process being killed at any moment; "full" also
            survives loss of power, at the price of an fsync for each batch of writes.
        max_store_bytes: Bound on what the file holds, in bytes; the least recently used answers are
            removed. None for no bound. The WAL beside the file may take 64 MiB more for a while.
        store_requests: Keep each request beside its answer, encrypted as that is: column `request`,
            a JSON list of namespace, llm_string and prompt. `LLMCache.explain` can then say in
            words what differs, after a restart too. Without it the file holds digests only. An
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

    lists_recent = True
    session_class: type[RepairedSession] = RepairedSession

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
        check_settings(
            max_store_bytes=max_store_bytes,
            durability=durability,
            store_requests=store_requests,
            read_only=read_only,
        )
        self.read_only = read_only
        self._read_only_file: ReadOnlyFile | None = None
        self.store_requests = store_requests
        if read_only:
            self.path = check_read_only(path)
            self._read_only_file = ReadOnlyFile(self.path)
        else:
            self.path = check_file(path)
        self.durability = durability
        self.max_store_bytes = max_store_bytes
        self.counts_uses = max_store_bytes is not None
        self._upkeep = Upkeep(wal_of(self.path), max_store_bytes)
        self._session = self.session_class(self.path, durability, self._upkeep)
        self._sweeps: PendingSweeps[Sweep] = PendingSweeps()
        self._leases = SQLiteLeaseStore(self._session, self._now)
        self.leases = None if read_only else self._leases
        self.vectors = SQLiteVectorStore(self._session, self._read_only_file)

    def __repr__(self) -> str:
        """Path and settings. Never raises."""
        try:
            how = "read_only=True" if self.read_only else f"durability={self.durability!r}"
            return f"SQLiteStore({str(self.path)!r}, {how})"
        except AttributeError:  # half-made
            return "<SQLiteStore>"

    async def open(self) -> None:
        """See `Store.open`: a damaged file is set aside first, and a new one begun."""
        if self._read_only_file is None:
            await self._session.open()
            return
        left = self._read_only_file.forget()
        if left is not None:
            _core.leak(left)
        self._read_only_file.open()

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        """See `Store.get`."""
        if self._read_only_file is not None:
            return self._read_only_file.get(keys)
        check_version(self._session.newer)
        reader = await self._session.reading()
        found: dict[bytes, Record] = {}
        for query, chunk in queries(keys):
            with self._session.watched():
                rows = await reader.execute_fetchall(query, chunk)
            found.update((row[0], record_of(row)) for row in rows)
        self._upkeep.eviction.saw(found, self.clock())
        return found

    def get_at_once(self, keys: Sequence[bytes]) -> Mapping[bytes, Record] | None:
        """See `Store.get_at_once`."""
        if self._session.newer or not self._has_own_get():
            return None
        if self._read_only_file is not None:
            return self._read_only_file.get_at_once(keys)
        self._session.files.keep_index()
        found = self._session.fast_reader.get(keys)
        if found:
            self._upkeep.eviction.saw(found, self.clock())
        return found

    def get_in_thread(self, keys: Sequence[bytes]) -> Mapping[bytes, Record] | None:
        """See `Store.get_in_thread`."""
        if self._session.newer or not self._has_own_get() or not self._session.files.has_index():
            return None
        found = self._session.thread_readers.get(keys)
        if found:
            self._upkeep.eviction.saw(found, self.clock())
        return found

    def _has_own_get(self) -> bool:
        """Whether no other `get` is in the place of this class's: that is not to be passed over."""
        return type(self).get is GET and "get" not in vars(self)

    async def recent(self, limit: int) -> Sequence[Record]:
        """See `Store.recent`."""
        return await recent_rows(self._session, self._read_only_file, limit)

    async def namespace_sizes(self, seconds: float) -> NamespaceSizes:
        """See `Store.namespace_sizes`."""
        return await sizes_of(self._session, self._read_only_file, seconds)

    async def changes(self) -> Collection[bytes | Selection] | None:
        """See `Store.changes`."""
        if self._read_only_file is not None:
            return await self._read_only_file.changes()
        if self._session.newer:
            return ()
        reader = await self._session.reading()
        is_same = identity_of(self.path) == self._session.identity
        with self._session.watched():
            changed = await self._session.change_log.others(reader)
        return changed if is_same else None

    async def set(self, records: Sequence[Record]) -> None:
        """See `Store.set`."""
        writer = self._session.change_log.writer
        steps: list[tuple[str, Sequence[tuple[Any, ...]]]]
        steps = [(UPSERT, [row_of(record, writer) for record in records])]
        if questions := questions_of(records):
            steps.append((ASK, questions))
        await self._transaction(*steps, size=sum(map(size_of, records)))

    async def add(self, records: Sequence[Record]) -> int:
        """See `Store.add`."""
        now, writer = self.clock(), self._session.change_log.writer
        size = sum(map(size_of, records))
        return await self._commit(lambda raw: add(raw, records, now, writer), size)

    async def delete(self, keys: Sequence[bytes] | None) -> int:
        """See `Store.delete`."""
        if self.read_only:
            raise StoreError(REMOVAL_REFUSED)
        writer = self._session.change_log.writer
        if keys is None:
            return await self._commit(lambda raw: clear(raw, writer))
        touched = await self._transaction(
            ("DELETE FROM entries WHERE key = ?", [(key,) for key in keys]),
            (CHANGED, [(key, writer) for key in keys]),
        )
        return touched[0]

    async def invalidate(self, selection: Selection) -> int | None:
        """See `Store.invalidate`."""
        if self.read_only:
            raise StoreError(REMOVAL_REFUSED)
        session = self._session
        await session.mend()
        writer = session.change_log.writer
        with self._sweeps.step(selection, lambda: Sweep(selection, writer)) as sweep:
            await sweep.rest()
            with session.watched():
                steps = await sweep.look(opened(session.reader))
            sweep.done((await self._transaction(*steps))[0] if steps else 0)
        return sweep.removed if sweep.is_over else None

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

        return await self._commit(work, size)

    async def _commit(self, work: Callable[[sqlite3.Connection], T], size: int = 0) -> T:
        if self.read_only:
            raise StoreError(WRITE_REFUSED)
        return await self._session.commit(work, size)

    def _now(self) -> float:
        # The cache sets its clock after the store was made.
        return self.clock()

    def saw(self, keys: Collection[bytes]) -> None:
        """See `Store.saw`."""
        self._upkeep.eviction.saw(keys, self.clock())

    def left_open(self) -> None:
        """See `Store.left_open`."""
        inherit(self._session.identity, identity_of(self.path))

    def stored_bytes(self) -> int | None:
        """See `Store.stored_bytes`."""
        return size_on_disk(self.path)

    async def upkeep(self) -> None:
        """See `Store.upkeep`."""
        if self.read_only:
            return
        await self._session.run_upkeep(self.clock() - self.grace)

    async def close(self) -> None:
        """See `Store.close`."""
        if self._read_only_file is not None:
            self._read_only_file.close()
            return
        await self._session.close(self.clock() - self.grace)


GET = SQLiteStore.get

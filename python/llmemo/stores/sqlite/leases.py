"""Leases of an SQLite store: in slots of the lock file, looked at with the answers of the database.

What keeps the two in step, without a transaction around both:

- a lease is taken before the look at the answers, and an answer is stored before its lease ends:
  the next holder of the lease finds it;
- an answer is stored if its fence stands in the slot, seen in the transaction that stores it. While
  that has SQLite's write lock no later holder can store another one. If the lock file was removed
  or emptied since the grant, another fence counts, or a newer answer; not that there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

from llmemo.concurrency.bounded_dict import note
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.lease_store import Grant, LeaseState, LeaseStore
from llmemo.stores.sqlite.fast_reads import queries
from llmemo.stores.sqlite.lease_slots import LeaseSlots, SlotsBusyError
from llmemo.stores.sqlite.rows import questions_of, record_of, row_of, size_of
from llmemo.stores.sqlite.schema import ASK, UPSERT

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from llmemo.stores.records import Record
    from llmemo.stores.sqlite.session import Session


T = TypeVar("T")

CREATED = "SELECT created FROM entries WHERE key = ?"

GRANTS_MAX = 10_000
"""Grants that are remembered. Of an older one, only its slot says that it is the last."""

BUSY_ATTEMPTS, BUSY_PAUSE = 50, 0.001
"""Attempts at a slot that another process is changing, and seconds between them."""


class SQLiteLeaseStore(LeaseStore):
    """See `LeaseStore`."""

    tells_moves = True

    def __init__(
        self,
        session: Session,
        clock: Callable[[], float],
    ) -> None:
        """Leases of the file of a session. `clock`: see `Store.clock`."""
        self._session = session
        self._clock = clock
        self._grants: dict[int, tuple[bytes, float]] = {}
        """By fence: birth of the lock file, and Unix time, of what was granted here."""
        self._seen: tuple[int, int, bytes] | None = None
        """The opening of the connection, its `data_version`, and the mark of the slots."""

    async def acquire(
        self, wanted: Mapping[bytes, float]
    ) -> Mapping[bytes, Grant | Record | LeaseState]:
        """See `LeaseStore.acquire`."""
        await self._session.file_lock.open()
        there = self._live(await self._answers(wanted))
        missing = [key for key in wanted if key not in there]
        leases: dict[bytes, Grant | LeaseState] = {}
        slots, now = self._slots(), self._clock()

        def take(key: bytes) -> None:
            self._take(slots, leases, key, now, wanted[key])

        await _each(missing, take)
        try:
            # Once more: between the first look and the lease another process may have stored one.
            answers = await self._answers(missing)
        except BaseException:
            self._give_back(slots, leases, missing)
            raise
        return {**there, **self._answers_first(slots, leases, answers)}

    def acquire_at_once(
        self, wanted: Mapping[bytes, float]
    ) -> Mapping[bytes, Grant | Record | LeaseState] | None:
        """See `LeaseStore.acquire_at_once`."""
        # Another `acquire` in the place of this class's is not to be passed over.
        is_own = type(self).acquire is ACQUIRE and "acquire" not in vars(self)
        if not is_own or self._session.newer or not self._session.file_lock.is_open():
            return None
        leases: dict[bytes, Grant | LeaseState] = {}
        slots, now = self._slots(), self._clock()
        for key, seconds in wanted.items():
            with contextlib.suppress(SlotsBusyError):
                self._take(slots, leases, key, now, seconds)
        found = self._session.fast_reader.get(list(wanted))
        if found is None:
            self._give_back(slots, leases, wanted)
            return None
        return self._answers_first(slots, leases, found)

    def _slots(self) -> LeaseSlots:
        file = self._session.file_lock.file
        if file is None:
            msg = "the store is not open"
            raise StoreUnavailableError(msg)
        return LeaseSlots(file)

    def _take(
        self,
        slots: LeaseSlots,
        leases: dict[bytes, Grant | LeaseState],
        key: bytes,
        now: float,
        seconds: float,
    ) -> None:
        """Take a lease, if it is free, and there is room for it."""
        lease = slots.acquire(key, now + seconds, now)
        if isinstance(lease, Grant):
            note(self._grants, lease.fence, (slots.birth(), now), GRANTS_MAX)
        if lease is not None:
            leases[key] = lease

    def _give_back(
        self, slots: LeaseSlots, leases: Mapping[bytes, object], keys: Iterable[bytes]
    ) -> None:
        """End what was granted of these keys, as if it had not been."""
        now = self._clock()
        for key in keys:
            lease = leases.get(key)
            if isinstance(lease, Grant):
                # One that is busy just now lapses.
                with contextlib.suppress(SlotsBusyError):
                    slots.end(key, lease.fence, 0, now)

    def _answers_first(
        self,
        slots: LeaseSlots,
        leases: dict[bytes, Grant | LeaseState],
        answers: Mapping[bytes, Record],
    ) -> Mapping[bytes, Grant | Record | LeaseState]:
        """Answers in the place of leases, which are given back then."""
        live = self._live(answers)
        self._give_back(slots, leases, live)
        return {**leases, **live}

    def _live(self, answers: Mapping[bytes, Record]) -> dict[bytes, Record]:
        """Those that have not expired."""
        now = self._clock()
        return {k: one for k, one in answers.items() if one.is_live(now)}

    async def _answers(self, keys: Collection[bytes]) -> dict[bytes, Record]:
        def work(connection: sqlite3.Connection) -> dict[bytes, Record]:
            rows = [
                row
                for query, chunk in queries(list(keys))
                for row in connection.execute(query, chunk).fetchall()
            ]
            return {row[0]: record_of(row) for row in rows}

        return await self._session.look(work)

    async def renew(self, leases: Mapping[bytes, tuple[int, float]]) -> Collection[bytes]:
        """See `LeaseStore.renew`."""
        slots, now, lost = self._slots(), self._clock(), set()

        def renew(key: bytes) -> None:
            fence, seconds = leases[key]
            if not slots.renew(key, fence, now + seconds):
                lost.add(key)

        await _each(leases, renew)
        return lost

    async def release(self, leases: Mapping[bytes, tuple[int, int]]) -> None:
        """See `LeaseStore.release`."""
        slots, now = self._slots(), self._clock()
        await _each(leases, lambda key: slots.end(key, *leases[key], now))

    async def set(self, records: Sequence[tuple[Record, int | None]]) -> Collection[int]:
        """See `LeaseStore.set`."""

        def work(connection: sqlite3.Connection) -> set[int]:
            slots, refused = self._slots(), set()
            writer = self._session.change_log.writer
            for record, fence in records:
                if fence is None or self._is_last(slots, record.key, fence, connection):
                    connection.execute(UPSERT, row_of(record, writer))
                    if record.question is not None:
                        connection.executemany(ASK, questions_of([record]))
                else:
                    refused.add(fence)
            return refused

        refused = await self._session.commit(work, sum(size_of(record) for record, _ in records))
        slots = self._slots()
        for _, fence in records:
            self._grants.pop(fence or 0, None)
        stored = [(one.key, fence) for one, fence in records if fence is not None]
        await _each(stored, lambda it: slots.forget(*it))
        return refused

    def _is_last(
        self, slots: LeaseSlots, key: bytes, fence: int, connection: sqlite3.Connection
    ) -> bool:
        """Whether no other grant of this key came after that one, as far as one can tell."""
        slot = slots.find(key)
        if slot is not None:
            return slot.fence == fence
        birth, granted = self._grants.get(fence, (b"", 0.0))
        if not birth or birth == slots.birth():
            return False
        row = connection.execute(CREATED, (key,)).fetchone()
        return row is None or row[0] < granted

    async def moved(self) -> bool:
        """See `LeaseStore.moved`."""
        # Of one connection it changes only with what others commit, our own writer among them
        # (sqlite.org/pragma.html). Another connection counts from another number.
        session, mark = self._session, self._slots().mark()
        [(version,)] = await session.look(lambda c: c.execute("PRAGMA data_version").fetchall())
        before, self._seen = self._seen, (session.openings, version, mark)
        return before != self._seen

    async def peek(self, keys: Collection[bytes]) -> Mapping[bytes, Record | LeaseState]:
        """See `LeaseStore.peek`."""
        slots = self._slots()
        # The leases first: an answer that ends one is seen then.
        found = {key: slots.find(key) for key in keys}
        leases = {key: LeaseState(it.expires, it.failures) for key, it in found.items() if it}
        return {**leases, **self._live(await self._answers(keys))}


async def _each(items: Iterable[T], step: Callable[[T], None]) -> None:
    """Take a step for each. One whose slot stays busy is passed by: that lease lapses."""
    for item in items:
        for _ in range(BUSY_ATTEMPTS):
            try:
                step(item)
                break
            except SlotsBusyError:
                await asyncio.sleep(BUSY_PAUSE)


ACQUIRE = SQLiteLeaseStore.acquire

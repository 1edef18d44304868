"""Leases in an SQLite file: one row for each key whose answer is being computed."""

from __future__ import annotations

import functools
import secrets
from typing import TYPE_CHECKING, Any

from llmemo.stores.lease_store import Grant, LeaseState, LeaseStore
from llmemo.stores.records import Record
from llmemo.stores.sqlite.rows import record_of, size_of
from llmemo.stores.sqlite.schema import COLUMNS, UPSERT

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Mapping, Sequence

    from llmemo.stores.sqlite.session import Session

AT_ONCE = 128
"""Most leases that are taken on the private thread: some milliseconds' work."""

LIVE = f"""
SELECT {COLUMNS} FROM entries WHERE key = ? AND (expires IS NULL OR expires > ?)
"""  # noqa: S608
STATE = "SELECT expires, failures FROM leases WHERE key = ?"
GRANT = """
INSERT INTO leases (key, fence, expires, failures) VALUES (?, ?, ?, 0)
ON CONFLICT (key) DO UPDATE SET fence = excluded.fence, expires = excluded.expires
"""
RENEW = "UPDATE leases SET expires = ? WHERE key = ? AND fence = ?"
FORGET = "DELETE FROM leases WHERE key = ? AND fence = ? AND failures + ? = 0"
FAIL = "UPDATE leases SET expires = ?, failures = failures + ? WHERE key = ? AND fence = ?"
# With the failures in a row before it.
END = "DELETE FROM leases WHERE key = ? AND fence = ?"


class SQLiteLeaseStore(LeaseStore):
    """See `LeaseStore`. Each method is one transaction, and one step of the connection's thread.

    A row is there while a lease is held, has been left behind, or has failures to be remembered;
    upkeep removes what ended an hour ago. So the table stays small, whatever the file holds.
    """

    def __init__(
        self,
        session: Session,
        row: Callable[[Record], tuple[Any, ...]],
        clock: Callable[[], float],
    ) -> None:
        """Leases in the file of a session. `row`: what a record is written as."""
        self._session = session
        self._row = row
        self._clock = clock
        self._seen: tuple[int, int] | None = None
        """The opening of the connection, and its `data_version`."""

    async def acquire(
        self, wanted: Mapping[bytes, float]
    ) -> Mapping[bytes, Grant | Record | LeaseState]:
        """See `LeaseStore.acquire`."""
        return await self._session.commit(functools.partial(self._acquire, wanted))

    def acquire_at_once(
        self, wanted: Mapping[bytes, float]
    ) -> Mapping[bytes, Grant | Record | LeaseState] | None:
        """See `LeaseStore.acquire_at_once`."""
        # Another `acquire` in the place of this class's is not to be passed over.
        is_own = type(self).acquire is ACQUIRE and "acquire" not in vars(self)
        if len(wanted) > AT_ONCE or not is_own:
            return None
        done = self._session.commit_at_once(functools.partial(self._acquire, wanted))
        return None if done is None else done[0]

    def _acquire(
        self, wanted: Mapping[bytes, float], connection: sqlite3.Connection
    ) -> dict[bytes, Grant | Record | LeaseState]:
        now = self._clock()
        found: dict[bytes, Grant | Record | LeaseState] = {}
        for key, seconds in wanted.items():
            state = _state(connection, key, now)
            if isinstance(state, Record) or (state is not None and state.expires > now):
                found[key] = state
                continue
            fence = secrets.randbits(63)
            connection.execute(GRANT, (key, fence, now + seconds))
            found[key] = Grant(fence, 0 if state is None else state.failures)
        return found

    async def renew(self, leases: Mapping[bytes, tuple[int, float]]) -> Collection[bytes]:
        """See `LeaseStore.renew`."""

        def work(connection: sqlite3.Connection) -> set[bytes]:
            now = self._clock()
            return {
                key
                for key, (fence, seconds) in leases.items()
                if not connection.execute(RENEW, (now + seconds, key, fence)).rowcount
            }

        return await self._session.commit(work)

    async def release(self, leases: Mapping[bytes, tuple[int, int]]) -> None:
        """See `LeaseStore.release`."""

        def work(connection: sqlite3.Connection) -> None:
            now = self._clock()
            for key, (fence, failures) in leases.items():
                connection.execute(FORGET, (key, fence, failures))
                connection.execute(FAIL, (now, failures, key, fence))

        await self._session.commit(work)

    async def set(self, records: Sequence[tuple[Record, int | None]]) -> Collection[int]:
        """See `LeaseStore.set`."""

        def work(connection: sqlite3.Connection) -> set[int]:
            refused = set()
            for record, fence in records:
                if fence is None or connection.execute(END, (record.key, fence)).rowcount:
                    connection.execute(UPSERT, self._row(record))
                else:
                    refused.add(fence)
            return refused

        return await self._session.commit(work, sum(size_of(record) for record, _ in records))

    async def moved(self) -> bool:
        """See `LeaseStore.moved`."""
        # Of one connection it changes only with what others commit, our own writer among them
        # (sqlite.org/pragma.html). Another connection counts from another number.
        session = self._session
        [(version,)] = await session.look(lambda c: c.execute("PRAGMA data_version").fetchall())
        before, self._seen = self._seen, (session.openings, version)
        return before != self._seen

    async def peek(self, keys: Collection[bytes]) -> Mapping[bytes, Record | LeaseState]:
        """See `LeaseStore.peek`."""

        def work(connection: sqlite3.Connection) -> dict[bytes, Record | LeaseState]:
            now = self._clock()
            states = {key: _state(connection, key, now) for key in keys}
            return {key: state for key, state in states.items() if state is not None}

        return await self._session.look(work)


ACQUIRE = SQLiteLeaseStore.acquire


def _state(connection: sqlite3.Connection, key: bytes, now: float) -> Record | LeaseState | None:
    # The lease first: a look without a transaction must not miss an answer that ends it.
    lease = connection.execute(STATE, (key,)).fetchone()
    row = connection.execute(LIVE, (key, now)).fetchone()
    if row is not None:
        return record_of(row)
    return None if lease is None else LeaseState(*lease)

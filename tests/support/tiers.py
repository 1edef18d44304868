"""Tiered stores, and a server in a dict that several of them share and that may be out of reach."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from llmemo import SQLiteStore
from llmemo.stores.base import Store, StoreRefusedError, StoreUnavailableError
from llmemo.stores.lease_store import Grant, LeaseState, LeaseStore
from llmemo.stores.records import Record, Selection
from llmemo.stores.tiered import TieredStore
from llmemo.stores.tiered.removals import matches
from support.doubles import FakeStore

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path


def tiered(folder: Path) -> TieredStore:
    """A near file and a far one in the same folder."""
    return TieredStore([SQLiteStore(folder / "near.db"), SQLiteStore(folder / "far.db")])


def record(number: int, value: bytes = b"value", expires: float | None = None) -> Record:
    key = number.to_bytes(32, "big")
    return Record(key, value, b"n" * 16, b"l" * 16, 1_700_000_000.25, expires)


class Server:
    """What the machines share: records, leases, and a log of changes."""

    def __init__(self) -> None:
        self.records: dict[bytes, Record] = {}
        self.leases: dict[bytes, int] = {}
        self.log: list[tuple[object, bytes | Selection | None]] = []
        self.fences = itertools.count(1)

    def tell(self, writer: object, change: bytes | Selection | None) -> None:
        self.log.append((writer, change))


class FarStore(Store):
    """One machine's connection to a server.

    `mode`: "well"; "away" raises, "refusing" refuses writes, "frozen" answers nothing until it is
    another mode.
    """

    lists_recent = False

    def __init__(self, server: Server, mode: str = "well") -> None:
        self.server, self.mode = server, mode
        self.asked: list[str] = []
        self.leases = self._leases = ServerLeases(self)
        self._seen = 0

    def __repr__(self) -> str:
        return "FarStore(…)"

    def count(self, method: str) -> int:
        return self.asked.count(method)

    async def reach(self, method: str, *, writes: bool = False) -> None:
        self.asked.append(method)
        while self.mode == "frozen":  # noqa: ASYNC110 (tests set it from any thread)
            await asyncio.sleep(0.002)
        if self.mode == "away":
            msg = "the server is away"
            raise StoreUnavailableError(msg)
        if writes and self.mode == "refusing":
            msg = "the server is full"
            raise StoreRefusedError(msg)

    async def open(self) -> None:
        await self.reach("open")
        self._seen = len(self.server.log)

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        await self.reach("get")
        return {key: self.server.records[key] for key in keys if key in self.server.records}

    async def get_or_acquire(self, keys: Sequence[bytes], wanted: Mapping[bytes, float]) -> Any:
        found = await self.get(keys)
        return found, self._leases.take([key for key in wanted if key not in found])

    async def set(self, records: Sequence[Record]) -> None:
        await self.reach("set", writes=True)
        for one in records:
            if one.key in self.server.records:
                self.server.tell(self, one.key)
            self.server.records[one.key] = one

    async def delete(self, keys: Sequence[bytes] | None) -> int:
        await self.reach("delete", writes=True)
        if keys is None:
            self.server.tell(self, None)
            count = len(self.server.records)
            self.server.records.clear()
            return count
        for key in keys:
            self.server.tell(self, key)
        return sum(self.server.records.pop(key, None) is not None for key in keys)

    async def invalidate(self, selection: Selection) -> int:
        await self.reach("invalidate", writes=True)
        self.server.tell(self, selection)
        gone = [key for key, one in self.server.records.items() if matches(selection, one)]
        for key in gone:
            del self.server.records[key]
        return len(gone)

    async def changes(self) -> Collection[bytes | Selection] | None:
        await self.reach("changes")
        news, self._seen = self.server.log[self._seen :], len(self.server.log)
        told = [change for writer, change in news if writer is not self]
        return None if None in told else [change for change in told if change is not None]

    async def close(self) -> None:
        self.asked.append("close")


class ServerLeases(LeaseStore):
    """Leases that never end by themselves."""

    def __init__(self, store: FarStore) -> None:
        self._store = store

    def take(self, keys: Collection[bytes]) -> dict[bytes, Grant | LeaseState]:
        leases, found = self._store.server.leases, dict[bytes, Grant | LeaseState]()
        for key in keys:
            if key in leases:
                found[key] = LeaseState(2e9, 0)
            else:
                leases[key] = next(self._store.server.fences)
                found[key] = Grant(leases[key], 0)
        return found

    async def acquire(
        self, wanted: Mapping[bytes, float]
    ) -> Mapping[bytes, Grant | Record | LeaseState]:
        found = await self._store.get(list(wanted))
        return {**found, **self.take([key for key in wanted if key not in found])}

    async def renew(self, leases: Mapping[bytes, tuple[int, float]]) -> Collection[bytes]:
        await self._store.reach("renew")
        return [k for k, (fence, _) in leases.items() if self._store.server.leases.get(k) != fence]

    async def release(self, leases: Mapping[bytes, tuple[int, int]]) -> None:
        await self._store.reach("release")
        for key, (fence, _) in leases.items():
            if self._store.server.leases.get(key) == fence:
                del self._store.server.leases[key]

    async def set(self, records: Sequence[tuple[Record, int | None]]) -> Collection[int]:
        held = self._store.server.leases
        refused = [f for one, f in records if f is not None and held.get(one.key) != f]
        await self._store.set([one for one, f in records if f is None or f not in refused])
        for one, fence in records:
            if fence is not None and fence not in refused:
                held.pop(one.key, None)
        return refused

    async def peek(self, keys: Collection[bytes]) -> Mapping[bytes, Record | LeaseState]:
        found = await self._store.get(list(keys))
        leases = {key: LeaseState(2e9, 0) for key in keys if key in self._store.server.leases}
        return {**leases, **found}


class Machine:
    """A near store in a dict, and a connection to the server, as one store."""

    def __init__(self, server: Server, near: FakeStore | None = None, mode: str = "well") -> None:
        self.near, self.far = near or FakeStore(), FarStore(server, mode)
        self.store = TieredStore([self.near, self.far])
        self.store.timeout = 0.2

    async def restarted(self, mode: str = "well") -> Machine:
        """Another process on the same near store."""
        await self.store.close()
        other = Machine(self.far.server, self.near, mode)
        await other.store.open()
        return other

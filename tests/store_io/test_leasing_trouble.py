"""Stores that fail or hang hold up nobody who asks for a lease."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.callers import KEY, Caller
from support.doubles import FAULTS, LIMIT, FakeStore, Fault

from llmemo import SQLiteStore
from llmemo._core import Memory
from llmemo.single_flight.watchdog import unless_crowded
from llmemo.store_io.calls import Call
from llmemo.store_io.client import StoreClient
from llmemo.stores.lease_store import Grant, LeaseState, LeaseStore
from llmemo.telemetry.stats import Tally

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from llmemo.stores import Record

pytestmark = pytest.mark.anyio


class FakeLeases(LeaseStore):
    """Of a `FakeStore`; may hang, or raise, as it does."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.hangs: str | None = None
        self.is_free = False
        """Whether what was held is free at the next look, and has moved before it."""
        self.go = asyncio.Event()

    async def _begin(self, method: str) -> None:
        self.store._begin(method)
        if method == self.hangs:
            await self.go.wait()

    async def acquire(
        self, wanted: Mapping[bytes, float]
    ) -> Mapping[bytes, Grant | Record | LeaseState]:
        await self._begin("acquire")
        if self.is_free and self.store.sizes("acquire")[1:]:
            return dict.fromkeys(wanted, Grant(5, 0))
        return dict.fromkeys(wanted, LeaseState(time.time() + 10 * LIMIT, 0))

    async def renew(self, leases: Mapping[bytes, tuple[int, float]]) -> Collection[bytes]:
        return ()

    async def release(self, leases: Mapping[bytes, tuple[int, int]]) -> None:
        await self._begin("release")

    async def set(self, records: Sequence[tuple[Record, int | None]]) -> Collection[int]:
        await self.store.set([one for one, _ in records])
        return ()

    async def moved(self) -> bool:
        return not self.is_free

    async def peek(self, keys: Collection[bytes]) -> Mapping[bytes, Record | LeaseState]:
        await self._begin("peek")
        if self.is_free:
            return {}
        return dict.fromkeys(keys, LeaseState(time.time() + 10 * LIMIT, 0))


def fake(before: Any = lambda method: None, patience: float = LIMIT) -> tuple[Caller, FakeLeases]:
    store = FakeStore(before)
    leases = store.leases = FakeLeases(store)
    return Caller(store, patience), leases


@pytest.mark.parametrize("method", ["open", "acquire", "peek"])
@pytest.mark.parametrize("error", FAULTS, ids=repr)
async def test_a_store_that_fails_holds_nobody_up(method: str, error: BaseException) -> None:
    caller, _ = fake(Fault(method, error))
    assert await asyncio.gather(*[caller.ask() for _ in range(5)]) == [None] * 5
    assert caller.errors["store_lease"] >= 1
    await asyncio.to_thread(caller.engine.close, LIMIT)


@pytest.mark.parametrize("method", ["acquire", "peek"])
async def test_a_store_that_hangs_holds_nobody_up_for_longer_than_its_time(method: str) -> None:
    caller, leases = fake(patience=0.2)
    leases.hangs = method
    assert await asyncio.wait_for(caller.ask(wait=10 * LIMIT), LIMIT) is None
    caller.engine._worker._mailbox.loop.call_soon_threadsafe(leases.go.set)  # type: ignore[union-attr]
    await asyncio.to_thread(caller.engine.close, LIMIT)


async def test_a_lease_that_ended_while_nobody_had_begun_to_wait_is_noticed() -> None:
    caller, leases = fake()
    leases.is_free = True
    assert isinstance(await asyncio.wait_for(caller.ask(), LIMIT), Grant)
    await asyncio.to_thread(caller.engine.close, LIMIT)


async def test_while_writes_get_nowhere_nobody_waits_for_a_lease(tmp_path: Path) -> None:
    caller = Caller(SQLiteStore(tmp_path / "a.db"))
    await caller.get()
    worker = caller.engine._worker
    assert worker is not None
    worker._leases.is_in_trouble = True
    assert await caller.ask() is None
    assert await caller.put(None) is None
    await caller.granted(b"a" * 32)
    caller.engine.close(LIMIT)


async def test_a_store_without_leases_is_not_asked() -> None:
    memory = Memory(2**20, None, fingerprint_secret=bytes(192))
    client = StoreClient(store := FakeStore(), Tally(), memory, LIMIT)
    budget = client.time_budget()
    asking = client.acquire(
        KEY, Call.awaited, budget, unless_crowded, lease_timeout=LIMIT, known=None
    )
    assert await asking is None
    assert store.asked == []
    assert client.executor._worker is None, "not even a thread is started for it"


async def test_without_leases_those_who_ask_go_on_and_fences_mean_nothing() -> None:
    caller = Caller(FakeStore())
    assert await caller.ask() is None
    assert await caller.put(5) is None
    caller.engine.close(LIMIT)

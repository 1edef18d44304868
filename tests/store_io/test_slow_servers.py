"""Servers that take their time: the change log, and looks at leases that many wait for."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.callers import KEY, Caller, until
from support.doubles import LIMIT, FakeStore, answer

from llmemo import LLMCache
from llmemo.store_io import maintenance
from llmemo.store_io.calls import Call
from llmemo.store_io.leases.parked import LONGEST_PAUSE, PAUSE, ParkedCalls
from llmemo.store_io.operations import Follow
from llmemo.stores.lease_store import Grant, LeaseState, LeaseStore

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from llmemo.stores import Record

pytestmark = pytest.mark.anyio


class Slow(FakeStore):
    """Takes long to say what has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way = self.most = self.upkeeps = 0
        self.is_slow = True

    async def changes(self) -> Collection[Any]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            while self.is_slow:  # noqa: ASYNC110 (set in another thread)
                await asyncio.sleep(0.005)
        finally:
            self.under_way -= 1
        return ()

    async def upkeep(self) -> None:
        self.upkeeps += 1

    async def close(self) -> None:
        assert not self.under_way
        await super().close()


async def test_a_slow_change_log_holds_up_neither_upkeep_nor_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(maintenance, "PAUSE", 0.005)
    store = Slow()
    async with LLMCache(store, store_timeout=0.5) as cache:
        await cache.aupdate("p", "m", answer("p"))
        await until(lambda: store.upkeeps > 3 and store.under_way > 0)
        assert store.most == 1
        ended = time.monotonic()
    assert time.monotonic() - ended < 4
    assert ("close", 0) in store.asked
    assert cache.stats().errors == {"store_changes": 1}


async def test_a_change_log_that_ends_in_time_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(maintenance, "PAUSE", 0.005)
    store = Slow()
    cache = LLMCache(store, store_timeout=LIMIT)
    await cache.aupdate("p", "m", answer("p"))
    await until(lambda: store.under_way > 0)
    closing = asyncio.ensure_future(cache.aclose())
    await asyncio.sleep(0.05)
    assert not closing.done()
    store.is_slow = False
    await asyncio.wait_for(closing, LIMIT)
    assert cache.stats().errors == {}


class Busy(LeaseStore):
    """Another process has all leases. Notes when it was looked at them."""

    def __init__(self) -> None:
        self.looks: list[float] = []
        self.hangs = False
        self.state = LeaseState(time.time() + 10 * LIMIT, 0)

    async def acquire(
        self, wanted: Mapping[bytes, float]
    ) -> Mapping[bytes, Grant | Record | LeaseState]:
        return dict.fromkeys(wanted, self.state)

    async def renew(self, leases: Mapping[bytes, tuple[int, float]]) -> Collection[bytes]:
        return ()

    async def release(self, leases: Mapping[bytes, tuple[int, int]]) -> None: ...

    async def set(self, records: Sequence[tuple[Record, int | None]]) -> Collection[int]:
        return ()

    async def moved(self) -> bool:
        raise AssertionError("it was not to be asked")

    async def peek(self, keys: Collection[bytes]) -> Mapping[bytes, Record | LeaseState]:
        self.looks.append(time.monotonic())
        if self.hangs:
            await asyncio.sleep(10 * LIMIT)
        return dict.fromkeys(keys, self.state)


async def test_a_server_is_looked_at_and_not_asked_whether_it_has_moved() -> None:
    store = FakeStore()
    leases = store.leases = Busy()
    caller = Caller(store)
    waiting = [asyncio.ensure_future(caller.ask(wait=LIMIT)) for _ in range(3)]
    await until(lambda: len(leases.looks) > 5)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert caller.errors == {}
    await asyncio.to_thread(caller.engine.close, LIMIT)


async def test_a_look_that_takes_long_delays_the_end_for_the_stores_time_at_most() -> None:
    store = FakeStore()
    leases = store.leases = Busy()
    leases.hangs = True
    caller = Caller(store, patience=0.5)
    waiting = asyncio.ensure_future(caller.ask(wait=LIMIT))
    await until(lambda: bool(leases.looks))
    ended = time.monotonic()
    await asyncio.to_thread(caller.engine.close, LIMIT)
    assert time.monotonic() - ended < 4
    assert await waiting is None


def follow(failures: int = 0, key: bytes = KEY) -> Call[Any]:
    held = LeaseState(1e9, failures)
    return Call.blocking(Follow(key, 5.0, lambda _: None, held))


def looks(parked: ParkedCalls, ticks: range, state: LeaseState) -> list[int]:
    """The ticks at which the lease is looked at, which finds it in this state."""
    found = []
    for tick in ticks:
        keys = parked.due(0.0, tick * PAUSE, is_paced=True)
        if keys:
            found.append(tick)
            parked.judge(keys, dict.fromkeys(keys, state), 0.0)
    return found


def test_a_lease_is_looked_at_less_and_less_often() -> None:
    parked = ParkedCalls()
    parked.park(follow(), state := LeaseState(1e9, 0))
    seen = looks(parked, range(400), state)
    pauses = [PAUSE * (after - before) for before, after in itertools.pairwise(seen)]
    assert pauses[:8] == [PAUSE] * 8
    # Looks are on ticks, so that two pauses may differ by one.
    assert all(after > before - 1.1 * PAUSE for before, after in itertools.pairwise(pauses))
    assert pauses[-5:] == pytest.approx([LONGEST_PAUSE] * 5, abs=1.1 * PAUSE)
    # Ten seconds: four hundred looks, at one pace.
    assert len(seen) < 130
    # Another holder's attempt has failed: it may go fast now.
    again = looks(parked, range(400, 408), state._replace(failures=1))
    assert again[-3:] == [405, 406, 407]
    # Others that begin to wait for it change nothing; those for another lease have their own pace.
    parked.park(follow(1, b"other"), state)
    assert parked.due(0.0, 10.2, is_paced=True) == [KEY, b"other"]
    parked.drop_abandoned()
    parked.take_all()
    assert (parked._paces, parked._ends) == ({}, {})


def test_a_lease_that_is_over_is_looked_at_at_once() -> None:
    parked = ParkedCalls()
    parked.park(follow(), state := LeaseState(1e9, 0))
    looks(parked, range(400), state)
    soon = 400 * PAUSE - 1e-3
    assert parked.due(0.0, soon, is_paced=True) == []
    assert parked.due(1e9, soon, is_paced=True) == [KEY]
    assert parked.due(0.0, soon, is_paced=False) == [KEY]


def test_calls_that_were_abandoned_leave_nothing() -> None:
    parked = ParkedCalls()
    parked.park(call := follow(), LeaseState(1e9, 0))
    parked.due(0.0, 0.0, is_paced=True)
    call.abandon()
    parked.drop_abandoned()
    assert (parked.by_key, parked._ends, parked._paces) == ({}, {}, {})

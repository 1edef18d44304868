"""A miss asks the store once: for the answer, or else for the lease."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.callers import KEY, Caller, slots_of, until
from support.doubles import LIMIT, FakeStore, answer

from llmemo import LLMCache, SQLiteStore
from llmemo.single_flight import lease
from llmemo.store_io import read_batcher
from llmemo.store_io.calls import Call
from llmemo.store_io.leases import manager
from llmemo.store_io.operations import Found, Get, Release
from llmemo.store_io.time_budget import TimeBudget
from llmemo.stores.lease_store import Grant
from llmemo.stores.records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from llmemo.stores.lease_store import LeaseState

pytestmark = pytest.mark.anyio


class Spied(SQLiteStore):
    """An SQLite store that remembers what it was asked, and by which thread."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[str] = []
        self._acquire_at_once = self._leases.acquire_at_once
        self._leases.acquire_at_once = self._count  # type: ignore[method-assign]

    def _count(self, wanted: Mapping[bytes, float]) -> Any:
        self.asked.append(f"acquire {len(wanted)}")
        return self._acquire_at_once(wanted)

    def get_at_once(self, keys: Sequence[bytes]) -> Mapping[bytes, Record] | None:
        self.asked.append(f"get {len(keys)}")
        return super().get_at_once(keys)


class Networked(SQLiteStore):
    """A store that answers in round trips, as one behind a network does."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.trips: list[str] = []
        leases = self._leases
        in_turn = leases.acquire

        async def acquire(wanted: Mapping[bytes, float]) -> Any:
            self.trips.append("acquire")
            return await in_turn(wanted)

        leases.acquire = acquire  # type: ignore[method-assign]

    def get_at_once(self, keys: Sequence[bytes]) -> None:
        return None

    def get_in_thread(self, keys: Sequence[bytes]) -> None:
        return None

    async def get_or_acquire(
        self, keys: Sequence[bytes], wanted: Mapping[bytes, float]
    ) -> tuple[Mapping[bytes, Record], Mapping[bytes, Grant | LeaseState]]:
        self.trips.append("both")
        records = await super().get(keys)
        missing = {key: seconds for key, seconds in wanted.items() if key not in records}
        found = await type(self._leases).acquire(self._leases, missing)
        leases = {key: one for key, one in found.items() if not isinstance(one, Record)}
        return records, leases


@pytest.fixture(autouse=True)
def lasting_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that none ends by itself."""
    monkeypatch.setattr(manager, "LEASE", 100 * LIMIT)


def cache_of(store: Any, **options: Any) -> LLMCache:
    return LLMCache(store, max_bytes=0, store_timeout=LIMIT, **options)


async def opened(cache: LLMCache) -> None:
    """Have the store open: what comes while it opens takes the patient way."""
    await cache.aupdate("before", "m", answer("before"))
    assert await cache.alookup("before", "m") == answer("before")


def fence_of(cache: LLMCache, prompt: str) -> int | None:
    durable, key = cache._tiers.durable, cache._tiers.key(prompt, "m")
    assert durable is not None
    assert key is not None
    return durable.held.fence(key)


async def released(cache: LLMCache, prompt: str) -> None:
    """Wait until this process no longer has the lease."""
    await until(lambda: fence_of(cache, prompt) is None)


async def test_a_miss_takes_one_step_of_the_store(tmp_path: Path) -> None:
    store = Spied(tmp_path / "a.db")
    async with cache_of(store) as cache:
        await opened(cache)
        store.asked.clear()
        assert await cache.alookup("p", "m") is None
        # No other thread, no second question.
        assert store.asked == ["get 1", "acquire 1"]
        assert fence_of(cache, "p") is not None
        await cache.aupdate("p", "m", answer("p"))
        store.asked.clear()
        assert await cache.alookup("p", "m") == answer("p")
        assert store.asked == ["get 1"], "a hit wants no lease"


async def test_another_process_waits_for_that_lease(tmp_path: Path) -> None:
    async with cache_of(tmp_path / "a.db") as one, cache_of(tmp_path / "a.db") as other:
        await opened(one)
        await opened(other)
        leads, go_on = asyncio.Event(), asyncio.Event()

        async def lead() -> None:
            assert await one.alookup("p", "m") is None
            leads.set()
            await go_on.wait()
            await one.aupdate("p", "m", answer("p"))

        leading = asyncio.create_task(lead())
        await asyncio.wait_for(leads.wait(), LIMIT)
        waiting = asyncio.create_task(other.alookup("p", "m"))
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        go_on.set()
        assert await asyncio.wait_for(waiting, LIMIT) == answer("p")
        await leading


async def test_callers_of_one_batch_get_one_lease(tmp_path: Path) -> None:
    store = Spied(tmp_path / "a.db")
    async with cache_of(store) as cache:
        await opened(cache)
        store.asked.clear()
        answers: list[bool] = []

        async def ask(prompt: str) -> None:
            found = await cache.alookup(prompt, "m")
            answers.append(found is not None)
            if found is None:
                await cache.aupdate(prompt, "m", answer(prompt))

        await asyncio.gather(*(ask(f"p{number % 3}") for number in range(30)))
        assert store.asked[:2] == ["get 3", "acquire 3"]
        assert answers.count(False) == 3
        assert cache.stats().coalesced == 27
        assert cache.stats().skipped == {}


async def test_a_networked_store_is_asked_in_one_round_trip(tmp_path: Path) -> None:
    store = Networked(tmp_path / "a.db")
    async with cache_of(store) as cache:
        await opened(cache)
        store.trips.clear()
        assert await cache.alookup("p", "m") is None
        assert store.trips == ["both"]
        assert fence_of(cache, "p") is not None
        await cache.aupdate("p", "m", answer("p"))
        assert await cache.alookup("p", "m") == answer("p")
        assert cache.stats().errors == cache.stats().skipped == {}


async def test_without_single_flight_no_lease_is_wanted(tmp_path: Path) -> None:
    store = Spied(tmp_path / "a.db")
    async with cache_of(store, single_flight=False) as cache:
        await opened(cache)
        store.asked.clear()
        assert await cache.alookup("p", "m") is None
        assert store.asked == ["get 1"]


async def test_a_store_without_leases_is_asked_for_the_answer_alone() -> None:
    store = FakeStore()
    async with cache_of(store) as cache:
        assert await cache.alookup("p", "m") is None
        assert store.asked[:2] == [("open", 0), ("get", 1)]


async def test_who_is_cancelled_when_the_lease_has_come_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cache_of(tmp_path / "a.db") as cache, cache_of(tmp_path / "a.db") as other:
        await opened(cache)
        real, asking = read_batcher.Batch.set, None

        def cancelled(batch: Any, result: Any, error: Any) -> None:
            real(batch, result, error)
            if asking is not None:
                assert result.leases == {}, "they were handed out"
                asking.cancel()

        monkeypatch.setattr(read_batcher.Batch, "set", cancelled)
        asking = asyncio.create_task(cache.alookup("p", "m"))
        with pytest.raises(asyncio.CancelledError):
            await asking
        asking = None
        await released(cache, "p")
        # Not in a task of its own, which would end with it. It waits for no lease to lapse.
        assert await other.alookup("p", "m") is None
        assert fence_of(other, "p") is not None


async def test_who_has_left_before_the_lease_comes_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cache_of(tmp_path / "a.db") as cache:
        await opened(cache)
        real, asking = read_batcher.Batch.set, None

        def late(batch: Any, result: Any, error: Any) -> None:
            assert asking is not None
            asking.cancel()
            asyncio.get_running_loop().call_soon(real, batch, result, error)

        monkeypatch.setattr(read_batcher.Batch, "set", late)
        asking = asyncio.create_task(cache.alookup("p", "m"))
        with pytest.raises(asyncio.CancelledError):
            await asking
        monkeypatch.undo()
        await released(cache, "p")


async def test_who_is_interrupted_while_it_joins_a_batch_takes_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Soft(BaseException):
        """What a signal handler raises."""

    async with cache_of(tmp_path / "a.db") as cache:
        await opened(cache)
        real, is_first = read_batcher.Batch.join, True

        def interrupted(batch: Any, key: bytes, *, wants_lease: bool) -> Any:
            nonlocal is_first
            future = real(batch, key, wants_lease=wants_lease)
            if is_first:
                is_first = False
                raise Soft
            return future

        async def ask() -> None:
            assert await cache.alookup("p", "m") is None
            await cache.aupdate("p", "m", answer("p"))

        monkeypatch.setattr(read_batcher.Batch, "join", interrupted)
        asking = [asyncio.create_task(ask()) for _ in range(2)]
        done, pending = await asyncio.wait(asking, timeout=LIMIT)
        assert not pending, "the lease went to the read that is not waited for"
        assert {type(task.exception()) for task in done} == {Soft, type(None)}
        assert cache.stats().skipped == {}


async def test_a_lease_that_another_caller_makes_needless_is_given_back(tmp_path: Path) -> None:
    async with cache_of(tmp_path / "a.db") as cache:
        await opened(cache)
        durable = cache._tiers.durable
        assert durable is not None
        leads, go_on = asyncio.Event(), asyncio.Event()

        async def lead() -> None:
            # Without the store's lease, which is in trouble for that moment.
            durable.health.writes.failed(5)
            assert await cache.alookup("p", "m") is None
            durable.health.writes.succeeded()
            leads.set()
            await go_on.wait()
            await cache.aupdate("p", "m", answer("p"))

        leading = asyncio.create_task(lead())
        await asyncio.wait_for(leads.wait(), LIMIT)
        assert fence_of(cache, "p") is None
        granted: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(durable, "release", lambda key, fence, failures: granted.append(fence))
            waiting = asyncio.create_task(cache.alookup("p", "m"))
            await until(lambda: bool(granted))
        durable.release(cache._tiers.key("p", "m") or b"", granted[0], 0)
        await released(cache, "p")
        go_on.set()
        assert await asyncio.wait_for(waiting, LIMIT) == answer("p")
        await leading


async def test_a_lease_that_comes_after_the_time_is_over_is_given_back(tmp_path: Path) -> None:
    store, go_on = Spied(tmp_path / "a.db"), threading.Event()
    async with cache_of(store) as cache:
        await opened(cache)
        durable, real = cache._tiers.durable, store.get_at_once

        def slowly(keys: Sequence[bytes]) -> Mapping[bytes, Record] | None:
            go_on.wait(LIMIT)
            return real(keys)

        store.get_at_once = slowly  # type: ignore[method-assign]
        assert durable is not None
        durable._batcher._timeout = 0.05
        assert await cache.alookup("p", "m") is None
        assert cache.stats().errors == {"store_read_timeout": 1}
        store.asked.clear()
        go_on.set()
        await until(lambda: "acquire 1" in store.asked and bool(store.asked))
        await released(cache, "p")


async def test_one_of_several_calls_gets_the_lease(tmp_path: Path) -> None:
    caller = Caller(SQLiteStore(tmp_path / "a.db"))
    await caller.get()
    calls: list[Call[Found]] = [Call.awaited(Get([KEY], [KEY])) for _ in range(3)]
    for call in calls:
        caller.engine.submit(call)
    found = [await call.wait(LIMIT) for call in calls]
    assert [type(one.leases.get(KEY)) for one in found].count(Grant) == 1
    caller.engine.close(LIMIT)


async def test_a_caller_that_looks_again_much_later_waits_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease of its first look is not trusted any more, here or in the store."""
    monkeypatch.setattr(lease, "UNBACKED", 0.01)
    monkeypatch.setattr(manager, "LEASE", 0.01)
    async with cache_of(tmp_path / "a.db") as cache:
        await opened(cache)
        assert await cache.alookup("p", "m") is None
        await until(
            lambda: not any(slot.expires > time.time() for slot in slots_of(tmp_path / "a.db"))
        )
        monkeypatch.setattr(manager, "LEASE", 100 * LIMIT)
        # Two leases of one key are given back in one go: the old one, and what came with the read.
        assert await asyncio.wait_for(cache.alookup("p", "m"), LIMIT) is None
        assert cache.stats().errors == {}


async def test_of_several_leases_of_a_key_each_is_released(tmp_path: Path) -> None:
    caller = Caller(SQLiteStore(tmp_path / "a.db"))
    await caller.get()
    fence = await caller.granted()
    calls: list[Call[None]] = [
        Call.awaited(Release(KEY, one)) for one in (fence - 1, fence, fence + 1)
    ]
    for call in calls:
        caller.engine.submit(call)
    for call in calls:
        await call.wait(LIMIT)
    assert slots_of(tmp_path / "a.db") == []
    caller.engine.close(LIMIT)


async def test_an_expired_answer_comes_with_the_lease(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    store = Spied(tmp_path / "a.db")
    async with cache_of(store, ttl=10, clock=lambda: now[0]) as cache:
        await opened(cache)
        await cache.aupdate("p", "m", answer("p"))
        now[0] += 11
        store.asked.clear()
        assert await cache.alookup("p", "m") is None
        assert store.asked == ["get 1", "acquire 1"]
        assert cache.stats().expired == 1
        assert fence_of(cache, "p") is not None


def test_blocking_callers_get_theirs_with_the_read_too(tmp_path: Path) -> None:
    store = Spied(tmp_path / "a.db")
    with cache_of(store) as cache:
        cache.update("before", "m", answer("before"))
        store.asked.clear()
        assert cache.lookup("p", "m") is None
        assert store.asked == ["get 0", "acquire 1"], "it was read in the caller's thread"
        assert fence_of(cache, "p") is not None


def test_a_blocking_caller_that_is_interrupted_leaves_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cache_of(tmp_path / "a.db") as cache:
        cache.update("before", "m", answer("before"))
        real, came = TimeBudget.outcome, threading.Event()

        async def interrupted(budget: Any, call: Any) -> Any:
            await real(budget, call)
            came.set()
            raise KeyboardInterrupt

        monkeypatch.setattr(TimeBudget, "outcome", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.lookup("p", "m")
        assert came.is_set()
        monkeypatch.undo()
        asyncio.run(released(cache, "p"))

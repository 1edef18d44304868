"""Reads of a store behind a network: several batches at a time, and none waits for another's."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from support.callers import Caller, until
from support.doubles import LIMIT, FakeStore, answer

from llmemo import LLMCache, StoreError
from llmemo.concurrency.circuit_breaker import FAILURES_TO_OPEN, CircuitBreaker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmemo.stores import Record

pytestmark = pytest.mark.anyio


class Remote(FakeStore):
    """Reads take until they are let go; how many are under way is counted."""

    def __init__(self, reads_at_once: int = 4) -> None:
        super().__init__()
        self.reads_at_once = reads_at_once
        self.is_frozen = False
        self.under_way = self.most = 0
        self.errors: dict[bytes, BaseException] = {}
        """What ends a read in the middle, by its first key."""

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            found = await super().get(keys)
            while self.is_frozen:
                await asyncio.sleep(0.001)
                if keys[0] in self.errors:
                    raise self.errors[keys[0]]
            return found
        finally:
            self.under_way -= 1


@pytest.mark.parametrize("at_once", [1, 4])
async def test_as_many_batches_as_the_store_says(at_once: int) -> None:
    store = Remote(at_once)
    caller = Caller(store)
    await caller.get(b"open")
    store.is_frozen = True
    reads = []
    for number in range(at_once):
        reads.append(asyncio.ensure_future(caller.get(bytes([number]) * 32)))
        await until(lambda: store.under_way == len(reads))
    worker = caller.engine._worker
    assert worker is not None
    assert len(worker._reads.in_flight) == at_once
    # All others are the next batch.
    reads += [asyncio.ensure_future(caller.get(bytes([number]) * 32)) for number in range(50, 70)]
    await until(lambda: len(worker._reads.queue) == 20)
    assert store.under_way == at_once
    store.is_frozen = False
    await asyncio.wait_for(asyncio.gather(*reads), LIMIT)
    assert store.most == at_once
    assert store.sizes("get") == [*[1] * (at_once + 1), 20]
    assert worker._reads.in_flight == []
    await asyncio.to_thread(caller.engine.close, LIMIT)


async def test_no_read_waits_for_the_large_value_of_another() -> None:
    store = Remote()
    async with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        for name in ("large", "small"):
            await cache.aupdate(name, "m", answer(name))
        store.is_frozen = True
        large = asyncio.ensure_future(cache.alookup("large", "m"))
        await until(lambda: store.under_way == 1)
        get = store.get
        store.get = super(Remote, store).get  # type: ignore[method-assign]
        assert await asyncio.wait_for(cache.alookup("small", "m"), LIMIT) == answer("small")
        assert not large.done()
        store.get = get  # type: ignore[method-assign]
        store.is_frozen = False
        assert await large == answer("large")


class QuitError(BaseException):
    """What nothing survives."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_worker_that_ends_settles_all_that_is_in_flight() -> None:
    store = Remote()
    caller = Caller(store)
    await caller.get(b"open")
    store.is_frozen = True
    reads = []
    for number in range(4):
        reads.append(asyncio.ensure_future(caller.get(bytes([number]) * 32)))
        await until(lambda: store.under_way == len(reads))
    worker = caller.engine._worker
    assert worker is not None
    # One of them ends it, while the others are in flight.
    store.errors[bytes([2]) * 32] = QuitError()
    found = await asyncio.wait_for(asyncio.gather(*reads, return_exceptions=True), LIMIT)
    assert [isinstance(one, StoreError) for one in found] == [True] * 4
    await asyncio.to_thread(worker.thread.join, LIMIT)
    assert not worker.thread.is_alive()
    # The next worker goes on.
    store.is_frozen = False
    assert await caller.get(b"again") is None
    await asyncio.to_thread(caller.engine.close, LIMIT)


async def test_readers_that_wait_for_work_end_with_the_worker() -> None:
    for stop in (True, False):
        caller = Caller(Remote())
        await caller.get(b"open")
        worker = caller.engine._worker
        assert worker is not None
        if not stop:
            worker.give_up()
            await asyncio.to_thread(worker.thread.join, 1.0)
        await asyncio.to_thread(caller.engine.close, LIMIT)
        assert not worker.thread.is_alive()


async def test_five_lookups_wait_for_a_frozen_server_and_then_none() -> None:
    store = Remote()
    async with LLMCache(store, max_bytes=0, store_timeout=0.05) as cache:
        await cache.aupdate("p", "m", answer("p"))
        store.is_frozen = True
        for _ in range(FAILURES_TO_OPEN + 20):
            assert await cache.alookup("p", "m") is None
        assert cache.stats().errors == {
            "store_read_timeout": FAILURES_TO_OPEN, "store_shut": 20
        }  # fmt: skip
        store.is_frozen = False
        well = time.monotonic()
        while await cache.alookup("p", "m") is None:
            assert time.monotonic() - well < LIMIT
            await asyncio.sleep(0.01)


async def test_all_that_is_in_flight_is_let_go_when_the_breaker_opens() -> None:
    store = Remote()
    async with LLMCache(store, max_bytes=0, store_timeout=100 * LIMIT) as cache:
        await cache.alookup("open", "m")
        store.is_frozen = True
        waiting = []
        for number in range(6):
            waiting.append(asyncio.create_task(cache.alookup(f"{number}", "m")))
            await until(lambda: store.under_way == min(4, len(waiting)))
        cache._tiers.durable.health.failed("read", OSError("x"), FAILURES_TO_OPEN)  # type: ignore[union-attr]
        assert await asyncio.wait_for(asyncio.gather(*waiting), LIMIT) == [None] * 6
        store.is_frozen = False


@pytest.mark.parametrize("rate", [1, 2.5, 10, 500])
def test_hits_come_again_within_five_seconds_at_any_rate(rate: float) -> None:
    longest = 0.0
    for outage in range(1, 40):
        now, well = 0.0, outage * 0.97
        breaker = CircuitBreaker(lambda: now)  # noqa: B023 (called at once)
        while True:
            if not breaker.is_open:
                if now >= well:
                    break
                breaker.failed()
            elif breaker.may_try():
                # The attempt takes no time; the next lookup is the first that is served.
                (breaker.succeeded if now >= well else breaker.failed)()
            now += 1 / rate
        longest = max(longest, now - well)
    assert longest <= 4.5

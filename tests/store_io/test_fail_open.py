"""A store in trouble is in nobody's way: time-outs, a circuit breaker, few words."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT, ROUNDS, FakeStore, answer, lines
from support.figures import at, tell
from support.scripted import Scripted, said

from llmemo import LLMCache
from llmemo.concurrency.circuit_breaker import (
    FAILURES_TO_OPEN,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    CircuitBreaker,
)
from llmemo.store_io import write_loop
from llmemo.store_io.operations import Set
from llmemo.store_io.time_budget import TimeBudget
from llmemo.stores import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from llmemo.store_io.calls import Call
    from llmemo.stores import Record

pytestmark = pytest.mark.anyio


class Hole(FakeStore):
    """Swallows what it is asked while it is black, and raises while it is broken."""

    def __init__(self) -> None:
        super().__init__()
        self.is_black = self.is_broken = False

    async def _fall_in(self) -> None:
        if self.is_broken:
            raise OSError("broken")
        while self.is_black:  # noqa: ASYNC110 (set in another thread)
            await asyncio.sleep(0.005)

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        await self._fall_in()
        return await super().get(keys)

    async def set(self, records: Sequence[Record]) -> None:
        await self._fall_in()
        await super().set(records)


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_breaker_opens_tries_now_and_then_and_closes() -> None:
    clock = Time()
    breaker = CircuitBreaker(clock)
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.failed()
    breaker.succeeded()  # Only failures in a row count.
    for _ in range(FAILURES_TO_OPEN):
        assert not breaker.is_open
        breaker.failed()
    assert breaker.is_open
    tried = []
    while clock.now < 60:
        clock.now += 0.1
        if breaker.may_try():
            tried.append(clock.now)
    pauses = [after - before for before, after in itertools.pairwise(tried)]
    assert tried[0] == pytest.approx(FIRST_PAUSE, abs=0.2)
    assert max(pauses) == pytest.approx(LONGEST_PAUSE, abs=0.2)
    assert sorted(pauses[:3]) == pauses[:3]
    breaker.succeeded()
    assert not breaker.is_open
    assert not breaker.may_try()


def test_a_breaker_counts_calls_that_fail_together_and_may_be_hurried() -> None:
    clock = Time()
    breaker = CircuitBreaker(clock)
    assert not breaker.failed(FAILURES_TO_OPEN - 1)
    assert breaker.failed(2 * FAILURES_TO_OPEN)
    assert not breaker.failed()
    while clock.now < 60:
        clock.now += 0.1
        breaker.may_try()
    breaker.hurry()
    assert not breaker.may_try()
    clock.now += FIRST_PAUSE + 0.01
    assert breaker.may_try()
    # What is due sooner stays so.
    breaker.succeeded()
    breaker.failed(FAILURES_TO_OPEN)
    clock.now += FIRST_PAUSE - 0.1
    breaker.hurry()
    clock.now += 0.11
    assert breaker.may_try()


@pytest.mark.slow
def test_after_five_failures_nobody_asks_and_then_somebody_without_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Hole()
    with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        cache.update("p", "m", answer("p"))
        store.is_broken = True
        for _ in range(50):
            assert cache.lookup("p", "m") is None
        errors = cache.stats().errors
        assert (errors["store_read"], errors["store_shut"]) == (
            FAILURES_TO_OPEN,
            50 - FAILURES_TO_OPEN,
        )
        assert len(lines(caplog)) == 2
        store.is_broken = False
        deadline = time.monotonic() + LIMIT
        while cache.lookup("p", "m") != answer("p"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert cache.lookup("p", "m") == answer("p")


def test_an_update_of_those_moments_is_not_lost() -> None:
    store = Hole()
    with LLMCache(store, max_bytes=0, store_timeout=0.02) as cache:
        store.is_black = True
        for number in range(FAILURES_TO_OPEN):
            assert cache.lookup(f"{number}", "m") is None
        before = time.monotonic()
        for number in range(100):
            cache.update(f"{number}", "m", answer(f"{number}"))
        assert time.monotonic() - before < LIMIT
        assert cache.stats().writes_unconfirmed == 100
        store.is_black = False
        deadline = time.monotonic() + LIMIT
        while len(store.records) < 100:
            assert time.monotonic() < deadline
            time.sleep(0.01)


async def test_a_model_call_waits_for_the_store_once() -> None:
    store = Hole()
    async with LLMCache(store, max_bytes=0, store_timeout=0.02) as cache:
        model = Scripted(act=lambda text: text, cache=cache)
        store.is_black = True
        await model.ainvoke("Hello.")
        stats = cache.stats()
        store.is_black = False
    # The lookup has used up what there was; the update is on its way.
    assert dict(stats.errors) == {"store_read_timeout": 1}
    assert stats.writes_unconfirmed == 1
    assert len(store.records) == 1


async def test_who_waits_when_the_breaker_opens_goes_on() -> None:
    store = Hole()
    async with LLMCache(store, max_bytes=0, store_timeout=100 * LIMIT) as cache:
        store.is_black = True
        waiting = [asyncio.create_task(cache.alookup(f"{number}", "m")) for number in range(3)]
        await asyncio.sleep(0)
        for _ in range(FAILURES_TO_OPEN):
            cache._tiers.durable.health.failed("read", OSError("broken"))  # type: ignore[union-attr]
        assert await asyncio.wait_for(asyncio.gather(*waiting), LIMIT) == [None] * 3
        store.is_black = False


async def test_writes_alone_close_the_breakers() -> None:
    store = Hole()
    async with LLMCache(store, store_timeout=LIMIT) as cache:
        store.is_broken = True
        for number in range(FAILURES_TO_OPEN + 1):
            await cache.aupdate(f"{number}", "m", answer("p"))
        assert cache._tiers.durable.health.writes.is_open  # type: ignore[union-attr]
        store.is_broken = False
        deadline = time.monotonic() + LIMIT
        while cache._tiers.durable.health.writes.is_open:  # type: ignore[union-attr]
            assert time.monotonic() < deadline
            await cache.aupdate("p", "m", answer("p"))
            await asyncio.sleep(0.01)


async def test_updates_that_are_lost_are_counted_whoever_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Hole()
    async with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        await cache.aupdate("old", "m", answer("old"))
        store.is_broken = True
        for number in range(4 * FAILURES_TO_OPEN):
            await cache.aupdate(f"{number}", "m", answer("p"))
        deadline = time.monotonic() + LIMIT
        while cache.stats().errors["store_write"] < 4 * FAILURES_TO_OPEN:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        assert cache.stats().errors == {"store_write": 4 * FAILURES_TO_OPEN}
        assert cache.stats().writes_unconfirmed == 4 * FAILURES_TO_OPEN
    assert len(lines(caplog)) == 1


async def test_what_waits_to_be_written_is_bounded_with_all_that_belongs_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(write_loop, "MAX_QUEUED_BYTES", 1_000_000)
    store = Locked()
    store.store_requests = True
    async with LLMCache(store, max_bytes=0, store_timeout=0.01) as cache:
        await cache.aupdate("first", "m", answer("first"))
        store.is_locked = True
        await cache.aupdate("second", "m", answer("second"))
        deadline = time.monotonic() + LIMIT
        while not store.is_reached:  # What the store was given waits there, and nothing with it.
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)
        for number in range(40):
            await cache.aupdate(f"{number}" + "x" * 100_000, "m", answer("small"))
        await cache.aupdate("last", "m", answer("last"))
        for number in range(1_000):
            await cache.aupdate(f"{number}", "m", answer("small"))
        store.is_locked = False
        deadline = time.monotonic() + LIMIT
        while await cache.alookup("999", "m") is None:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        dropped = cache.stats().errors["write_dropped"]
    assert dropped == 1_043 - len(store.records)
    assert 400 < len(store.records) < 600


async def test_reads_that_hang_are_not_waited_for_though_updates_get_through() -> None:
    store = Hole()
    async with LLMCache(store, max_bytes=0, store_timeout=0.05) as cache:
        hung = asyncio.Event()

        async def hang(keys: Sequence[bytes]) -> Mapping[bytes, Record]:
            await hung.wait()
            return {}

        await cache.aupdate("p", "m", answer("p"))
        store.get = hang  # type: ignore[method-assign]
        for _ in range(3 * FAILURES_TO_OPEN):
            await cache.alookup("p", "m")
            await cache.aupdate("p", "m", answer("p"))
            # Those that nobody waits for get through, too, and are told.
            await asyncio.sleep(0.01)
        assert cache.stats().errors == {
            "store_read_timeout": FAILURES_TO_OPEN,
            "store_shut": 2 * FAILURES_TO_OPEN,
        }
        assert cache._tiers.executor is not None
        worker = cache._tiers.executor._worker
        assert worker is not None
        worker._mailbox.loop.call_soon_threadsafe(hung.set)  # type: ignore[union-attr]


@pytest.mark.slow
async def test_who_only_writes_is_waited_for_again() -> None:
    store = Hole()
    async with LLMCache(store, store_timeout=LIMIT) as cache:
        durable = cache._tiers.durable
        assert durable is not None
        await cache.aupdate("p", "m", answer("p"))
        durable.health.failed("read", OSError("broken"), FAILURES_TO_OPEN)
        # Had it been tried for long.
        durable.health.reads._next += 1_000_000
        deadline = time.monotonic() + LIMIT
        while durable.health.reads.is_open:
            assert time.monotonic() < deadline
            await cache.aupdate("p", "m", answer("p"))
            await asyncio.sleep(0.01)
        unconfirmed = cache.stats().writes_unconfirmed
        await cache.aupdate("p", "m", answer("p"))
        assert cache.stats().writes_unconfirmed == unconfirmed > 0


@pytest.mark.slow
async def test_a_lease_that_comes_late_does_not_end_coordination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked, late = SQLiteStore(tmp_path / "a.db"), 0, threading.Event()
    acquire = store._leases.acquire

    async def slowly(wanted: Mapping[bytes, float]) -> Mapping[bytes, Any]:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.to_thread(late.wait, LIMIT)
        return await acquire(wanted)

    async with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        await cache.aupdate("first", "m", answer("first"))
        assert await cache.alookup("first", "m") == answer("first")
        before = cache.stats().errors
        store._leases.acquire = slowly  # type: ignore[method-assign]
        batcher = cache._tiers.durable._batcher  # type: ignore[union-attr]
        with monkeypatch.context() as patch:
            # This one only is impatient: the others may take as long as the machine is busy.
            patch.setattr(batcher, "_timeout", 0.5)
            await asyncio.create_task(cache.alookup("0", "m"))
        late.set()
        for number in range(1, 4):
            # In tasks of their own: who holds a lease does not wait for another.
            await asyncio.create_task(cache.alookup(f"{number}", "m"))
        errors = cache.stats().errors
        assert cache._tiers.durable is not None
        assert cache._tiers.durable.health.writes.is_well
    assert errors["store_coordinate_timeout"] == before.get("store_coordinate_timeout", 0) + 1
    assert asked == 4


class Locked(FakeStore):
    """Can be read while it is locked, but not written to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_locked = self.is_reached = False

    async def set(self, records: Sequence[Record]) -> None:
        while self.is_locked:
            self.is_reached = True
            await asyncio.sleep(0.005)
        await super().set(records)


@pytest.mark.slow
async def test_a_read_that_nobody_waits_for_says_nothing_about_writing() -> None:
    store = Locked()
    async with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        durable = cache._tiers.durable
        assert durable is not None
        await cache.aupdate("old", "m", answer("old"))
        store.is_locked = True
        for _ in range(FAILURES_TO_OPEN):
            durable.health.failed("read", OSError("broken"))
            durable.health.failed("write", OSError("broken"))
        assert durable.health.reads.is_open
        deadline = time.monotonic() + LIMIT
        while not durable.health.reads.is_well:
            assert time.monotonic() < deadline
            await cache.alookup("old", "m")
            await asyncio.sleep(0.01)
        assert durable.health.writes.is_open
        store.is_locked = False


@pytest.mark.slow
async def test_a_store_that_can_only_be_read_is_read_and_its_updates_wait_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, waited = Locked(), 0
    outcome = TimeBudget.outcome

    async def counted(patience: TimeBudget, call: Call[Any]) -> Any:
        nonlocal waited
        waited += isinstance(call.operation, Set)
        return await outcome(patience, call)

    async with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        durable = cache._tiers.durable
        assert durable is not None
        await cache.aupdate("old", "m", answer("old"))
        store.is_locked = True
        monkeypatch.setattr(TimeBudget, "outcome", counted)
        durable.waited = 0.1  # for what is written: reads are as patient as the machine is busy
        for number in range(100):
            await cache.aupdate(f"{number}", "m", answer(f"{number}"))
            # Again and again, which says nothing about writing.
            assert await cache.alookup("old", "m") == answer("old")
        assert waited == FAILURES_TO_OPEN
        assert durable.health.writes.is_open
        assert durable.health.reads.is_well
        stats = cache.stats()
        assert stats.writes_unconfirmed == 100
        assert stats.errors == {"store_write_timeout": FAILURES_TO_OPEN}
        store.is_locked = False
        deadline = time.monotonic() + LIMIT
        while durable.health.writes.is_open or len(store.records) < 101:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        # It is waited for again.
        durable.waited = LIMIT
        await cache.aupdate("new", "m", answer("new"))
        assert cache.stats().writes_unconfirmed == 100


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["black hole", "down", "flapping"])
async def test_calls_go_on_while_the_store_is_in_trouble(
    trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    store, timeout = Hole(), 0.1
    seconds = min(60.0, 0.6 * ROUNDS)
    store.is_black = trouble == "black hole"
    store.is_broken = trouble == "down"
    took: list[float] = []
    async with LLMCache(store, max_bytes=0, store_timeout=timeout) as cache:
        model = Scripted(act=lambda text: f"answer to {text}", cache=cache)

        async def call(number: int) -> None:
            start = loop.time()
            assert said(await model.ainvoke(f"{number}")) == f"answer to {number}"
            took.append(loop.time() - start)

        loop = asyncio.get_running_loop()
        end, number, running = loop.time() + seconds, 0, set()
        while loop.time() < end:
            if trouble == "flapping":
                store.is_black = int(loop.time() / 0.2) % 2 == 0
            task = asyncio.ensure_future(call(number))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1
            await asyncio.sleep(1 / 500)
        await asyncio.wait_for(asyncio.gather(*running), LIMIT)
        in_trouble = len(took)
        store.is_black = store.is_broken = False
        healed = loop.time()
        while (await cache.alookup("again", "m")) is None:
            await cache.aupdate("again", "m", answer("again"))
            await asyncio.sleep(0.01)
            assert loop.time() - healed < LIMIT
        recovery = loop.time() - healed
        errors = cache.stats().errors
    p99 = at(0.99, took[:in_trouble])
    assert in_trouble == number
    # Most wait for nothing. That none waits for the store to be well has been seen above: those
    # that ran had to end before it was. (What p99 says beside that is how busy the machine is.)
    assert at(0.5, took[:in_trouble]) < 5 * timeout
    assert len(lines(caplog)) <= len(errors) * (1 + seconds // 60)
    tell(
        f"store in trouble ({trouble}) under 500 calls/s",
        seconds=seconds,
        calls=number,
        p99_ms=1e3 * p99,
        time_out_ms=1e3 * timeout,
        recovery_s=recovery,
        lines_logged=len(lines(caplog)),
        kinds_of_trouble=len(errors),
    )

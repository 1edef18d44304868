"""Leases as callers have them: asked for, waited for, kept, lost, abandoned."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.callers import KEY, Caller, record, rows, until
from support.doubles import LIMIT

from llmemo import SQLiteStore, StoreError
from llmemo.store_io.calls import Call, settle
from llmemo.store_io.leases.client import release
from llmemo.store_io.operations import Acquire, Set
from llmemo.stores.lease_store import Grant
from llmemo.stores.sqlite.lease_slots import LeaseSlots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.callers import Outcome

pytestmark = pytest.mark.anyio

SHORT = 0.5
"""Seconds of a lease that is to lapse."""


@pytest.fixture
def callers(tmp_path: Path) -> Iterator[list[Caller]]:
    made = [Caller(SQLiteStore(tmp_path / "a.db")) for _ in range(3)]
    yield made
    for caller in made:
        caller.engine.close(LIMIT)
        assert caller.errors == caller.expected


async def test_one_computes_and_all_others_get_its_answer(callers: list[Caller]) -> None:
    tasks = [asyncio.create_task(caller.ask()) for caller in callers for _ in range(50)]
    threads = [asyncio.to_thread(caller.ask_blocking) for caller in callers for _ in range(2)]
    tasks += [asyncio.create_task(thread) for thread in threads]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=LIMIT)
    [grant] = [task.result() for task in done]
    assert isinstance(grant, Grant)
    assert len(pending) == 155
    [holder] = [c for c in callers if c.engine.held.by_key]
    assert await holder.put(grant.fence) is False
    assert await asyncio.gather(*pending) == [record()] * 155
    assert not holder.engine.held.by_key


async def test_after_a_failure_one_other_tries_and_after_the_second_all_go_on(
    callers: list[Caller],
) -> None:
    one, other, _ = callers
    fence = await one.granted()
    tasks = [asyncio.create_task(other.ask()) for _ in range(5)]
    await other.parked(5)
    release(one.engine.submit, KEY, fence, failures=1)
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=LIMIT)
    [grant] = [task.result() for task in done]
    assert isinstance(grant, Grant)
    assert grant.failures == 1
    release(other.engine.submit, KEY, grant.fence, failures=1)
    assert await asyncio.gather(*pending) == [None] * 4
    # Who comes then begins anew: one tries, and if it fails once more all go on.
    fence = await one.granted()
    late = asyncio.create_task(other.ask())
    await other.parked(1)
    assert not late.done()
    release(one.engine.submit, KEY, fence, failures=1)
    assert await late is None


async def test_who_has_nothing_to_give_may_let_all_go_on(callers: list[Caller]) -> None:
    one, other, _ = callers
    fence = await one.granted()
    tasks = [asyncio.create_task(other.ask()) for _ in range(5)]
    await other.parked(5)
    release(one.engine.submit, KEY, fence, failures=2)
    assert await asyncio.gather(*tasks) == [None] * 5


@pytest.mark.slow
async def test_a_lease_that_nobody_keeps_lapses_and_the_late_answer_is_refused(
    callers: list[Caller],
) -> None:
    one, other, _ = callers
    start = time.time()
    fence = await one.granted(seconds=SHORT)
    newer = await other.granted()
    assert time.time() - start >= SHORT
    assert await one.put(fence, record(value=b"late")) is True
    assert await one.get() is None
    assert await other.put(newer) is False
    assert await one.get() == record()


@pytest.mark.slow
async def test_a_lease_that_is_kept_goes_on_until_it_is_let_lapse(
    callers: list[Caller], tmp_path: Path
) -> None:
    one, other, _ = callers
    fence = await one.granted(seconds=SHORT)
    one.engine.held.keep(KEY, fence, is_kept=True)
    one.engine.held.keep(KEY, fence + 1, is_kept=True)  # not ours
    one.engine.held.keep(b"a" * 32, fence, is_kept=True)
    waiting = asyncio.create_task(other.ask())
    await asyncio.wait([waiting], timeout=3 * SHORT)
    assert not waiting.done()
    one.engine.held.keep(KEY, fence, is_kept=False)
    grant = await waiting
    assert isinstance(grant, Grant)
    await until(lambda: not one.engine.held.by_key)


async def test_a_kept_lease_that_was_lost_is_dropped(callers: list[Caller], tmp_path: Path) -> None:
    one, _, _ = callers
    fence = await one.granted(seconds=SHORT)
    with (tmp_path / "a.db-lock").open("r+b") as file:
        slots = LeaseSlots(file.fileno())
        slots.forget(KEY, fence)
        slots.acquire(KEY, time.time() + LIMIT, time.time())
    one.engine.held.keep(KEY, fence, is_kept=True)
    await until(lambda: not one.engine.held.by_key)
    assert await one.put(fence) is True


async def test_a_caller_who_left_gets_no_lease(callers: list[Caller], tmp_path: Path) -> None:
    one, other, _ = callers
    path = tmp_path / "a.db"
    fence = await one.granted()
    gone = [asyncio.create_task(other.ask(wait=LIMIT)) for _ in range(5)]
    impatient = [asyncio.create_task(other.ask(wait=0.1)) for _ in range(5)]
    threads = [asyncio.to_thread(other.ask_blocking, wait=0.1) for _ in range(3)]
    assert await asyncio.gather(*impatient, *threads) == [None] * 8
    for task in gone:
        task.cancel()
    release(one.engine.submit, KEY, fence)
    await until(lambda: rows(path) == [])
    await other.get()
    await asyncio.sleep(0.1)  # four polls
    assert rows(path) == []


async def test_a_grant_that_reaches_nobody_is_given_back(
    callers: list[Caller], tmp_path: Path
) -> None:
    one, path = callers[0], tmp_path / "a.db"
    await one.get()
    for passes in range(40):
        # Cancelled at each moment on the way; in the last one the grant is there, but unseen.
        task = asyncio.create_task(one.ask(passes.to_bytes(32, "big")))
        await asyncio.sleep(0)
        if passes % 4 > 1:
            block_until_granted(one, passes.to_bytes(32, "big"))
        for _ in range(passes % 4 % 2):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            outcome = await task
            assert isinstance(outcome, Grant)
            release(one.engine.submit, passes.to_bytes(32, "big"), outcome.fence)
    await until(lambda: not one.engine.held.by_key)
    await until(lambda: rows(path) == [])


def block_until_granted(caller: Caller, key: bytes) -> None:
    """Wait in the loop's own thread, so that the message that comes stays unread."""
    caller.engine._worker._mailbox._wake_once()  # type: ignore[union-attr]
    end = time.monotonic() + LIMIT
    while key not in caller.engine.held.by_key and time.monotonic() < end:
        time.sleep(0.0005)
    time.sleep(0.002)


def test_a_grant_to_a_loop_that_was_closed_is_given_back(
    callers: list[Caller], tmp_path: Path
) -> None:
    one = callers[0]
    fence = asyncio.run(one.granted())

    async def leave() -> asyncio.Task[Outcome]:
        task = asyncio.create_task(callers[1].ask())
        await asyncio.wait([task], timeout=0.2)
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(leave())
    loop.close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    release(one.engine.submit, KEY, fence)
    asyncio.run(until(lambda: rows(tmp_path / "a.db") == []))


def test_a_grant_for_a_loop_that_closes_just_now_is_given_back() -> None:
    came: list[object] = []
    loop = asyncio.new_event_loop()
    call: Call[Grant] = Call(Acquire(KEY, LIMIT, came.append), loop)
    loop.close()
    settle([(call, grant := Grant(5, 0), None)])
    assert came == [grant]


async def test_closing_gives_back_what_is_held_and_lets_go_who_waits(
    callers: list[Caller], tmp_path: Path
) -> None:
    one, other, third = callers
    await one.granted()
    await one.granted(b"a" * 32)
    waiting = asyncio.create_task(other.ask())
    await other.parked(1)
    await asyncio.to_thread(other.engine.close, LIMIT)
    assert await waiting is None
    await asyncio.to_thread(one.engine.close, LIMIT)
    assert rows(tmp_path / "a.db") == []
    await third.granted()
    with pytest.raises(StoreError):
        await one.ask()
    release(one.engine.submit, KEY, 1)


async def test_an_answer_that_cannot_be_stored_lets_all_go_on(callers: list[Caller]) -> None:
    one, other, _ = callers
    one.expected = {"store_write": 1}
    fence = await one.granted()
    waiting = asyncio.create_task(other.ask())
    await other.parked(1)
    with pytest.raises(sqlite3.IntegrityError):
        await one.put(fence, record()._replace(namespace=None))  # type: ignore[arg-type]
    assert await waiting is None


def test_threads_race_for_one_lease_a_round(callers: list[Caller]) -> None:
    for number in range(10):
        key = number.to_bytes(32, "big")
        barrier, outcomes = threading.Barrier(6), []

        def race(caller: Caller, key: bytes = key, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(LIMIT)
            outcomes.append(outcome := caller.ask_blocking(key))  # noqa: B023
            if isinstance(outcome, Grant):
                caller.engine.submit(Call.blocking(Set(record(key), outcome.fence)))

        threads = [threading.Thread(target=race, args=(c,)) for c in callers * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert sum(isinstance(one, Grant) for one in outcomes) == 1
        assert outcomes.count(record(key)) == 5

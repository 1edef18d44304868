"""Leases as callers have them: asked for, waited for, kept, lost, abandoned; stores in trouble."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from doubles import FAULTS, LIMIT, FakeStore, Fault, patience

from llmemo import SQLiteStore, Store, StoreError
from llmemo._core import Memory
from llmemo.calls import Call, Get, Set, run_inline
from llmemo.engine import Engine
from llmemo.leases import acquire, release
from llmemo.stats import Tally
from llmemo.stores import Record
from llmemo.stores.leases import Grant, Held, Leases

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    Outcome = Grant | Record | None

pytestmark = pytest.mark.anyio

KEY = b"k" * 32
SHORT = 0.5
"""Seconds of a lease that is to lapse."""


def record(key: bytes = KEY, value: bytes = b"value") -> Record:
    return Record(key, value, b"n" * 16, b"l" * 16, 1.0, None)


class Caller:
    """An engine, as a process has one, and how to use it."""

    def __init__(self, store: Store, patience: float = LIMIT) -> None:
        self.tally, self.patience = Tally(), patience
        memory = Memory(2**20, None, fingerprint_secret=bytes(range(192)))
        self.engine = Engine(store, self.tally, memory, patience)

    async def ask(
        self, key: bytes = KEY, *, seconds: float = LIMIT, wait: float = LIMIT
    ) -> Outcome:
        return await acquire(
            self.engine, Call.awaited, key,
            seconds=seconds, store_timeout=self.patience, patience=wait,
        )  # fmt: skip

    def ask_blocking(self, key: bytes = KEY, *, wait: float = LIMIT) -> Outcome:
        return run_inline(
            acquire(
                self.engine, Call.blocking, key,
                seconds=LIMIT, store_timeout=self.patience, patience=wait,
            )
        )  # fmt: skip

    async def granted(self, key: bytes = KEY, *, seconds: float = LIMIT) -> int:
        grant = await self.ask(key, seconds=seconds)
        assert isinstance(grant, Grant)
        return grant.fence

    async def put(self, fence: int | None, one: Record | None = None) -> bool | None:
        call: Call[bool | None] = Call.awaited(Set(one or record(), fence))
        self.engine.submit(call)
        return await call.wait(LIMIT)

    async def get(self, key: bytes = KEY) -> Record | None:
        call: Call[Record | None] = Call.awaited(Get(key))
        self.engine.submit(call)
        return await call.wait(LIMIT)

    @property
    def errors(self) -> dict[str, int]:
        return self.tally.snapshot()[-1]["errors"]


@pytest.fixture
def callers(tmp_path: Path) -> Iterator[list[Caller]]:
    made = [Caller(SQLiteStore(tmp_path / "a.db")) for _ in range(3)]
    yield made
    for caller in made:
        caller.engine.close(LIMIT)
        assert caller.errors == {}


def rows(path: Path) -> list[tuple[float, int]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT expires, failures FROM leases").fetchall()


async def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + patience()
    while not is_so():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_one_computes_and_all_others_get_its_answer(callers: list[Caller]) -> None:
    tasks = [asyncio.create_task(caller.ask()) for caller in callers for _ in range(50)]
    threads = [asyncio.to_thread(caller.ask_blocking) for caller in callers for _ in range(2)]
    tasks += [asyncio.create_task(thread) for thread in threads]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=LIMIT)
    [grant] = [task.result() for task in done]
    assert isinstance(grant, Grant)
    assert len(pending) == 155
    [holder] = [c for c in callers if c.engine._holds.by_key]
    assert await holder.put(grant.fence) is False
    assert await asyncio.gather(*pending) == [record()] * 155
    assert not holder.engine._holds.by_key


async def test_after_a_failure_one_other_tries_and_after_the_second_all_go_on(
    callers: list[Caller],
) -> None:
    one, other, _ = callers
    fence = await one.granted()
    tasks = [asyncio.create_task(other.ask()) for _ in range(5)]
    await asyncio.wait(tasks, timeout=0.1)
    release(one.engine, KEY, fence, failures=1)
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=LIMIT)
    [grant] = [task.result() for task in done]
    assert isinstance(grant, Grant)
    assert grant.failures == 1
    release(other.engine, KEY, grant.fence, failures=1)
    assert await asyncio.gather(*pending) == [None] * 4
    # Who comes then begins anew: one tries, and if it fails once more all go on.
    fence = await one.granted()
    late = asyncio.create_task(other.ask())
    await asyncio.wait([late], timeout=0.1)
    assert not late.done()
    release(one.engine, KEY, fence, failures=1)
    assert await late is None


async def test_who_has_nothing_to_give_may_let_all_go_on(callers: list[Caller]) -> None:
    one, other, _ = callers
    fence = await one.granted()
    tasks = [asyncio.create_task(other.ask()) for _ in range(5)]
    await asyncio.wait(tasks, timeout=0.1)
    release(one.engine, KEY, fence, failures=2)
    assert await asyncio.gather(*tasks) == [None] * 5


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


async def test_a_lease_that_is_kept_goes_on_until_it_is_let_lapse(
    callers: list[Caller], tmp_path: Path
) -> None:
    one, other, _ = callers
    fence = await one.granted(seconds=SHORT)
    one.engine.keep_alive(KEY, fence)
    one.engine.keep_alive(KEY, fence + 1)  # not ours
    one.engine.keep_alive(b"a" * 32, fence)
    waiting = asyncio.create_task(other.ask())
    await asyncio.wait([waiting], timeout=3 * SHORT)
    assert not waiting.done()
    one.engine.let_lapse(KEY, fence)
    grant = await waiting
    assert isinstance(grant, Grant)
    await until(lambda: not one.engine._holds.by_key)


async def test_a_kept_lease_that_was_lost_is_dropped(callers: list[Caller], tmp_path: Path) -> None:
    one, _, _ = callers
    fence = await one.granted(seconds=SHORT)
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("UPDATE leases SET fence = 7, expires = expires + 100")
        connection.commit()
    one.engine.keep_alive(KEY, fence)
    await until(lambda: not one.engine._holds.by_key)
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
    release(one.engine, KEY, fence)
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
        # Cancelled at each moment on the way, the last of them with the grant in the future.
        task = asyncio.create_task(one.ask(passes.to_bytes(32, "big")))
        if passes % 2:
            await asyncio.sleep(0)
            block_until_granted(one, passes.to_bytes(32, "big"))
        else:
            for _ in range(passes // 2):
                await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            outcome = await task
            assert isinstance(outcome, Grant)
            release(one.engine, passes.to_bytes(32, "big"), outcome.fence)
    await until(lambda: not one.engine._holds.by_key)
    await until(lambda: rows(path) == [])


def block_until_granted(caller: Caller, key: bytes) -> None:
    """Wait in the loop's own thread, so that the message that comes stays unread."""
    caller.engine._worker._wake_once()  # type: ignore[union-attr]
    end = time.monotonic() + LIMIT
    while key not in caller.engine._holds.by_key and time.monotonic() < end:
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
    release(one.engine, KEY, fence)
    asyncio.run(until(lambda: rows(tmp_path / "a.db") == []))


async def test_closing_gives_back_what_is_held_and_lets_go_who_waits(
    callers: list[Caller], tmp_path: Path
) -> None:
    one, other, third = callers
    await one.granted()
    await one.granted(b"a" * 32)
    waiting = asyncio.create_task(other.ask())
    await asyncio.wait([waiting], timeout=0.1)
    await asyncio.to_thread(other.engine.close, LIMIT)
    assert await waiting is None
    await asyncio.to_thread(one.engine.close, LIMIT)
    assert rows(tmp_path / "a.db") == []
    await third.granted()
    with pytest.raises(StoreError):
        await one.ask()
    release(one.engine, KEY, 1)


class FakeLeases(Leases):
    """Of a `FakeStore`; may hang, or raise, as it does."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.hangs: str | None = None
        self.go = asyncio.Event()

    async def _begin(self, method: str) -> None:
        self.store._begin(method)
        if method == self.hangs:
            await self.go.wait()

    async def acquire(self, wanted: Mapping[bytes, float]) -> Mapping[bytes, Grant | Record | Held]:
        await self._begin("acquire")
        return dict.fromkeys(wanted, Held(time.time() + LIMIT, 0))

    async def renew(self, leases: Mapping[bytes, tuple[int, float]]) -> Collection[bytes]:
        return ()

    async def release(self, leases: Mapping[bytes, tuple[int, int]]) -> None:
        await self._begin("release")

    async def set(self, records: Sequence[tuple[Record, int | None]]) -> Collection[int]:
        await self.store.set([one for one, _ in records])
        return ()

    async def peek(self, keys: Collection[bytes]) -> Mapping[bytes, Record | Held]:
        await self._begin("peek")
        return dict.fromkeys(keys, Held(time.time() + LIMIT, 0))


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
    caller.engine._worker._loop.call_soon_threadsafe(leases.go.set)  # type: ignore[union-attr]
    await asyncio.to_thread(caller.engine.close, LIMIT)


async def test_while_writes_get_nowhere_nobody_waits_for_a_lease(tmp_path: Path) -> None:
    caller = Caller(SQLiteStore(tmp_path / "a.db"))
    await caller.get()
    worker = caller.engine._worker
    assert worker is not None
    worker._leasing.is_in_trouble = True
    assert await caller.ask() is None
    assert await caller.put(None) is None
    await caller.granted(b"a" * 32)
    caller.engine.close(LIMIT)


async def test_a_store_without_leases_is_not_asked() -> None:
    caller = Caller(store := FakeStore())
    assert not caller.engine.has_leases
    assert await caller.ask() is None
    assert store.asked == []
    assert await caller.put(5) is None
    caller.engine.close(LIMIT)


async def test_an_answer_that_cannot_be_stored_lets_all_go_on(callers: list[Caller]) -> None:
    one, other, _ = callers
    fence = await one.granted()
    waiting = asyncio.create_task(other.ask())
    await asyncio.wait([waiting], timeout=0.1)
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

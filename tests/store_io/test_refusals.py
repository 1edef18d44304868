"""A store that answers and takes no writes: nothing is tried again, nobody waits, reads go on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.callers import Caller, record
from support.doubles import LIMIT, FakeStore, Fault, Held, answer, lines
from support.figures import tell

from llmemo import LLMCache, StoreError
from llmemo.concurrency.circuit_breaker import FAILURES_TO_OPEN
from llmemo.store_io.calls import Call
from llmemo.store_io.leases.trouble import REFUSED_PAUSE, LeaseTrouble
from llmemo.store_io.operations import Add
from llmemo.stores import StoreRefusedError
from llmemo.stores.lease_store import FAILURES_MAX, Grant, LeaseState, LeaseStore
from llmemo.telemetry.stats import Tally

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from llmemo.stores import Record

pytestmark = pytest.mark.anyio

FULL = "OOM command not allowed when used memory > 'maxmemory'"


def full(method: str = "set") -> Fault:
    return Fault(method, StoreRefusedError(FULL))


class Refusing(LeaseStore):
    """Leases that are all free, of a store that may refuse. Notes what was released."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.granted = 0
        self.released: list[tuple[int, int]] = []

    async def acquire(
        self, wanted: Mapping[bytes, float]
    ) -> Mapping[bytes, Grant | Record | LeaseState]:
        self.store._begin("acquire", list(wanted))
        grants: dict[bytes, Grant | Record | LeaseState] = {}
        for key in wanted:
            self.granted += 1
            grants[key] = Grant(self.granted, 0)
        return grants

    async def renew(self, leases: Mapping[bytes, tuple[int, float]]) -> Collection[bytes]:
        return ()

    async def release(self, leases: Mapping[bytes, tuple[int, int]]) -> None:
        self.released += leases.values()

    async def set(self, records: Sequence[tuple[Record, int | None]]) -> Collection[int]:
        await self.store.set([one for one, _ in records])
        return ()

    async def peek(self, keys: Collection[bytes]) -> Mapping[bytes, Record | LeaseState]:
        return {}


class Server(FakeStore):
    """A store with leases, which come with the reads."""

    def __init__(self, before: Any = lambda method: None) -> None:
        super().__init__(before)
        self.leases = self.mine = Refusing(self)

    async def get_or_acquire(
        self, keys: Sequence[bytes], wanted: Mapping[bytes, float]
    ) -> tuple[Mapping[bytes, Record], Mapping[bytes, Grant | LeaseState]]:
        self._begin("get_or_acquire", keys)
        found = {key: self.records[key] for key in keys if key in self.records}
        grants: Any = await self.mine.acquire({k: s for k, s in wanted.items() if k not in found})
        return found, grants


async def test_a_full_store_holds_up_nobody_and_is_read(caplog: pytest.LogCaptureFixture) -> None:
    store = FakeStore()
    async with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        await cache.aupdate("old", "m", answer("old"))
        store.before = full()

        async def update(number: int) -> None:
            for turn in range(18):
                await cache.aupdate(f"{number} {turn}", "m", answer("new"))
                if not turn % 6:
                    assert await cache.alookup("old", "m") == answer("old")

        begun = time.monotonic()
        await asyncio.gather(*map(update, range(50)))
        took = time.monotonic() - begun
        durable = cache._tiers.durable
        assert durable is not None
        assert durable.health.writes.is_well
        ended = time.monotonic()
    closing = time.monotonic() - ended
    stats = cache.stats()
    assert (stats.errors, stats.writes_unconfirmed) == ({"store_refused": 900}, 0)
    (line,) = lines(caplog)
    assert FULL in line
    assert (took < 8, closing < 2) == (True, True), (took, closing)
    tell("a full store, 900 updates by 50 tasks", seconds=took, closing_s=closing)


async def test_a_queue_of_what_is_refused_is_no_reason_to_stay() -> None:
    held = Held("set")

    def before(method: str) -> None:
        held(method)
        if method == "set":
            raise StoreRefusedError(FULL)

    # They are not waited for: their time is over at once.
    async with LLMCache(FakeStore(before), store_timeout=0.001) as cache:
        await asyncio.gather(
            *(cache.aupdate(f"{number}", "m", answer("p")) for number in range(3_000))
        )
        held.go.set()
        ended = time.monotonic()
    assert time.monotonic() - ended < 2
    assert cache.stats().errors["store_refused"] == 3_000


async def test_a_refused_answer_stays_in_memory() -> None:
    async with LLMCache(FakeStore(full()), store_timeout=LIMIT) as cache:
        for number in range(2 * FAILURES_TO_OPEN):
            await cache.aupdate(f"{number}", "m", answer("p"))
            assert await cache.alookup(f"{number}", "m") == answer("p")
        assert cache.stats().errors == {"store_refused": 2 * FAILURES_TO_OPEN}


class Choosy(FakeStore):
    """Refuses some keys, and stores the others."""

    refuses = frozenset({b"b" * 32, b"d" * 32})

    async def set(self, records: Sequence[Record]) -> None:
        await super().set([one for one in records if one.key not in self.refuses])
        refused = self.refuses & {one.key for one in records}
        if refused:
            raise StoreRefusedError("value too large", refused=refused, superseded=[7])


@pytest.mark.parametrize("fence", [None, 7], ids=["alone", "with leases"])
async def test_one_bad_record_takes_no_other_along(fence: int | None) -> None:
    held = Held("set")
    store = Choosy(held)
    if fence is not None:
        store.leases = Refusing(store)
    caller = Caller(store)
    first = asyncio.ensure_future(caller.put(None, record(b"first" * 6)))
    await asyncio.to_thread(held.reached.wait, LIMIT)
    # They gather behind it, in one batch.
    keys = [letter * 32 for letter in (b"a", b"b", b"c", b"d")]
    puts = [asyncio.ensure_future(caller.put(fence, record(key))) for key in keys]
    await asyncio.sleep(0)
    held.go.set()
    await asyncio.wait_for(first, LIMIT)
    found = await asyncio.wait_for(asyncio.gather(*puts, return_exceptions=True), LIMIT)
    assert store.sizes("set") == [1, 2]
    assert [isinstance(one, StoreRefusedError) for one in found] == [False, True, False, True]
    assert [bool(one) for one in found[::2]] == [fence is not None] * 2
    assert caller.errors == {"store_refused": 2}
    await asyncio.to_thread(caller.engine.close, LIMIT)


async def test_a_refused_answer_gives_its_lease_back() -> None:
    store = Server(full())
    async with LLMCache(store, store_timeout=LIMIT) as cache:
        # The first read opens the store, and the second brings its lease along.
        for name in ("p", "q"):
            assert await cache.alookup(name, "m") is None
            await cache.aupdate(name, "m", answer(name))
    assert store.mine.released == [(1, FAILURES_MAX), (2, FAILURES_MAX)]


async def test_a_store_that_refuses_again_is_one_that_answers() -> None:
    store = FakeStore(Fault("set", OSError("broken")))
    async with LLMCache(store, store_timeout=LIMIT) as cache:
        for number in range(FAILURES_TO_OPEN):
            await cache.aupdate(f"{number}", "m", answer("p"))
        durable = cache._tiers.durable
        assert durable is not None
        assert durable.health.writes.is_open
        store.before = full()
        await cache.aupdate("p", "m", answer("p"))
        deadline = time.monotonic() + LIMIT
        while durable.health.writes.is_open:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.001)
        unconfirmed = cache.stats().writes_unconfirmed
        await cache.aupdate("p", "m", answer("p"))
        assert cache.stats().writes_unconfirmed == unconfirmed == FAILURES_TO_OPEN + 1


@pytest.mark.parametrize("method", ["acquire", "get_or_acquire"])
async def test_a_store_that_grants_nothing_is_read(method: str) -> None:
    store = Server()
    async with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        await cache.aupdate("old", "m", answer("old"))
        store.before = full(method)
        store.asked.clear()
        for number in range(20):
            assert await cache.alookup(f"{number}", "m") is None
            assert await cache.alookup("old", "m") == answer("old")
        errors = cache.stats().errors
        asked = len(store.sizes(method))
        assert errors == {"store_lease": asked}
        # Not at each miss, unless the machine is so slow that it is another second.
        assert asked < 20
        health = cache._tiers.durable.health  # type: ignore[union-attr]
        assert health.reads.is_well


async def test_leases_are_asked_for_again_after_a_while() -> None:
    now = 100.0
    trouble = LeaseTrouble(Tally(), lambda: now)
    with trouble.survived("acquire"):
        raise OSError("broken")
    assert not trouble.is_refused
    with trouble.survived("acquire"):
        raise StoreRefusedError(FULL)
    now += REFUSED_PAUSE - 0.01
    assert trouble.is_refused
    now += 0.02
    assert not trouble.is_refused


@pytest.mark.parametrize("method", ["delete", "invalidate"])
async def test_removals_say_it_to_their_caller(method: str) -> None:
    async with LLMCache(FakeStore(full(method)), store_timeout=LIMIT) as cache:
        remove: Any = {
            "delete": lambda: cache.adelete("p", "m"),
            "invalidate": lambda: cache.ainvalidate(older_than=1),
        }[method]
        with pytest.raises(StoreError, match="OOM"):
            await remove()
        assert cache.stats().errors == {}


async def test_what_is_added_is_said_to_its_caller() -> None:
    caller = Caller(FakeStore(full()))
    call: Call[int] = Call.awaited(Add([record()]))
    caller.engine.submit(call)
    with pytest.raises(StoreRefusedError):
        await call.wait(LIMIT)
    assert caller.errors == {}
    caller.engine.close(LIMIT)


def test_the_error_says_what_it_is_told() -> None:
    whole = StoreRefusedError(FULL)
    assert (str(whole), whole.refused, whole.superseded) == (FULL, None, frozenset())
    part = StoreRefusedError(FULL, refused=[b"k"], superseded=[1])
    assert (part.refused, part.superseded) == (frozenset({b"k"}), frozenset({1}))
    assert isinstance(part, StoreError)

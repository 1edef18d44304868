"""What leases of every store promise; and a model of them, in random schedules without sleeps."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.redis_stores import move_clock, redis_store
from support.strategies import FACTOR
from support.tiers import tiered

from llmemo import SQLiteStore, Store
from llmemo.stores import Record
from llmemo.stores.lease_store import Grant, LeaseState, LeaseStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.anyio

STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda folder: SQLiteStore(folder / "store.db"),
    "redis": redis_store,
    "tiered": tiered,
}
IN_PROCESS = ("sqlite", "tiered")
"""Those that need no server."""
SCHEDULES = round(1_000 * FACTOR)
NOW = 1_800_000_000.0
KEY = b"k" * 32


def record(key: bytes = KEY, value: bytes = b"value", expires: float | None = None) -> Record:
    return Record(key, value, b"n" * 16, b"l" * 16, NOW, expires)


class Clock:
    """Unix time of the processes; and of their server, if that has a clock of its own."""

    def __init__(self) -> None:
        self._now, self.moves = NOW, list[Callable[[float], None]]()

    def __call__(self) -> float:
        return self._now

    @property
    def now(self) -> float:
        return self._now

    @now.setter
    def now(self, now: float) -> None:
        self._now = now
        for move in self.moves:
            move(now)


class Peer:
    """One of several processes that share a store, all with one clock."""

    def __init__(self, store: Store, clock: Clock, way: str = "acquire") -> None:
        assert store.leases is not None
        self.store, self.leases, self.clock, self.way = store, store.leases, clock, way
        store.clock = clock
        if not store.keeps_clock:
            clock.moves = [move_clock]

    async def ask(self, key: bytes = KEY, seconds: float = 10.0) -> Grant | Record | LeaseState:
        """What comes of asking, in one of the ways that the contract has."""
        found: Mapping[bytes, Grant | Record | LeaseState] | None = None
        if self.way == "at once":
            found = self.leases.acquire_at_once({key: seconds})
        elif self.way == "with the read":
            records, found = await self.store.get_or_acquire([key], {key: seconds})
            one = records.get(key)
            if one is not None and (one.expires is None or one.expires > self.clock()):
                assert key not in found, "an answer needs no lease"
                return one
        # The others are asked where a store does not know that way, or not at present.
        return found[key] if found else (await self.leases.acquire({key: seconds}))[key]

    async def granted(self, key: bytes = KEY, seconds: float = 10.0) -> int:
        grant = await self.ask(key, seconds)
        assert isinstance(grant, Grant)
        return grant.fence

    async def peek(self) -> Record | LeaseState | None:
        return (await self.leases.peek([KEY])).get(KEY)


WAYS = ("acquire", "at once", "with the read")


ROWS = [
    pytest.param((store, way), marks=() if store in IN_PROCESS else pytest.mark.process)
    for store in STORES
    for way in WAYS
]


@pytest.fixture(params=ROWS, ids="-".join)
async def peers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Peer]]:
    clock, (store, way) = Clock(), request.param
    made = [Peer(STORES[store](tmp_path), clock, way) for _ in range(3)]
    for peer in made:
        await peer.store.open()
    yield made
    for peer in made:
        await peer.store.close()


async def test_a_lease_is_of_one_until_it_ends(peers: list[Peer]) -> None:
    one, other, _ = peers
    fence = await one.granted()
    held = LeaseState(NOW + 10, 0)
    for peer in peers:  # its holder too: the grant was for one call
        assert await peer.ask() == await peer.peek() == held
    one.clock.now += 9.999
    assert await other.ask() == held
    one.clock.now = NOW + 10
    assert await other.granted() != fence
    assert await one.ask() == LeaseState(NOW + 20, 0)


async def test_an_answer_is_all_that_anybody_needs(peers: list[Peer]) -> None:
    one, other, third = peers
    fence = await one.granted()
    assert list(await one.leases.set([(record(), fence)])) == []
    for peer in peers:
        assert await peer.ask() == await peer.peek() == record()
    await other.store.delete([KEY])
    assert await third.peek() is None, "storing ends the lease"
    await third.granted()


async def test_an_answer_that_has_expired_is_none(peers: list[Peer]) -> None:
    one, other, _ = peers
    await one.store.set([record(expires=NOW + 1)])
    assert await other.ask() == record(expires=NOW + 1)
    one.clock.now += 1
    assert await other.peek() is None
    fence = await other.granted()
    assert list(await other.leases.set([(record(value=b"new"), fence)])) == []
    assert await one.ask() == record(value=b"new")


async def test_who_lost_the_lease_replaces_nothing_and_others_of_the_batch_are_stored(
    peers: list[Peer],
) -> None:
    one, other, _ = peers
    late = await one.granted()
    one.clock.now += 10
    fence = await other.granted()
    batch: list[tuple[Record, int | None]] = [
        (record(value=b"late"), late), (record(b"a" * 32), None), (record(b"b" * 32), 5),
    ]  # fmt: skip
    assert set(await one.leases.set(batch)) == {late, 5}
    assert set(await one.store.get([KEY, b"a" * 32, b"b" * 32])) == {b"a" * 32}
    assert await one.ask() == LeaseState(NOW + 20, 0), "nor does it end the other's lease"
    assert list(await other.leases.set([(record(), fence)])) == []
    assert set(await one.leases.set([(record(value=b"later"), late)])) == {late}
    assert await one.ask() == record()


async def test_who_is_late_but_has_no_successor_may_store(peers: list[Peer]) -> None:
    one, other, _ = peers
    fence = await one.granted()
    one.clock.now += 1_000
    assert list(await one.leases.set([(record(), fence)])) == []
    assert await other.ask() == record()


async def test_an_answer_without_a_lease_serves_those_who_wait_and_ends_nothing(
    peers: list[Peer],
) -> None:
    one, other, third = peers
    fence = await one.granted()
    assert list(await other.leases.set([(record(value=b"x"), None)])) == []
    assert await third.peek() == record(value=b"x")
    assert list(await one.leases.set([(record(), fence)])) == []
    assert await third.peek() == record()


async def test_renewal_moves_the_end_unless_it_is_lost(peers: list[Peer]) -> None:
    one, other, _ = peers
    fence = await one.granted()
    one.clock.now += 9
    assert list(await one.leases.renew({KEY: (fence, 10.0), b"a" * 32: (1, 10.0)})) == [b"a" * 32]
    assert await other.ask() == LeaseState(NOW + 19, 0)
    one.clock.now = NOW + 19
    newer = await other.granted()
    assert list(await one.leases.renew({KEY: (fence, 10.0)})) == [KEY]
    await one.leases.release({KEY: (fence, 1)})
    assert await one.peek() == LeaseState(NOW + 29, 0), "what is lost cannot be released either"
    assert list(await other.leases.renew({KEY: (newer, 20.0)})) == []


async def test_failures_in_a_row_are_counted(peers: list[Peer]) -> None:
    one, other, third = peers
    await one.leases.release({KEY: (await one.granted(), 0)})
    assert await other.peek() is None
    await one.leases.release({KEY: (await one.granted(), 1)})
    assert await other.peek() == LeaseState(NOW, 1)
    grant = await other.ask()
    assert isinstance(grant, Grant)
    assert grant.failures == 1
    assert await third.ask() == LeaseState(NOW + 10, 1)
    await other.leases.release({KEY: (grant.fence, 1)})
    assert await third.peek() == LeaseState(NOW, 2)
    await third.leases.release({KEY: (await third.granted(), 0)})  # neither failed nor answered
    assert await third.peek() == LeaseState(NOW, 2)
    assert list(await one.leases.set([(record(), await one.granted())])) == []
    await one.store.delete([KEY])
    assert await one.peek() is None, "an answer ends the row"


async def test_whoever_waits_is_told_cheaply_that_something_moved(peers: list[Peer]) -> None:
    one, other, _ = peers
    if not other.leases.tells_moves:
        assert await other.leases.moved()
        assert await other.leases.moved()
        return
    await other.leases.moved()
    assert not await other.leases.moved()
    await one.granted()
    assert await other.leases.moved()
    assert not await other.leases.moved()


async def test_of_many_who_ask_at_once_one_gets_it(peers: list[Peer]) -> None:
    for number in range(30):
        key = number.to_bytes(32, "big")
        answers = await asyncio.gather(*[peer.ask(key) for peer in peers])
        assert sorted(type(one).__name__ for one in answers) == [
            "Grant",
            "LeaseState",
            "LeaseState",
        ]


async def test_a_file_without_leases_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SQLiteStore(path)
    await store.open()
    await store.set([record()])
    await store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE leases")
        connection.execute("DROP TRIGGER entries_returned")
        connection.execute("DROP TABLE removals")
        connection.execute("DROP TRIGGER entries_removed")
        connection.execute("DROP TABLE questions")
        connection.execute("DROP TABLE states")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    peer = Peer(SQLiteStore(path), Clock())
    await peer.store.open()
    assert await peer.ask() == record()
    await peer.granted(b"a" * 32)
    await peer.store.close()


class Model:
    """What leases mean, in a few lines."""

    def __init__(self) -> None:
        self.records: dict[bytes, Record] = {}
        self.leases: dict[bytes, tuple[int, float, int]] = {}

    def state(self, key: bytes, now: float) -> Record | LeaseState | None:
        found = self.records.get(key)
        if found is not None and (found.expires is None or found.expires > now):
            return found
        return LeaseState(*self.leases[key][1:]) if key in self.leases else None


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
async def test_random_schedules_agree_with_the_model(peers: list[Peer], part: int) -> None:
    """Each of a few hundred keys lives through one schedule, all of them at once, in batches."""
    dice, model, clock = random.Random(part), Model(), peers[0].clock
    fences: list[tuple[bytes, int]] = []
    keys = [number.to_bytes(32, "big") for number in range(SCHEDULES // 4)]
    for _ in range(30):
        peer = dice.choice(peers)
        some = dice.sample(keys, len(keys) // 3)
        kind = dice.choice(["acquire", "acquire", "renew", "release", "set", "expire", "peek"])
        given = dict(dice.sample(fences, len(fences) // 2)) if fences else {}
        if kind == "acquire":
            for key, got in (await peer.leases.acquire(dict.fromkeys(some, 7.0))).items():
                state = model.state(key, clock.now)
                if isinstance(state, Record) or (state and state.expires > clock.now):
                    assert got == state
                    continue
                failures = 0 if state is None else state.failures
                assert isinstance(got, Grant)
                assert got.failures == failures
                fences.append((key, got.fence))
                model.leases[key] = (got.fence, clock.now + 7.0, failures)
        elif kind == "renew":
            lost = await peer.leases.renew({key: (fence, 9.0) for key, fence in given.items()})
            for key, fence in given.items():
                newest, _, failures = model.leases.get(key, (None, 0.0, 0))
                assert (key in lost) == (newest != fence)
                if newest == fence:
                    model.leases[key] = (fence, clock.now + 9.0, failures)
        elif kind == "release":
            added = dice.choice([0, 1, 2])
            await peer.leases.release({key: (fence, added) for key, fence in given.items()})
            for key, fence in given.items():
                newest, _, failures = model.leases.get(key, (None, 0.0, 0))
                if newest == fence and failures + added:
                    model.leases[key] = (fence, clock.now, failures + added)
                elif newest == fence:
                    del model.leases[key]
        elif kind == "set":
            bare: list[tuple[bytes, int | None]] = [(key, None) for key in some[: len(some) // 9]]
            batch = [
                (record(key, dice.randbytes(4), dice.choice([None, clock.now + 5])), fence)
                for key, fence in [*given.items(), *bare]
            ]
            refused = await peer.leases.set(batch)
            for one, with_fence in batch:
                if with_fence in (None, model.leases.get(one.key, (0,))[0]):
                    model.records[one.key] = one
                    if with_fence is not None:
                        del model.leases[one.key]
                else:
                    assert with_fence in refused
        elif kind == "expire":
            clock.now += dice.choice([1.0, 5.0, 8.0])
        states = await peer.leases.peek(keys)
        assert states == {k: s for k in keys if (s := model.state(k, clock.now)) is not None}


def test_the_interface_is_whole() -> None:
    assert SQLiteStore.leases is None, "a store has to say that it has them"
    assert LeaseStore.__abstractmethods__ == {"acquire", "renew", "release", "set", "peek"}

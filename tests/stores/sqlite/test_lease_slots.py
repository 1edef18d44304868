"""The slots of leases in a lock file: what `LeaseStore`'s contract does not say of them."""

from __future__ import annotations

import fcntl
import os
import random
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.doubles import LIMIT

from llmemo import SQLiteStore
from llmemo.stores import Record
from llmemo.stores.lease_store import Grant, LeaseState
from llmemo.stores.sqlite import lease_slots, leases
from llmemo.stores.sqlite.lease_slots import (
    GROUPS,
    LOCKS_AT,
    SLOT_BYTES,
    SLOTS_AT,
    SLOTS_PER_GROUP,
    LeaseSlots,
    SlotsBusyError,
    _group_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_800_000_000.0
KEY = bytes(range(32))

needs_locks = pytest.mark.skipif(not hasattr(fcntl, "F_OFD_SETLK"), reason="no such locks there")


@pytest.fixture
def files(tmp_path: Path) -> Iterator[list[int]]:
    """Two descriptors of one file, as two processes have."""
    opened = [os.open(tmp_path / "a.db-lock", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    yield opened
    for file in opened:
        os.close(file)


def granted(slots: LeaseSlots, key: bytes = KEY, expires: float = NOW + 5) -> int:
    grant = slots.acquire(key, expires, NOW)
    assert isinstance(grant, Grant)
    return grant.fence


def crowd(count: int) -> list[bytes]:
    """Keys of one group."""
    dice = random.Random(5)
    found: list[bytes] = []
    while len(found) < count:
        key = dice.randbytes(32)
        if _group_of(key) == _group_of(KEY):
            found.append(key)
    return found


def test_a_key_finds_its_own_lease_among_those_of_its_group(files: list[int]) -> None:
    one, other = map(LeaseSlots, files)
    keys = crowd(SLOTS_PER_GROUP)
    fences = {key: granted(one, key, NOW + number) for number, key in enumerate(keys, 1)}
    for number, key in enumerate(keys, 1):
        assert other.acquire(key, NOW + 100, NOW) == LeaseState(NOW + number, 0)
        slot = other.find(key)
        assert slot is not None
        assert (slot.key, slot.fence) == (key, fences[key])


def test_a_full_group_has_room_when_a_lease_has_ended(files: list[int]) -> None:
    slots = LeaseSlots(files[0])
    *keys, late = crowd(SLOTS_PER_GROUP + 1)
    for number, key in enumerate(keys):
        granted(slots, key, NOW + 10 - number)
    assert slots.acquire(late, NOW + 20, NOW) is None
    assert slots.find(late) is None
    # The one that ended first makes way.
    assert isinstance(slots.acquire(late, NOW + 20, NOW + 8.5), Grant)
    assert [slots.find(key) is None for key in keys] == [False, False, False, True]


def test_keys_are_spread_over_the_groups() -> None:
    numbers = [
        _group_of(number.to_bytes(32, order))
        for number in range(4_096)
        for order in ("big", "little")
    ]
    assert all(0 <= number < GROUPS for number in numbers)
    fullest = max(numbers.count(number) for number in set(numbers))
    assert fullest <= 12, "8,192 of them, in 4,096 groups"


@pytest.mark.parametrize("at", [0, 31, 32, 40, 48, 52, 55])
def test_a_slot_that_was_written_by_halves_is_free(files: list[int], at: int) -> None:
    slots = LeaseSlots(files[0])
    fence = granted(slots)
    place = SLOTS_AT + _group_of(KEY) * SLOT_BYTES * SLOTS_PER_GROUP + at
    (byte,) = os.pread(files[0], 1, place)
    os.pwrite(files[0], bytes([byte ^ 1]), place)
    found = slots.find(KEY)
    assert found is None or found.fence != fence or at == 0
    assert not slots.renew(KEY, fence, NOW + 9)
    assert isinstance(slots.acquire(KEY, NOW + 5, NOW), Grant)


def test_a_key_that_begins_within_another_slot_is_not_taken_for_one(files: list[int]) -> None:
    slots = LeaseSlots(files[0])
    *_, hidden = crowd(3)
    # Half of a slot of another key, so that the bytes of this one stand where no slot begins.
    place = SLOTS_AT + _group_of(hidden) * SLOT_BYTES * SLOTS_PER_GROUP
    os.pwrite(files[0], hidden, place + SLOT_BYTES + 7)
    assert slots.find(hidden) is None
    fence = granted(slots, hidden)
    found = slots.find(hidden)
    assert found is not None
    assert found.fence == fence


def test_the_mark_changes_when_a_lease_ends_without_an_answer(files: list[int]) -> None:
    one, other = map(LeaseSlots, files)
    first, second = granted(one), granted(one, b"x" * 32)
    before = other.mark()
    assert other.renew(KEY, first, NOW + 9)
    assert other.mark() == before
    one.end(KEY, first + 1, 1, NOW)
    assert other.mark() == before, "it was lost"
    one.end(KEY, first, 1, NOW)
    after = other.mark()
    assert after != before
    one.forget(b"x" * 32, second)
    assert other.mark() == after, "the database says so"


@needs_locks
def test_a_group_is_changed_by_one_at_a_time(files: list[int]) -> None:
    one, other = map(LeaseSlots, files)
    fence = granted(one)
    lock = struct.pack("hhqqi", fcntl.F_WRLCK, 0, LOCKS_AT + _group_of(KEY), 1, 0)
    fcntl.fcntl(files[0], fcntl.F_OFD_SETLK, lock)
    for change in (
        lambda: other.acquire(KEY, NOW + 5, NOW),
        lambda: other.renew(KEY, fence, NOW + 5),
        lambda: other.end(KEY, fence, 0, NOW),
        lambda: other.forget(KEY, fence),
    ):
        with pytest.raises(SlotsBusyError):
            change()
    assert other.find(KEY) is not None, "a look needs no lock"
    assert isinstance(other.acquire(b"x" * 32, NOW + 5, NOW), Grant), "of another group"


@needs_locks
@pytest.mark.anyio
async def test_what_is_busy_for_a_moment_is_tried_again(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "a.db")
    await store.open()
    file = os.open(tmp_path / "a.db-lock", os.O_RDWR)
    lock = [
        struct.pack("hhqqi", kind, 0, LOCKS_AT + _group_of(KEY), 1, 0)
        for kind in (fcntl.F_WRLCK, fcntl.F_UNLCK)
    ]
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock[0])
    assert store._leases.acquire_at_once({KEY: 5.0}) == {}
    free = threading.Timer(5 * leases.BUSY_PAUSE, fcntl.fcntl, (file, fcntl.F_OFD_SETLK, lock[1]))
    free.start()
    assert isinstance((await store._leases.acquire({KEY: 5.0}))[KEY], Grant)
    free.join(LIMIT)
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock[0])
    # One that stays busy, since its process was stopped, say, is left alone.
    begun = time.monotonic()
    assert await store._leases.acquire({KEY: 5.0}) == {}
    assert time.monotonic() - begun < LIMIT
    os.close(file)
    await store.close()


def test_without_such_locks_leases_are_taken_all_the_same(
    files: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_slots, "COMMAND", None)
    one, other = map(LeaseSlots, files)
    fence = granted(one)
    assert isinstance(other.acquire(KEY, NOW + 9, NOW), LeaseState)
    one.forget(KEY, fence)
    assert isinstance(other.acquire(KEY, NOW + 9, NOW), Grant)


@pytest.mark.anyio
async def test_a_lock_file_that_was_removed_costs_no_more_than_its_leases(tmp_path: Path) -> None:
    one, other = SQLiteStore(tmp_path / "a.db"), SQLiteStore(tmp_path / "a.db")
    for store in (one, other):
        await store.open()
        await store.set([])
    assert isinstance((await one._leases.acquire({KEY: 500.0}))[KEY], Grant)
    (tmp_path / "a.db-lock").unlink()
    assert other._leases.acquire_at_once({KEY: 500.0}) is None
    assert isinstance((await other._leases.acquire({KEY: 500.0}))[KEY], Grant)
    assert isinstance((await one._leases.acquire({KEY: 500.0}))[KEY], LeaseState)
    for store in (one, other):
        await store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("trouble", ["removed", "emptied", "replaced"])
async def test_an_answer_is_stored_though_the_lock_file_is_another_one(
    tmp_path: Path, trouble: str
) -> None:
    one, other = SQLiteStore(tmp_path / "a.db"), SQLiteStore(tmp_path / "a.db")
    for store in (one, other):
        await store.open()
    lock = tmp_path / "a.db-lock"

    async def granted_and_lost(key: bytes) -> int:
        grant = (await one._leases.acquire({key: 500.0}))[key]
        assert isinstance(grant, Grant)
        if trouble == "emptied":
            os.truncate(lock, 0)
        else:
            lock.unlink()
        if trouble == "replaced":
            await other.set([record(bytes(32))])
        return grant.fence

    # No process had its lease since.
    fence = await granted_and_lost(KEY)
    assert set(await one._leases.set([(record(KEY), fence)])) == set()
    assert await other.get([KEY])
    # Another process has.
    fence = await granted_and_lost(b"x" * 32)
    assert isinstance((await other._leases.acquire({b"x" * 32: 500.0}))[b"x" * 32], Grant)
    assert set(await one._leases.set([(record(b"x" * 32), fence)])) == {fence}
    # Another process had, and its answer is there.
    fence = await granted_and_lost(b"y" * 32)
    newer = (await other._leases.acquire({b"y" * 32: 500.0}))[b"y" * 32]
    assert isinstance(newer, Grant)
    assert set(await other._leases.set([(record(b"y" * 32), newer.fence)])) == set()
    assert set(await one._leases.set([(record(b"y" * 32), fence)])) == {fence}
    for store in (one, other):
        await store.close()


def record(key: bytes) -> Record:
    return Record(key, b"value", b"n" * 16, b"l" * 16, time.time(), None)

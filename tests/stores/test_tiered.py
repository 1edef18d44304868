"""A near store in front of a far one: what is served, and what becomes of one that is away."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import time
from typing import TYPE_CHECKING

import pytest
from support.doubles import FakeStore, Fault
from support.tiers import Machine, Server, record

from llmemo import ConfigurationError, LLMCache, SQLiteStore, StoreError
from llmemo.concurrency import circuit_breaker
from llmemo.stores.base import StoreRefusedError, StoreUnavailableError
from llmemo.stores.lease_store import Grant
from llmemo.stores.records import Selection
from llmemo.stores.registry import store_of
from llmemo.stores.tiered import TieredStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from llmemo.stores.records import Record

pytestmark = pytest.mark.anyio

ONE = record(1).key
ALL = Selection(b"n" * 16, None, None)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(circuit_breaker, "LONGEST_PAUSE", 0.02)


@pytest.fixture
async def machines() -> list[Machine]:
    """Two machines with a near store each, that share a server."""
    server = Server()
    made = [Machine(server), Machine(server)]
    for machine in made:
        await machine.store.open()
        await machine.store.changes()
    return made


async def value(machine: Machine, number: int = 1) -> bytes | None:
    found = (await machine.store.get([record(number).key])).get(record(number).key)
    return None if found is None else found.value


async def shut(machine: Machine) -> None:
    """Have the far store found to be away."""
    machine.far.mode = "away"
    for _ in range(5):
        assert await value(machine, 999) is None


async def well_again(machine: Machine) -> None:
    machine.far.mode = "well"
    deadline = time.monotonic() + 10
    while machine.store._far.breaker.is_open:
        assert time.monotonic() < deadline
        await told(machine)
        await asyncio.sleep(0.02)


async def told(machine: Machine) -> list[bytes | Selection] | None:
    """What memory is told, with trouble left out."""
    try:
        changed = await machine.store.changes()
    except StoreUnavailableError:
        return []
    return None if changed is None else list(changed)


async def tended(machine: Machine) -> None:
    """An upkeep, with trouble left out."""
    with contextlib.suppress(StoreUnavailableError):
        await machine.store.upkeep()


# What is served.


async def test_a_proven_answer_does_not_touch_the_far_store(machines: list[Machine]) -> None:
    one, _ = machines
    await one.store.set([record(1)])
    assert await value(one) == b"value"
    assert one.far.count("get") == 0


async def test_what_only_the_far_store_has_is_kept_near_and_not_on_the_path_of_the_read(
    machines: list[Machine],
) -> None:
    one, other = machines
    await one.store.set([record(1)])
    assert await value(other) == b"value"
    assert other.near.records == {}
    await other.store.upkeep()
    assert other.near.records == {ONE: record(1)}
    asked = other.far.count("get")
    assert await value(other) == b"value"
    assert other.far.count("get") == asked


async def test_a_far_store_that_was_not_asked_for_changes_lately_is_asked_for_the_answer(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = machines
    now = time.monotonic()
    await one.store.set([record(1)])
    await other.store.set([record(1, b"newer")])
    monkeypatch.setattr(one.store._state.trust, "_clock", lambda: now + 1.2)
    assert await value(one) == b"newer"


REMOVALS: dict[str, Callable[[Machine], Awaitable[object]]] = {
    "replaced": lambda machine: machine.store.set([record(1, b"newer")]),
    "deleted": lambda machine: machine.store.delete([ONE]),
    "cleared": lambda machine: machine.store.delete(None),
    "invalidated": lambda machine: machine.store.invalidate(ALL),
}


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("is_away", [False, True])
async def test_what_another_machine_removes_is_served_no_more_once_it_is_told(
    machines: list[Machine], removal: str, is_away: bool
) -> None:
    one, other = machines
    await one.store.set([record(1)])
    await REMOVALS[removal](other)
    changed = await one.store.changes()
    assert changed is None or set(changed) & {ONE, ALL}
    if is_away:
        await shut(one)
        assert await value(one) is None
        assert one.store.get_at_once([ONE]) is None
    else:
        assert await value(one) == (b"newer" if removal == "replaced" else None)
    await tended(one)
    assert one.near.records.get(ONE) in (None, record(1, b"newer"))
    # Nor after a restart.
    again = await one.restarted("away")
    assert await value(again) in (None, b"newer")


async def test_a_change_that_comes_between_a_read_and_its_copy_is_not_undone(
    machines: list[Machine],
) -> None:
    one, other = machines
    await other.store.set([record(1)])
    assert await value(one) == b"value"
    await other.store.delete([ONE])
    await one.store.changes()
    await one.store.upkeep()
    assert one.near.records == {}


async def test_a_change_that_comes_during_the_copy_is_not_undone(machines: list[Machine]) -> None:
    one, other = machines
    await other.store.set([record(1)])
    assert await value(one) == b"value"

    async def slow(records: list[Record]) -> None:
        one.near.records.update({it.key: it for it in records})
        await other.store.delete([ONE])
        await one.store.changes()

    one.near.set = slow  # type: ignore[method-assign, assignment]
    await one.store.upkeep()
    assert await value(one) is None
    await one.store.upkeep()
    assert one.near.records == {}


async def test_a_change_that_comes_during_a_write_is_not_undone(machines: list[Machine]) -> None:
    one, other = machines
    await one.store.set([record(1, b"first")])

    async def slow(records: list[Record]) -> None:
        one.near.records.update({it.key: it for it in records})
        await other.store.set([record(1, b"newest")])
        await one.store.changes()

    one.near.set = slow  # type: ignore[method-assign, assignment]
    await one.store.set([record(1, b"second")])
    assert await value(one) == b"newest"


async def test_what_another_process_writes_to_the_near_store_is_not_believed(
    machines: list[Machine],
) -> None:
    one, _ = machines
    await one.store.set([record(1)])
    one.near.records[ONE] = record(1, b"stale")
    assert await value(one) == b"value"
    assert one.store.get_at_once([ONE]) is None


async def test_an_answer_that_has_expired_is_looked_up_in_the_far_store(
    machines: list[Machine],
) -> None:
    one, other = machines
    one.store.clock = lambda: 100.0
    await one.store.set([record(1, expires=99.0)])
    assert await value(one) == b"value", "kept for `stale_if_error`"
    other.far.server.records[ONE] = record(1, b"renewed")
    assert await value(one) == b"renewed"


# Start.


async def test_after_a_start_the_far_store_has_the_last_word(machines: list[Machine]) -> None:
    one, other = machines
    await one.store.set([record(n) for n in range(1, 4)])
    await one.store.close()
    await other.store.delete([ONE])
    await other.store.set([record(2, b"newer")])
    again = await one.restarted()
    assert [await value(again, n) for n in (1, 2, 3)] == [None, b"newer", b"value"]
    await again.store.changes()
    await again.store.upkeep()
    assert [await value(again, n) for n in (1, 2, 3)] == [None, b"newer", b"value"]
    await again.store.upkeep()
    assert set(again.near.records.values()) == {record(2, b"newer"), record(3)}


async def test_a_start_without_the_far_store_is_warm_and_what_was_served_is_looked_up_later(
    machines: list[Machine],
) -> None:
    one, other = machines
    await one.store.set([record(1), record(2)])
    await one.store.close()
    await other.store.delete([ONE])
    again = await one.restarted("away")
    assert [await value(again, n) for n in (1, 2)] == [b"value", b"value"]
    again.far.mode = "well"
    assert set(await told(again) or ()) == {record(1).key, record(2).key}, "memory has them"
    assert [await value(again, n) for n in (1, 2)] == [None, b"value"]


# The far store is away.


async def test_while_the_far_store_is_away_hits_go_on_and_nothing_raises(
    machines: list[Machine],
) -> None:
    one, _ = machines
    await one.store.set([record(1)])
    await shut(one)
    asked = len(one.far.asked)
    assert await value(one) == b"value"
    assert await value(one, 7) is None
    assert await one.store.get_or_acquire([record(7).key], {record(7).key: 5.0}) == ({}, {})
    assert one.store.leases is not None
    assert await one.store.leases.acquire({record(7).key: 5.0}) == {}
    await one.store.set([record(2)])
    assert await value(one, 2) == b"value"
    assert len(one.far.asked) == asked, "it is not asked for a while"


async def test_its_trouble_is_told_once(machines: list[Machine]) -> None:
    one, _ = machines
    await shut(one)
    with pytest.raises(StoreUnavailableError, match="the server is away"):
        await one.store.changes()
    assert await one.store.changes() == ()


async def test_what_was_stored_meanwhile_reaches_the_far_store(machines: list[Machine]) -> None:
    one, other = machines
    await shut(one)
    await one.store.set([record(n) for n in range(3)])
    await other.store.set([record(2, b"other")])
    await well_again(one)
    await one.store.upkeep()
    assert await value(other, 1) == b"value"
    assert await value(one, 2) == b"other", "what came to the far store first stays"


@pytest.mark.parametrize("removal", [name for name in REMOVALS if name != "replaced"])
async def test_what_was_removed_meanwhile_does_not_come_back(
    machines: list[Machine], removal: str
) -> None:
    one, other = machines
    await shut(one)
    await one.store.set([record(1)])
    await REMOVALS[removal](other)
    await well_again(one)
    await one.store.upkeep()
    assert one.far.server.records == {}
    assert await value(one) is None


async def test_a_removal_that_the_far_store_does_not_confirm_raises_and_is_made_up_for(
    machines: list[Machine],
) -> None:
    one, other = machines
    await one.store.set([record(n) for n in range(1, 5)])
    one.far.mode = "away"
    with pytest.raises(StoreUnavailableError):
        await one.store.delete([ONE])  # tried again, as for one store
    await shut(one)
    with pytest.raises(StoreError, match="goes on by itself"):
        await one.store.delete([ONE])
    assert await value(one) is None
    # Even where it can be read, while it cannot be written.
    one.far.mode = "well"
    assert ONE in one.far.server.records
    assert await value(one) is None
    await well_again(one)
    assert await value(one) is None
    await one.store.upkeep()
    assert ONE not in one.far.server.records
    assert await value(other) is None


async def test_a_key_that_is_stored_after_its_removal_stays(machines: list[Machine]) -> None:
    one, _ = machines
    await one.store.set([record(1)])
    await shut(one)
    with pytest.raises(StoreError):
        await one.store.delete([ONE])
    await one.store.set([record(1, b"newer")])
    assert await value(one) == b"newer"
    await well_again(one)
    await one.store.upkeep()
    assert one.far.server.records[ONE].value == b"newer"


@pytest.mark.parametrize("removal", ["cleared", "invalidated"])
async def test_the_same_of_everything(machines: list[Machine], removal: str) -> None:
    one, _ = machines
    await one.store.set([record(1), record(2)])
    await shut(one)
    with pytest.raises(StoreError, match="goes on by itself"):
        await REMOVALS[removal](one)
    assert await value(one) is None
    await well_again(one)
    assert await value(one) is None
    await one.store.upkeep()
    assert one.far.server.records == one.near.records == {}


async def test_a_frozen_far_store_is_waited_for_five_times(machines: list[Machine]) -> None:
    one, _ = machines
    await one.store.set([record(1)])
    one.far.mode = "frozen"
    waits = 0
    for _ in range(12):
        begun = time.monotonic()
        assert await value(one, 7) is None
        waits += time.monotonic() - begun > 0.05
    assert waits == 5
    assert await value(one) == b"value"
    await well_again(one)
    assert await value(one) == b"value"


async def test_a_write_that_comes_late_is_no_second_one(machines: list[Machine]) -> None:
    one, _ = machines
    one.far.mode = "frozen"
    await one.store.set([record(1)])
    assert one.near.records == {ONE: record(1)}
    one.far.mode = "well"
    await told(one)
    await one.store.upkeep()
    assert one.far.server.records == {ONE: record(1)}
    assert len(one.store._state.backlog) == 0


async def test_no_write_of_the_far_store_runs_beside_one_that_takes_long(
    machines: list[Machine],
) -> None:
    one, _ = machines
    one.far.mode = "frozen"
    for number in range(3):
        await one.store.set([record(number)])
    assert one.far.count("set") == 1


async def test_a_lease_that_is_granted_too_late_is_given_back(machines: list[Machine]) -> None:
    one, _ = machines
    one.far.mode = "frozen"
    assert await one.store.get_or_acquire([ONE], {ONE: 5.0}) == ({}, {})
    one.far.mode = "well"
    for _ in range(100):
        if one.far.server.leases:
            break
        await asyncio.sleep(0.005)
    assert one.far.server.leases
    await told(one)
    await one.store.upkeep()
    assert one.far.server.leases == {}


# One of them refuses.


async def test_a_far_store_that_refuses_does_not_keep_the_near_one_from_storing(
    machines: list[Machine],
) -> None:
    one, _ = machines
    one.far.mode = "refusing"
    await one.store.set([record(1)])
    assert await value(one) == b"value"
    with pytest.raises(StoreRefusedError):
        await one.store.changes()
    one.far.mode = "well"
    await one.store.upkeep()
    assert one.far.server.records == {}, "it is dropped there"


async def test_a_near_store_that_refuses_does_not_keep_the_far_one_from_storing(
    machines: list[Machine],
) -> None:
    one, _ = machines
    await one.store.set([record(1)])
    one.near.before = Fault("set", StoreRefusedError("full"))
    await one.store.set([record(1, b"newer")])
    assert await value(one) == b"newer"
    await shut(one)
    assert await value(one) is None, "what the near store has was replaced"


async def test_a_near_store_that_cannot_be_read_or_opened_leaves_the_far_one(
    machines: list[Machine],
) -> None:
    one, _ = machines
    await one.store.set([record(1)])
    one.near.before = Fault("get", OSError(5, "x"))
    assert await value(one) == b"value"
    await one.store.close()
    one.near.before = Fault("open", OSError(5, "x"))
    await one.store.open()
    assert await value(one) == b"value"
    one.far.mode = "away"
    with pytest.raises(OSError, match="x"):
        await one.store.get([ONE])


async def test_if_both_are_away_a_write_and_a_read_raise(machines: list[Machine]) -> None:
    one, _ = machines
    one.far.mode = "away"
    one.near.before = Fault("set", StoreUnavailableError("locked"), 1)
    with pytest.raises(StoreUnavailableError):
        await one.store.set([record(1)])
    await one.store.set([record(1)])
    assert await value(one) == b"value"


# Leases.


async def test_leases_are_the_far_stores(machines: list[Machine]) -> None:
    one, other = machines
    _, leases = await one.store.get_or_acquire([ONE], {ONE: 5.0})
    grant = leases[ONE]
    assert isinstance(grant, Grant)
    assert not isinstance((await other.store.get_or_acquire([ONE], {ONE: 5.0}))[1][ONE], Grant)
    assert one.store.leases is not None
    late = (record(1, b"late"), grant.fence + 5)
    assert list(await one.store.leases.set([late, (record(2), None)])) == [grant.fence + 5]
    assert set(one.near.records) == {record(2).key}
    assert list(await one.store.leases.set([(record(1), grant.fence)])) == []
    assert await value(other) == b"value"
    assert one.far.server.leases == {}


# What it is made of.


def test_locations_of_stores(tmp_path: Path) -> None:
    near, far = tmp_path / "near.db", tmp_path / "far.db"
    store = store_of([near, SQLiteStore(far)])
    assert isinstance(store, TieredStore)
    assert repr(store) == f"TieredStore([{SQLiteStore(near)!r}, {SQLiteStore(far)!r}])"
    assert isinstance(store_of([near]), SQLiteStore)
    again = pickle.loads(pickle.dumps(store))
    assert repr(again) == repr(store)


@pytest.mark.parametrize("count", [0, 3])
def test_other_numbers_of_stores_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(ConfigurationError, match="near"):
        LLMCache([tmp_path / f"{n}.db" for n in range(count)])


def test_stores_that_cannot_be_one_of_two(tmp_path: Path) -> None:
    one, other = SQLiteStore(tmp_path / "1.db"), SQLiteStore(tmp_path / "2.db")
    with pytest.raises(ConfigurationError, match="give two"):
        TieredStore([one, one])
    with pytest.raises(ConfigurationError, match="tiered itself"):
        TieredStore([one, TieredStore([one, other])])
    with LLMCache(tmp_path / "3.db") as cache:
        cache.lookup("p", "m")
    with pytest.raises(ConfigurationError, match="read-only"):
        TieredStore([SQLiteStore(tmp_path / "3.db", read_only=True), other])
    with pytest.raises(ConfigurationError, match="needs two stores"):
        TieredStore(tmp_path)  # type: ignore[arg-type]


async def test_a_request_goes_only_to_the_store_that_asks_for_it(machines: list[Machine]) -> None:
    one, _ = machines
    one.near.store_requests = True
    machine = Machine(Server(), one.near)
    await machine.store.open()
    await machine.store.set([record(1)._replace(request=b"[]")])
    assert machine.near.records[ONE].request == b"[]"
    assert machine.far.server.records[ONE].request is None


async def test_settings_reach_both() -> None:
    near = FakeStore()
    machine = Machine(Server(), near)
    machine.store.grace = 7.0
    machine.store.clock = lambda: 5.0
    assert (near.grace, machine.far.grace, machine.far.timeout) == (7.0, 7.0, 0.2)
    assert (near.clock(), machine.far.clock()) == (5.0, 5.0)

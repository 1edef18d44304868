"""What every store promises. A new one is a row of `STORES`, and inherits all of these tests."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from support.redis_stores import move_clock, redis_store
from support.tiers import tiered

from llmemo import SQLiteStore, Store
from llmemo.stores import Record, Selection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio

STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda folder: SQLiteStore(folder / "store.db"),
    "sqlite-full": lambda folder: SQLiteStore(folder / "store.db", durability="full"),
    "redis": redis_store,
    "tiered": tiered,
}
IN_PROCESS = ("sqlite", "sqlite-full", "tiered")
"""Those that need no server."""
WITH_TRANSACTIONS = ("sqlite", "sqlite-full", "tiered")
"""Those that have none of a batch if they cannot have all of it."""


def record(number: int, value: bytes = b"value", expires: float | None = None) -> Record:
    key = number.to_bytes(32, "big")
    return Record(key, value, b"n" * 16, b"l" * 16, 1_700_000_000.25, expires)


def key(number: int) -> bytes:
    return record(number).key


ROWS = [
    pytest.param(name, marks=() if name in IN_PROCESS else pytest.mark.process) for name in STORES
]


@pytest.fixture(params=ROWS)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Makes a store; called again, one over the same data."""
    return lambda: STORES[request.param](tmp_path)


@pytest.fixture
async def store(make_store: Callable[[], Store]) -> AsyncIterator[Store]:
    store = make_store()
    await store.open()
    yield store
    await store.close()


async def get(store: Store, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
    """What there is of these; whoever can tell that at once tells the same."""
    found = await store.get(keys)
    at_once, here = store.get_at_once(keys), store.get_in_thread(keys)
    assert at_once is None or at_once == found
    assert here is None or here == found
    assert (await store.get_or_acquire(keys, {}))[0] == found
    return found


async def test_an_empty_store_has_nothing(store: Store) -> None:
    assert await get(store, [key(1)]) == {}
    assert await store.delete([key(1)]) == 0
    assert await store.delete(None) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"value": b""},
        {"value": bytes(range(256)) * 5_000},
        {"expires": 1_800_000_000.123456},
        {"created": 0.0},
        {"key": b"\0" * 32},
        {"key": b"\xff" * 32},
    ],
)
async def test_a_record_comes_back_as_it_went(store: Store, changes: dict[str, object]) -> None:
    written = record(1)._replace(**changes)  # type: ignore[arg-type]
    await store.set([written])
    found = await get(store, [written.key])
    assert found == {written.key: written}
    assert type(found[written.key].value) is bytes


async def test_get_gives_what_there_is_of_what_was_asked(store: Store) -> None:
    await store.set([record(n, str(n).encode()) for n in range(10)])
    found = await get(store, [key(n) for n in range(5, 15)])
    assert {k: r.value for k, r in found.items()} == {key(n): str(n).encode() for n in range(5, 10)}


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257, 1_000, 3_001])
async def test_batches_of_any_size(store: Store, count: int) -> None:
    records = [record(n, str(n).encode()) for n in range(count)]
    await store.set(records)
    assert await get(store, [r.key for r in records]) == {r.key: r for r in records}
    assert await store.delete([r.key for r in records]) == count
    assert await get(store, [r.key for r in records]) == {}


async def test_asking_twice_for_one_key_is_no_matter(store: Store) -> None:
    await store.set([record(1)])
    assert await get(store, [key(1), key(1), key(2), key(1)]) == {key(1): record(1)}


async def test_the_last_write_of_a_key_counts(store: Store) -> None:
    await store.set([record(1, b"old", expires=5.0)])
    newer = record(1, b"new")._replace(namespace=b"m" * 16, created=2.0)
    await store.set([newer])
    assert await get(store, [key(1)]) == {key(1): newer}


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1_000])
async def test_what_is_added_leaves_what_is_there(store: Store, count: int) -> None:
    store.clock = lambda: 100.0
    if not store.keeps_clock:
        move_clock(100.0)
    await store.set([record(2, b"there"), record(3, b"over", 99.5), record(4, b"on", 100.5)])
    assert await store.add([record(n, b"added") for n in range(count + 5)]) == count + 3
    found = await get(store, [key(n) for n in range(count + 5)])
    kept = {2: b"there", 4: b"on"}
    assert found == {
        key(n): record(n, kept.get(n, b"added"), 100.5 if n == 4 else None)
        for n in range(count + 5)
    }
    assert await store.add([record(n, b"again") for n in range(count + 5)]) == 0
    assert await get(store, [key(n) for n in range(count + 5)]) == found
    assert await store.add([]) == 0


async def test_delete_removes_what_it_names_and_nothing_else(store: Store) -> None:
    await store.set([record(n) for n in range(5)])
    assert await store.delete([key(1), key(3), key(77)]) == 2
    assert set(await get(store, [key(n) for n in range(5)])) == {key(0), key(2), key(4)}
    assert await store.delete(None) == 3
    assert await get(store, [key(n) for n in range(5)]) == {}


async def test_an_expired_record_is_the_callers_to_judge(store: Store) -> None:
    await store.set([record(1, expires=1.0)])
    found = await get(store, [key(1)])
    assert found == {key(1): record(1, expires=1.0)} or (store.forgets and not found)


async def test_what_was_set_outlives_the_store(
    make_store: Callable[[], Store], store: Store
) -> None:
    await store.set([record(1)])
    other = make_store()
    await other.open()
    # While the first is open …
    assert await get(other, [key(1)]) == {key(1): record(1)}
    await store.close()
    # … and when it is closed.
    assert await get(other, [key(1)]) == {key(1): record(1)}
    await other.close()
    await store.open()
    assert await get(store, [key(1)]) == {key(1): record(1)}


async def test_each_whole_or_all_or_nothing(store: Store, request: pytest.FixtureRequest) -> None:
    broken = record(2)._replace(value=None)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="."):
        await store.set([record(1), broken, record(3)])
    found = await get(store, [key(1), key(2), key(3)])
    if request.node.callspec.params["make_store"] in WITH_TRANSACTIONS:
        assert found == {}
    assert found.items() <= {key(1): record(1), key(3): record(3)}.items()
    await store.delete(None)
    await store.set([record(1)])
    assert set(await get(store, [key(1)])) == {key(1)}


async def test_the_records_that_were_added_last_are_listed_without_their_values(
    store: Store,
) -> None:
    assert list(await store.recent(5)) == []
    many = [record(n)._replace(outline=bytes([n % 7])) for n in range(1_100)]
    await store.set(many)
    if not store.lists_recent:
        assert list(await store.recent(5)) == []
        return
    await store.set([record(3, b"new")])  # not added, but replaced
    for limit in (1, 499, 500, 501, 1_000, 5_000):
        listed = await store.recent(limit)
        assert [one.key for one in listed] == [one.key for one in many[::-1][:limit]]
    assert {one.value for one in listed} == {b""}
    assert listed[0] == many[-1]._replace(value=b"")
    assert listed[-4].outline == b""


async def test_requests_are_kept_beside_their_answers(store: Store) -> None:
    await store.set([record(1)._replace(request=b"[]", outline=b"o"), record(2)])
    if not store.lists_recent:
        assert set(await get(store, [key(1), key(2)])) == {key(1), key(2)}
        return
    two, one = await store.recent(2)
    assert (one.request, two.request, one.outline) == (b"[]", None, b"o")


async def test_what_is_discarded_is_what_was_read_and_nothing_else(store: Store) -> None:
    await store.set([record(number) for number in range(4)])
    await store.set([record(2, b"written since")])
    await store.delete([key(3)])
    await store.discard([record(1), record(2), record(3), record(9), record(1, b"never was")])
    found = await get(store, [key(number) for number in range(4)])
    assert set(found) == {key(0), key(2)}
    assert found[key(2)].value == b"written since"


async def invalidated(store: Store, *selection: bytes | float | None) -> int:
    """How many were removed, however often that has to be asked."""
    meant = Selection(*selection)  # type: ignore[arg-type]
    for _ in range(100):
        removed = await store.invalidate(meant)
        if removed is not None:
            return removed
    raise AssertionError("it never ends")


@pytest.mark.slow
@pytest.mark.parametrize("namespace", [None, b"a" * 16, b"\0" * 16])
@pytest.mark.parametrize("llm", [None, b"l" * 16, b"x" * 16])
@pytest.mark.parametrize("before", [None, 0.0, 3.0])
async def test_what_matches_all_that_is_selected_is_removed_and_nothing_else(
    store: Store, namespace: bytes | None, llm: bytes | None, before: float | None
) -> None:
    parts = itertools.product((b"a" * 16, b"\0" * 16, b"b" * 16), (b"l" * 16, b"m" * 16), range(6))
    records = [
        record(number)._replace(namespace=of, llm=by, created=float(at))
        for number, (of, by, at) in enumerate(parts)
    ]
    await store.set(records)
    gone = {
        one.key
        for one in records
        if namespace in (None, one.namespace)
        and llm in (None, one.llm)
        and (before is None or one.created < before)
    }
    assert await invalidated(store, namespace, llm, before) == len(gone)
    assert await get(store, [one.key for one in records]) == {
        one.key: one for one in records if one.key not in gone
    }
    assert await invalidated(store, namespace, llm, before) == 0


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1_000])
async def test_however_many_are_selected_they_are_removed(store: Store, count: int) -> None:
    await store.set([record(n) for n in range(count)])
    assert await invalidated(store, b"n" * 16, None, None) == count
    assert await get(store, [key(n) for n in range(count)]) == {}


async def test_what_comes_between_two_steps_of_a_removal_stays(store: Store) -> None:
    await store.set([record(n) for n in range(600)])
    selection = Selection(b"n" * 16, None, None)
    removed, added = await store.invalidate(selection), 0
    while removed is None:
        added += 1
        await store.set([record(1_000 + added)])
        removed = await store.invalidate(selection)
    assert removed == 600
    assert len(await get(store, [key(n) for n in range(2_000)])) == added

"""What every store promises that keeps questions. A new one is a row of `STORES`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.tiers import tiered
from support.vector_stores import QuestionStore

from llmemo import SQLiteStore, Store
from llmemo.stores import Record, Selection
from llmemo.stores.lease_store import Grant
from llmemo.stores.records import StoredQuestion
from llmemo.stores.vector_store import QuestionRow, VectorStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio

STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda folder: SQLiteStore(folder / "store.db"),
    "sqlite-full": lambda folder: SQLiteStore(folder / "store.db", durability="full"),
    "tiered": tiered,
    "fake": lambda folder: QuestionStore(),
}
ALL = {"after": 0, "before": 2**63 - 1, "limit": 10_000}
HERE, THERE = b"h" * 32, b"t" * 32


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def asked(number: int, sealed: bytes | None = b"sealed", partition: bytes = HERE) -> Record:
    """A record with a question, or without one."""
    question = None if sealed is None else StoredQuestion(partition, sealed)
    value = str(number).encode()
    return Record(key(number), value, b"n" * 16, b"l" * 16, 2.0, None, b"", None, question)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = STORES[request.param](tmp_path)
    await store.open()
    yield store
    await store.close()


def vectors(store: Store) -> VectorStore:
    assert store.vectors is not None
    return store.vectors


async def listed(store: Store, partition: bytes = HERE) -> Sequence[QuestionRow]:
    return await vectors(store).questions(partition, **ALL)


async def keys(store: Store, partition: bytes = HERE) -> list[int]:
    """Which there are, the newest first."""
    return [int.from_bytes(row.key, "big") for row in await listed(store, partition)]


async def test_a_store_has_none_unless_it_says_so() -> None:
    assert Store.vectors is None
    assert VectorStore.__abstractmethods__ == {"questions", "state", "amend"}


async def test_questions_come_newest_first_by_partition(store: Store) -> None:
    assert await listed(store) == []
    await store.set([asked(n, b"%d" % n) for n in range(3)] + [asked(9, None)])
    await store.set([asked(3, b"3"), asked(4, b"4", THERE)])
    rows = await listed(store)
    assert [(row.key, row.sealed) for row in rows] == [(key(n), b"%d" % n) for n in (3, 2, 1, 0)]
    assert await keys(store, THERE) == [4]
    ids = [row.id for row in rows]
    assert ids == sorted(set(ids), reverse=True)


@pytest.mark.parametrize("limit", [1, 7, 499, 500, 501, 2_000])
async def test_pages_of_any_size_leave_nothing_out(store: Store, limit: int) -> None:
    await store.set([asked(n) for n in range(1_010)])
    before, found = 2**63 - 1, list[QuestionRow]()
    while len(found) < 1_100 and (limit > 1 or len(found) < 20):
        page = await vectors(store).questions(HERE, after=0, before=before, limit=limit)
        found += page
        if len(page) < limit:
            break
        before = page[-1].id
    assert found == (await listed(store))[: len(found)]
    assert len(found) == (20 if limit == 1 else 1_010)


async def test_what_came_since_is_asked_for_by_the_last_id(store: Store) -> None:
    await store.set([asked(n) for n in range(5)])
    [last, *_] = await listed(store)
    assert await vectors(store).questions(HERE, **{**ALL, "after": last.id}) == []
    await store.set([asked(7), asked(8)])
    newer = await vectors(store).questions(HERE, **{**ALL, "after": last.id})
    assert [row.key for row in newer] == [key(8), key(7)]


async def test_a_record_keeps_its_question_when_its_value_is_replaced(store: Store) -> None:
    await store.set([asked(1, b"one"), asked(2, b"two")])
    before = await listed(store)
    await store.set([asked(1, None)._replace(value=b"newer")])
    await store.set([asked(2, b"two")._replace(value=b"newer")])
    assert await listed(store) == before


async def test_another_question_of_a_record_is_a_newer_one(store: Store) -> None:
    await store.set([asked(1, b"one"), asked(2, b"two"), asked(3, b"three")])
    [three, *_] = await listed(store)
    await store.set([asked(1, b"sealed again"), asked(2, b"two", THERE)])
    rows = await listed(store)
    assert [(row.key, row.sealed) for row in rows] == [
        (key(1), b"sealed again"),
        (key(3), b"three"),
    ]
    assert rows[0].id > three.id
    [moved] = await listed(store, THERE)
    assert moved.id > rows[0].id


async def selected(store: Store, selection: Selection) -> None:
    while await store.invalidate(selection) is None:
        pass


REMOVALS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "delete": lambda store: store.delete([key(0), key(1), key(2)]),
    "clear": lambda store: store.delete(None),
    "discard": lambda store: store.discard([asked(0), asked(1), asked(2)]),
    "invalidate": lambda store: selected(store, Selection(b"n" * 16, None, None)),
}


@pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS)
async def test_a_question_goes_with_its_record_and_its_id_is_gone_for_good(
    store: Store, remove: Callable[[Store], Awaitable[object]]
) -> None:
    await store.set([asked(n) for n in range(3)])
    [last, *_] = await listed(store)
    await remove(store)
    assert await listed(store) == []
    await store.set([asked(1, None)])
    assert await listed(store) == [], "without a question it has none"
    await store.set([asked(0), asked(5)])
    assert await keys(store) == [5, 0]
    assert min(row.id for row in await listed(store)) > last.id


async def test_what_stays_keeps_its_question(store: Store) -> None:
    await store.set([asked(n) for n in range(6)])
    await store.delete([key(1), key(99)])
    await store.discard([asked(2), asked(3)._replace(value=b"another")])
    assert await keys(store) == [5, 4, 3, 0]


async def test_what_is_added_brings_its_question_and_nothing_else_does(store: Store) -> None:
    store.clock = lambda: 100.0
    there = asked(1, b"there")
    over = asked(2, b"over")._replace(expires=99.0)
    await store.set([there, over, asked(3, None)])
    new = [asked(n, b"added") for n in range(1, 6)]
    assert await store.add([*new, asked(6, None)]) == 4
    found = {row.key: row.sealed for row in await listed(store)}
    assert found == {
        key(1): b"there",
        key(2): b"added",
        key(4): b"added",
        key(5): b"added",
    }


async def test_all_or_nothing(store: Store) -> None:
    if isinstance(store, QuestionStore):
        pytest.skip("a dict takes anything")
    broken = asked(2)._replace(question=StoredQuestion(HERE, None))  # type: ignore[arg-type]
    with pytest.raises(Exception, match="."):
        await store.set([asked(1), broken, asked(3)])
    assert await store.get([key(1), key(2), key(3)]) == {}
    assert await listed(store) == []


async def test_a_record_that_comes_too_late_leaves_no_question(store: Store) -> None:
    if store.leases is None:
        pytest.skip("it has no leases")
    granted = (await store.leases.acquire({key(1): 5.0}))[key(1)]
    assert isinstance(granted, Grant)
    refused = granted.fence ^ 1
    batch = [(asked(1, b"late"), refused), (asked(2, b"two"), None)]
    assert await store.leases.set(batch) == {refused}
    assert await keys(store) == [2]
    assert not await store.leases.set([(asked(1, b"in time"), granted.fence)])
    assert await keys(store) == [1, 2]


def append(text: bytes) -> Callable[[bytes | None], bytes | None]:
    return lambda state: (state or b"") + text


async def test_a_state_is_amended_by_what_is_stored(store: Store) -> None:
    it = vectors(store)
    assert await it.state(b"a") is None
    assert await it.amend(b"a", lambda state: None) is None
    assert await it.state(b"a") is None
    assert await it.amend(b"a", append(b"1")) == b"1"
    assert await it.amend(b"a", append(b"2")) == b"12"
    assert await it.amend(b"a", lambda state: None) == b"12"
    assert await it.amend(b"b", append(b"")) == b""
    assert (await it.state(b"a"), await it.state(b"b")) == (b"12", b"")


async def test_a_change_that_fails_leaves_the_state(store: Store) -> None:
    def fail(state: bytes | None) -> bytes:
        raise ValueError("as the test wants it")

    await vectors(store).amend(b"a", append(b"1"))
    with pytest.raises(ValueError, match="as the test wants it"):
        await vectors(store).amend(b"a", fail)
    assert await vectors(store).amend(b"a", append(b"2")) == b"12"


async def test_states_outlive_the_records(store: Store) -> None:
    await store.set([asked(1)])
    await vectors(store).amend(b"a", append(b"1"))
    await store.delete(None)
    assert await vectors(store).state(b"a") == b"1"

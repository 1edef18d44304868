"""Questions in an SQLite file: however a row goes, of whatever age the file is."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.outputs import Generation
from support.doubles import LIMIT, STRICT

from llmemo import LLMCache, SQLiteStore, StoreError
from llmemo.stores import Record
from llmemo.stores.records import StoredQuestion
from llmemo.stores.sqlite import schema
from llmemo.stores.vector_store import QuestionRow, VectorStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio

PARTITION = b"p" * 32


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def asked(number: int, *, size: int = 8, expires: float | None = None) -> Record:
    question = StoredQuestion(PARTITION, b"q" * size)
    return Record(key(number), b"v", b"n" * 16, b"l" * 16, 1.0, expires, b"", None, question)


def vectors(store: SQLiteStore) -> VectorStore:
    assert store.vectors is not None
    return store.vectors


async def listed(store: SQLiteStore) -> Sequence[QuestionRow]:
    return await vectors(store).questions(PARTITION, after=0, before=2**63 - 1, limit=100_000)


async def keys(store: SQLiteStore) -> list[int]:
    return [int.from_bytes(row.key, "big") for row in await listed(store)]


def execute(path: Path, *statements: str) -> list[tuple[object, ...]]:
    """Run statements as another program. Returns the rows of the last one."""
    with closing(sqlite3.connect(path)) as connection:
        found = [connection.execute(statement).fetchall() for statement in statements][-1]
        connection.commit()
    return found


@pytest.fixture
async def opened() -> AsyncIterator[list[SQLiteStore]]:
    """Stores to close at the end, even of a test that fails."""
    stores: list[SQLiteStore] = []
    yield stores
    for store in stores:
        await store.close()


async def open_at(opened: list[SQLiteStore], path: Path, **settings: Any) -> SQLiteStore:
    store = SQLiteStore(path, **settings)
    opened.append(store)
    await store.open()
    return store


@pytest.fixture
async def store(tmp_path: Path, opened: list[SQLiteStore]) -> SQLiteStore:
    return await open_at(opened, tmp_path / "a.db")


async def settled(store: SQLiteStore) -> None:
    """Look after a store until it has nothing to do."""
    before = None
    numbers = ("SELECT count(*) FROM entries", "PRAGMA page_count", "PRAGMA freelist_count")
    while before != (before := [execute(store.path, one) for one in numbers]):
        store._upkeep._looked = 0.0
        await store.upkeep()


async def test_questions_expire_with_their_answers(store: SQLiteStore) -> None:
    store.clock = lambda: 100.0
    await store.set([asked(n, expires=99.0 if n % 2 else 101.0) for n in range(600)])
    await settled(store)
    assert await keys(store) == list(range(598, -1, -2))


async def test_what_another_program_or_version_removes_has_no_question(store: SQLiteStore) -> None:
    await store.set([asked(n) for n in range(4)])
    execute(store.path, "DELETE FROM entries WHERE id IN (2, 3)")
    assert await keys(store) == [3, 0]
    execute(store.path, "DELETE FROM entries")
    assert await keys(store) == []


async def test_clear_leaves_the_schema_as_it_was(
    store: SQLiteStore, opened: list[SQLiteStore]
) -> None:
    tables = "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"
    before = execute(store.path, tables)
    reader = await open_at(opened, store.path)
    for _ in range(3):
        await store.set([asked(n) for n in range(10)])
        assert set(await reader.get([key(1)])) == {key(1)}
        assert await store.delete(None) == 10
        assert reader.get_at_once([key(1)]) in ({}, None)
        assert await reader.get([key(1)]) == {}
        assert await keys(reader) == []
    assert execute(store.path, tables) == before


@pytest.mark.slow
async def test_a_file_stays_within_its_bound_whatever_questions_take(
    tmp_path: Path, opened: list[SQLiteStore]
) -> None:
    store = await open_at(opened, tmp_path / "a.db", max_store_bytes=2_000_000)
    for first in range(0, 4_000, 100):
        await store.set([asked(n, size=2_000) for n in range(first, first + 100)])
    await settled(store)
    [(live,)] = execute(
        store.path,
        "SELECT (page_count - freelist_count) * page_size"
        " FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    )
    assert isinstance(live, int)
    assert 1_500_000 < live <= 2_000_000
    found = await keys(store)
    assert found == list(range(3_999, 3_999 - len(found), -1)), "the newest stay"
    [(answers,)] = execute(store.path, "SELECT count(*) FROM entries")
    assert answers == len(found)


async def test_one_round_of_eviction_counts_what_questions_take(store: SQLiteStore) -> None:
    await store.set([asked(n, size=9_800) for n in range(100)])
    store._upkeep.eviction.uses.clear()
    writer = store._session.writer
    assert writer is not None
    await store._upkeep.eviction.evict(writer, 100_000)
    await writer.commit()
    assert len(await listed(store)) == 90


def older(path: Path, version: int = 3) -> None:
    """Take a file back to what an older llmemo wrote."""
    execute(
        path,
        "DROP TRIGGER entries_removed",
        "DROP TABLE questions",
        "DROP TABLE states",
        f"PRAGMA user_version = {version}",
        "PRAGMA wal_checkpoint(TRUNCATE)",
    )


async def test_an_older_file_gets_what_it_lacks(store: SQLiteStore) -> None:
    await store.set([asked(1), asked(2)])
    await store.close()
    older(store.path)
    await store.open()
    assert await listed(store) == []
    assert set(await store.get([key(1), key(2)])) == {key(1), key(2)}
    await store.set([asked(2), asked(3)])
    assert await vectors(store).amend(b"a", lambda state: b"1") == b"1"
    await store.delete([key(3)])
    assert await keys(store) == [2]
    assert execute(store.path, "PRAGMA user_version") == [(len(schema.MIGRATIONS),)]


async def test_an_older_process_that_has_the_file_open_goes_on(
    tmp_path: Path, opened: list[SQLiteStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:3])
        was = await open_at(opened, path)
    await was.set([asked(1)._replace(question=None)])
    now = await open_at(opened, path)
    await now.set([asked(2)])
    await was.set([asked(3)._replace(question=None)])
    await was.delete([key(2)])
    assert set(await now.get([key(n) for n in range(5)])) == {key(1), key(3)}
    assert await listed(now) == []


@pytest.mark.parametrize("is_older", [False, True])
async def test_a_file_that_is_only_read(
    store: SQLiteStore, opened: list[SQLiteStore], is_older: bool
) -> None:
    await store.set([asked(n) for n in range(1_200)])
    await vectors(store).amend(b"a", lambda state: b"1")
    rows = list(await listed(store))
    await store.close()
    if is_older:
        older(store.path)
    reading = await open_at(opened, store.path, read_only=True)
    assert await listed(reading) == ([] if is_older else rows)
    assert await vectors(reading).state(b"a") == (None if is_older else b"1")
    with pytest.raises(StoreError, match="read_only"):
        await vectors(reading).amend(b"a", lambda state: b"2")
    assert set(await reading.get([key(1)])) == {key(1)}


async def test_a_damaged_row_is_an_empty_one_and_the_others_are_sound(store: SQLiteStore) -> None:
    await store.set([asked(n) for n in range(3)])
    await vectors(store).amend(b"a", lambda state: b"1")
    execute(store.path, "UPDATE questions SET sealed = 7 WHERE id = 2", "UPDATE states SET state=1")
    sealed = b"q" * 8
    assert await listed(store) == [
        QuestionRow(3, key(2), sealed),
        QuestionRow(2, b"", b""),
        QuestionRow(1, key(0), sealed),
    ]
    assert await vectors(store).state(b"a") is None
    assert await vectors(store).amend(b"a", lambda state: state or b"again") == b"again"


AMENDING = """
import asyncio, sys
from llmemo import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open()
    for _ in range(int(sys.argv[2])):
        await store.vectors.amend(b"a", lambda state: b"%d" % (int(state or b"0") + 1))
    await store.close()

asyncio.run(main())
"""


@pytest.mark.slow
async def test_no_change_is_lost_among_processes(store: SQLiteStore) -> None:
    command = [sys.executable, *STRICT, "-c", AMENDING, str(store.path), "300"]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]  # noqa: ASYNC220
    for _ in range(300):
        await vectors(store).amend(b"a", lambda state: b"%d" % (int(state or b"0") + 1))
    for process in running:
        _, noise = process.communicate(timeout=LIMIT)
        assert (process.returncode, noise) == (0, b"")
    assert await vectors(store).state(b"a") == b"900"


async def test_random_writes_and_removals_leave_no_question_without_its_answer(
    store: SQLiteStore,
) -> None:
    dice = random.Random(3)
    has: dict[int, bool] = {}
    for _ in range(300):
        some = dice.sample(range(40), dice.randrange(1, 6))
        kind = dice.choice(["set", "set", "bare", "add", "delete", "discard", "clear"])
        if kind in ("set", "bare"):
            written = [asked(n) for n in some]
            if kind == "bare":
                written = [one._replace(question=None) for one in written]
            await store.set(written)
            has.update({n: kind == "set" or has.get(n, False) for n in some})
        elif kind == "add":
            await store.add([asked(n) for n in some])
            has = {**dict.fromkeys(some, True), **has}
        else:
            if kind == "delete":
                await store.delete([key(n) for n in some])
            elif kind == "discard":
                await store.discard([asked(n) for n in some])
            elif dice.random() < 0.3:
                some = list(range(40))
                await store.delete(None)
            else:
                continue
            has = {n: it for n, it in has.items() if n not in some}
        assert set(await keys(store)) == {n for n, it in has.items() if it}
        assert len(await store.get([key(n) for n in range(40)])) == len(has)


def test_a_cache_without_semantic_lookups_writes_no_question(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "a.db") as cache:
        cache.update("p", "m", [Generation(text="answer")])
    assert execute(tmp_path / "a.db", "SELECT count(*) FROM entries") == [(1,)]
    assert execute(tmp_path / "a.db", "SELECT count(*) FROM questions") == [(0,)]

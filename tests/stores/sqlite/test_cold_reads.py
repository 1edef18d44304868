"""Of a batch whose pages come from a disk, the disk is asked for all of them at once."""

from __future__ import annotations

import itertools
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.filled import filled, record
from support.page_cache import drop, in_ram

from llmemo import _core
from llmemo.stores import SQLiteStore
from llmemo.stores.sqlite import cold_reads, fast_reads
from llmemo.stores.sqlite.cold_reads import LEAST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is done"),
]


KEYS = [record(number).key for number in range(100)]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SQLiteStore]:
    async with filled(tmp_path) as store:
        yield store


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, dict[str, Any]]]:
    """What was announced; as if each page of a large file came from a slow disk."""
    monkeypatch.setattr(cold_reads, "blocks_read", itertools.count().__next__)
    monkeypatch.setattr(cold_reads, "LARGE", 0)
    monkeypatch.setattr(fast_reads, "LATE", -1.0)
    calls: list[tuple[int, dict[str, Any]]] = []
    announce = _core.announce_rows

    def noted(file: int, **about: Any) -> None:
        announce(file, **about)
        calls.append((file, about))

    monkeypatch.setattr(_core, "announce_rows", noted)
    return calls


@pytest.mark.parametrize("count", [LEAST + 1, 64, 65, 600])
async def test_the_rest_of_a_batch_is_announced_once_and_found(
    store: SQLiteStore, count: int, announced: list[tuple[int, dict[str, Any]]]
) -> None:
    # Beyond 99 there is nothing.
    keys = [record(number * 7 % 131).key for number in range(count)]
    found = store.get_at_once(keys)
    assert found is not None
    assert set(found) == {key for key in keys if key in KEYS}
    assert found == await store.get(keys)
    [(file, about)] = announced
    assert os.fstat(file).st_ino == store.path.stat().st_ino
    # One was there before.
    assert set(about["keys"]) <= set(keys)
    assert len(set(about["keys"])) == len(set(keys)) - 1
    reader = store._session.fast_reader._connection
    assert reader is not None
    roots = dict(reader.execute("SELECT name, rootpage FROM sqlite_master").fetchall())
    assert about["table"] == roots[b"entries"]
    assert about["index"] == roots[b"sqlite_autoindex_entries_1"]
    [(size,)] = reader.execute("PRAGMA page_size").fetchall()
    assert about["page_bytes"] == size
    # No file was opened for it, and none was closed.
    store.get_at_once(keys)
    assert [number for number, _ in announced] == [file, file]


async def test_where_sqlite_has_closed_the_file_another_is_taken(
    store: SQLiteStore, announced: list[tuple[int, dict[str, Any]]]
) -> None:
    store.get_at_once(KEYS)
    cold = store._session.fast_reader._cold
    assert cold is not None
    other = os.open(os.devnull, os.O_RDONLY)
    cold._number = other
    store.get_at_once(KEYS)
    os.close(other)
    cold._number = 10**6
    store.get_at_once(KEYS)
    for number, _ in announced:
        assert os.fstat(number).st_ino == store.path.stat().st_ino
    assert len(announced) == 3


def warm(_: SQLiteStore, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cold_reads, "blocks_read", lambda: 7)


def early(_: SQLiteStore, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fast_reads, "LATE", 3_600.0)


def small(_: SQLiteStore, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cold_reads, "LARGE", 2**40)


def without_proc(store: SQLiteStore, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cold_reads, "OPEN_FILES", store.path / "missing")


@pytest.mark.parametrize("how", [warm, early, small, without_proc])
async def test_otherwise_nothing_is_announced(
    store: SQLiteStore,
    how: Callable[[SQLiteStore, pytest.MonkeyPatch], None],
    announced: list[tuple[int, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    how(store, monkeypatch)
    assert set(store.get_at_once(KEYS) or ()) == set(KEYS)
    assert announced == []


async def test_few_keys_are_just_read(
    store: SQLiteStore, announced: list[tuple[int, dict[str, Any]]]
) -> None:
    assert set(store.get_at_once(KEYS[:LEAST]) or ()) == set(KEYS[:LEAST])
    assert announced == []


async def test_a_disk_that_was_waited_for_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(2**20))
    if drop(path):
        pytest.skip("the file does not leave the RAM")
    file = os.open(path, os.O_RDONLY)
    counts = [cold_reads.blocks_read()]
    for _ in range(2):
        os.pread(file, 1, 2**19)
        counts.append(cold_reads.blocks_read())
    os.close(file)
    assert counts[0] < counts[1] == counts[2]


async def test_what_is_announced_is_all_that_sqlite_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Index and table have three levels each.
    numbers = [number * 7_919 % 20_011 for number in range(20_000)]
    store = SQLiteStore(tmp_path / "cache.db")
    await store.open()
    for start in range(0, 20_000, 2_000):
        some = numbers[start : start + 2_000]
        await store.set([record(one)._replace(key=_spread(one), value=b"x" * 900) for one in some])
    await store.close()
    monkeypatch.setattr(cold_reads, "LARGE", 0)
    reader = fast_reads.FastReader()
    reader.open(store.path)
    try:
        connection, cold = reader._connection, reader._cold
        assert connection is not None
        assert cold is not None
        connection.execute(cold_reads.PLACES).fetchall()
        before = drop(store.path)
        if len(before) > 20:
            pytest.skip("the file does not leave the RAM")
        keys = [_spread(number) for number in numbers[:: 20_000 // 64]]
        cold.announce(keys, connection)
        after = in_ram(store.path)
        cold.begin()
        assert len(reader.get(keys) or ()) == len(keys)
        assert in_ram(store.path) == after
        # A page of the index and one of the table for each, and what leads there.
        assert len(keys) < len(after - before) < len(keys) * 4
    finally:
        reader.close()


def _spread(number: int) -> bytes:
    return (number * 2_654_435_761 % 2**32).to_bytes(4, "big") * 8

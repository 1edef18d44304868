"""What `recent` lists of a file: as many records as fit in memory, without long requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llmemo import SQLiteStore
from llmemo.stores.records import Record
from llmemo.stores.sqlite import recent_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio

COUNT = 40


def record(number: int, size: int) -> Record:
    key = number.to_bytes(32, "big")
    return Record(key, b"v" * 50, bytes(16), bytes(16), 1.0, None, b"outline", b"r" * size)


async def listed(path: Path, size: int, *, read_only: bool) -> Sequence[Record]:
    store = SQLiteStore(path, store_requests=True)
    await store.open()
    try:
        await store.set([record(number, size) for number in range(COUNT)])
        if not read_only:
            return await store.recent(1_000)
    finally:
        await store.close()
    store = SQLiteStore(path, read_only=True)
    await store.open()
    try:
        return await store.recent(1_000)
    finally:
        await store.close()


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_listing_ends_when_it_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    monkeypatch.setattr(recent_rows, "BYTES_AT_ONCE", 2_000)
    monkeypatch.setattr(recent_rows, "BYTES_MAX", 10_000)
    found = await listed(tmp_path / "a.db", 700, read_only=read_only)
    assert 10_000 / 800 < len(found) < 12_500 / 700
    assert [int.from_bytes(one.key, "big") for one in found] == [
        *range(COUNT - 1, COUNT - 1 - len(found), -1)
    ]
    assert {one.request for one in found} == {b"r" * 700}


@pytest.mark.parametrize("read_only", [False, True])
async def test_steps_that_end_early_leave_nothing_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    monkeypatch.setattr(recent_rows, "BYTES_AT_ONCE", 2_000)
    found = await listed(tmp_path / "a.db", 700, read_only=read_only)
    assert [int.from_bytes(one.key, "big") for one in found] == [*range(COUNT - 1, -1, -1)]


@pytest.mark.parametrize("extra", [0, 1])
async def test_a_long_request_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: int
) -> None:
    monkeypatch.setattr(recent_rows, "LONGEST_REQUEST", 700)
    found = await listed(tmp_path / "a.db", 700 + extra, read_only=False)
    assert {one.request for one in found} == {None if extra else b"r" * 700}
    assert {one.outline for one in found} == {b"outline"}

"""The largest namespaces of memory and of the store."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from support.doubles import Clock, FakeStore, answer
from support.report_pages import ReportPage
from support.tiers import tiered

from llmemo import LLMCache, SQLiteStore, options
from llmemo._core import largest_namespaces
from llmemo.report import namespaces

if TYPE_CHECKING:
    from pathlib import Path

    from llmemo.stores import Store


def fill(cache: LLMCache, name: str, entries: int, size: int = 10) -> None:
    with options(namespace=name):
        for number in range(entries):
            # Digits that do not compress to nothing.
            text = random.Random(number).randbytes(size).hex()
            cache.update(f"{name} {number}", "m", answer(text))


def listed(cache: LLMCache, folder: Path) -> list[tuple[str, str]]:
    """Name and number of entries, of both tiers."""
    rows = ReportPage(cache.report(folder / "report.html")).rows("Largest namespaces")
    return [(name, entries) for name, entries, _ in rows]


def test_in_memory(tmp_path: Path) -> None:
    cache = LLMCache()
    assert largest_namespaces(cache._tiers.memory, 5) == (0, [])
    fill(cache, "small", 3)
    assert listed(cache, tmp_path) == [("small", "3")]
    fill(cache, "large", 2, size=5_000)
    fill(cache, "", 4, size=1_000)
    assert listed(cache, tmp_path) == [("large", "2"), ("(none)", "4"), ("small", "3")]
    number, found = largest_namespaces(cache._tiers.memory, 2)
    assert (number, [name for name, _, _ in found]) == (3, [b"large", b""])
    stats = cache.stats()
    _, found = largest_namespaces(cache._tiers.memory, 10)
    assert sum(size for _, _, size in found) == stats.bytes
    assert sum(entries for _, entries, _ in found) == stats.entries
    cache.invalidate(namespace="large")
    assert listed(cache, tmp_path) == [("(none)", "4"), ("small", "3")]
    cache.clear()
    assert listed(cache, tmp_path) == []


def test_many(tmp_path: Path) -> None:
    cache = LLMCache()
    for number in range(100):
        fill(cache, f"tenant {number}", 1, size=10 * number)
    page = ReportPage(cache.report(tmp_path / "report.html"))
    assert len(page.rows("Largest namespaces")) == namespaces.SHOWN
    assert page.rows("Largest namespaces")[0][0] == "tenant 99"
    assert "85 smaller ones are not listed." in page.text()


@pytest.mark.parametrize("kind", ["file", "read_only", "tiered"])
def test_in_the_store(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "near.db"
    folder = tmp_path / "pages"
    folder.mkdir()

    def opened() -> Store:
        if kind == "tiered":
            return tiered(tmp_path)
        return SQLiteStore(path, read_only=kind == "read_only")

    with LLMCache(SQLiteStore(path) if kind == "read_only" else opened()) as cache:
        fill(cache, "known", 5)
        fill(cache, "other", 2, size=10_000)
    with LLMCache(opened()) as cache:
        label = cache._tiers.memory.label("other").hex()
        with options(namespace="known"):
            assert cache.lookup("known 0", "m") is not None
        page = ReportPage(cache.report(folder / "report.html"))
    rows = [row[:2] for row in page.rows("Largest namespaces")]
    assert rows == [["known", "1"], [f"{label[:12]}…", "2"], ["known", "5"]]
    assert "this process has not met" in page.text()


def test_a_large_file_is_summed_up_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmemo.stores.sqlite import namespace_sizes

    monkeypatch.setattr(namespace_sizes, "ROWS_AT_ONCE", 7)
    with LLMCache(tmp_path / "a.db") as cache:
        fill(cache, "first", 20)
        fill(cache, "last", 20)
        assert sorted(listed(cache, tmp_path)[2:]) == [("first", "20"), ("last", "20")]
        ticks = iter(range(100))
        clock = type("", (), {"monotonic": staticmethod(lambda: next(ticks))})
        monkeypatch.setattr(namespace_sizes, "time", clock)
        monkeypatch.setattr(namespaces, "SECONDS", 3)
        page = ReportPage(cache.report(tmp_path / "report.html"))
    # Two steps of seven rows, the newest.
    assert [row[:2] for row in page.rows("Largest namespaces")][2:] == [["last", "14"]]
    assert "Only the newest 14 entries were summed up." in page.text()
    assert page.tile("Entries in the store") == "≥ 14"


def test_a_store_that_cannot_tell(tmp_path: Path) -> None:
    with LLMCache(FakeStore()) as cache:
        fill(cache, "a", 1)
        page = ReportPage(cache.report(tmp_path / "report.html"))
    assert "this store does not list its entries" in page.text()
    assert page.tile("Entries in the store") == "\u2013"


def test_a_store_that_fails(tmp_path: Path) -> None:
    class Failing(FakeStore):
        async def namespace_sizes(self, seconds: float) -> None:
            raise OSError("<i>no such disk</i>")

    with LLMCache(Failing()) as cache:
        page = ReportPage(cache.report(tmp_path / "report.html"))
    assert "the store failed to read" in page.text()
    assert "<i>no such disk</i>" in page.text()


def test_a_damaged_label_is_left_out(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "a.db"
    with LLMCache(path) as cache:
        fill(cache, "a", 2)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entries SET namespace = 'text' WHERE id = 1")
    connection.close()
    with LLMCache(path, clock=Clock()) as cache:
        page = ReportPage(cache.report(tmp_path / "report.html"))
    assert page.tile("Entries in the store") == "1"

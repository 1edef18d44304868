"""A report of a cache that is in use: nothing waits for it, and it waits for nothing for long."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from support.doubles import LIMIT, FakeStore, answer
from support.report_pages import ReportPage

from llmemo import LLMCache, SQLiteStore
from llmemo.report import namespaces, near_hits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Standing(FakeStore):
    """Answers a report only when it is told to."""

    def __init__(self, asked: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.asked_once = asked
        self.may_answer = threading.Event()

    async def namespace_sizes(self, seconds: float) -> None:
        self.asked_once()
        # Beside the store's own loop, which goes on.
        await asyncio.to_thread(self.may_answer.wait)


@pytest.mark.anyio
async def test_areport_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    loop, is_asked = asyncio.get_running_loop(), asyncio.Event()
    store = Standing(lambda: loop.call_soon_threadsafe(is_asked.set))
    async with LLMCache(store) as cache:
        await cache.aupdate("q", "m", answer("q"))
        report = asyncio.create_task(cache.areport(tmp_path / "report.html"))
        try:
            await asyncio.wait_for(is_asked.wait(), LIMIT)
            # The loop turns, and calls go on, while the report waits.
            assert not report.done()
            assert await cache.alookup("q", "m") is not None
            assert await cache.alookup("p", "m") is None
            await cache.aupdate("p", "m", answer("p"))
            assert not report.done()
        finally:
            store.may_answer.set()
        path = await report
    assert ReportPage(path).tile("Calls saved") == "1"


def test_a_store_that_stands_still_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (namespaces, near_hits):
        monkeypatch.setattr(module, "TIMEOUT", 0.05)
    store = Standing()
    with LLMCache(store) as cache:
        page = ReportPage(cache.report(tmp_path / "report.html"))
        store.may_answer.set()
    assert "the store did not answer within" in page.text()


def test_a_store_that_is_away_is_said(tmp_path: Path) -> None:
    def refuse(method: str) -> None:
        if method == "get":
            raise OSError("away")

    with LLMCache(FakeStore(refuse)) as cache:
        for number in range(10):
            cache.lookup(f"q{number}", "m")
        page = ReportPage(cache.report(tmp_path / "report.html"))
    assert "Degraded for" in page.text()
    assert {row[0] for row in page.rows("Bypassed, not kept, errors")} >= {"store_read"}


def test_reports_beside_calls_of_other_threads(tmp_path: Path) -> None:
    """Each page is whole, and its counts are of one moment's order: they only grow."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for number in range(10**9):
                if stop.is_set():
                    return
                if cache.lookup(f"{name}{number % 200}", "m") is None:
                    cache.update(f"{name}{number % 200}", "m", answer("a"))
        except BaseException as error:  # noqa: BLE001 (the main thread shows it)
            failures.append(error)

    with LLMCache(SQLiteStore(tmp_path / "a.db")) as cache:
        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        lookups = []
        for _ in range(5):
            page = ReportPage(cache.report(tmp_path / "report.html"))
            lookups.append(sum(map(sum, page.chart("Lookups"))))
        stop.set()
        for thread in threads:
            thread.join(LIMIT)
        assert not failures
        assert lookups == sorted(lookups)
        last = ReportPage(cache.report(tmp_path / "report.html"))
        stats = cache.stats()
    assert sum(map(sum, last.chart("Lookups"))) == stats.hits + stats.misses
    assert not stats.errors


def test_a_report_counts_nothing(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "a.db") as cache:
        cache.lookup("q", "m")
        cache.update("q", "m", answer("q"))
        cache.report(tmp_path / "report.html")  # may open connections
        before = cache.stats()
        cache.report(tmp_path / "report.html", texts=True)
        assert cache.stats() == before

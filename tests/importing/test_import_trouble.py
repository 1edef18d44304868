"""An import beside everything else: slow stores, full queues, event loops, terminals."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
from support.doubles import FAULTS, LIMIT, FakeStore, Fault, Held
from support.langchain_files import LLM, answer, make, row

from llmemo import CacheClosedError, LLMCache, StoreError
from llmemo.importing import rows_by_request, store_writer
from llmemo.store_io import write_loop
from llmemo.telemetry import numbers, progress

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hundred answers, in ten chunks."""
    monkeypatch.setattr(rows_by_request, "ROWS", 10)
    return make(tmp_path / ".langchain.db", [row(f"{n:03}") for n in range(100)])


def served(cache: LLMCache) -> list[int]:
    return [n for n in range(100) if cache.lookup(f"{n:03}", LLM) == answer(f"{n:03}")]


def test_no_more_is_on_its_way_to_a_store_than_it_can_take(path: Path) -> None:
    held = Held("set")
    seen: list[int] = []
    with LLMCache(FakeStore(held), store_timeout=LIMIT) as cache:
        thread = threading.Thread(
            target=cache.import_langchain,
            args=[path],
            kwargs={"progress": lambda done, total: seen.append(done)},
        )
        thread.start()
        assert held.reached.wait(LIMIT)
        # One batch is held up, one waits behind it, and the next is ready: no more.
        thread.join(0.2)
        assert seen == [10, 20][: len(seen)]
        held.go.set()
        thread.join(LIMIT)
        assert seen == list(range(10, 101, 10))
        assert served(cache) == list(range(100))


def test_a_full_queue_drops_updates_and_never_what_is_imported(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_loop, "MAX_QUEUED_BYTES", 1)
    held = Held("set")
    with LLMCache(FakeStore(held), max_bytes=0, store_timeout=0.05) as cache:
        cache.update("first", LLM, answer("first"))
        assert held.reached.wait(LIMIT)
        thread = threading.Thread(target=cache.import_langchain, args=[path])
        thread.start()
        for name in ("second", "third", "fourth"):
            cache.update(name, LLM, answer(name))
        held.go.set()
        thread.join(LIMIT)
        cache.delete("nothing", LLM)  # behind all of them
        assert cache.stats().errors["write_dropped"] >= 1
    with LLMCache(_reopened(cache), max_bytes=0, store_timeout=LIMIT) as again:
        assert served(again) == list(range(100))


def _reopened(cache: LLMCache) -> FakeStore:
    store = FakeStore()
    old = cache._tiers.store
    assert isinstance(old, FakeStore)
    store.records = old.records
    return store


@pytest.mark.slow
@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_a_store_that_fails_half_way_ends_it_with_what_was_done(
    error: BaseException, path: Path
) -> None:
    fault = Fault("set", error)
    with LLMCache(FakeStore(fault), store_timeout=LIMIT) as cache:
        fault.times = 0

        def fail(done: int, total: int) -> None:
            if done == 60:
                fault.times = 10**9

        with pytest.raises(StoreError, match=r"\(imported: \d+ answers?\)") as caught:
            cache.import_langchain(path, progress=fail)
        fault.times = 0
        done = len(served(cache))
        assert f"(imported: {numbers.answers(done)}" in str(caught.value)
        report = cache.import_langchain(path)
        assert (report.imported, report.already) == (100 - done, done)
        assert served(cache) == list(range(100))


@pytest.mark.slow
def test_a_store_that_does_not_answer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_writer, "TIMEOUT", 0.05)
    held = Held("set")
    with LLMCache(FakeStore(held), store_timeout=LIMIT) as cache:
        with pytest.raises(StoreError, match=r"did not take 10 answers .*import again"):
            cache.import_langchain(path)
        held.go.set()


def test_an_update_in_the_meantime_is_newer(path: Path) -> None:
    with LLMCache(FakeStore(), max_bytes=0, store_timeout=LIMIT) as cache:

        def update(done: int, total: int) -> None:
            if done == 50:
                cache.update("055", LLM, answer("newer"))

        report = cache.import_langchain(path, progress=update)
        assert (report.imported, report.already) == (99, 1)
        assert cache.lookup("055", LLM) == answer("newer")


def test_a_cache_that_is_closed_meanwhile(path: Path) -> None:
    for store in (None, FakeStore()):
        cache = LLMCache(store, store_timeout=LIMIT)

        def close(done: int, total: int, cache: LLMCache = cache) -> None:
            cache.close()

        with pytest.raises(CacheClosedError, match="closed"):
            cache.import_langchain(path, progress=close)


def test_what_progress_raises_is_raised(path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with LLMCache() as cache:
        with pytest.raises(KeyboardInterrupt):
            cache.import_langchain(path, progress=interrupt)
        assert served(cache) == list(range(10))


@pytest.mark.anyio
async def test_the_event_loop_goes_on(path: Path) -> None:
    held = Held("set")
    async with LLMCache(FakeStore(held), store_timeout=LIMIT) as cache:
        task = asyncio.ensure_future(cache.aimport_langchain(path))
        assert await anyio.to_thread.run_sync(held.reached.wait, LIMIT)
        # It waits for the store, and this loop does not.
        assert not task.done()
        held.go.set()
        report = await asyncio.wait_for(task, LIMIT)
        assert (report.imported, report.already, report.skipped) == (100, 0, {})


@pytest.mark.anyio
async def test_a_cancelled_import_ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, go, ended = (threading.Event() for _ in range(3))
    monkeypatch.setattr(progress.ProgressBar, "__exit__", lambda *_: ended.set())
    seen: list[int] = []

    def wait(done: int, total: int) -> None:
        seen.append(done)
        reached.set()
        go.wait(LIMIT)

    with LLMCache() as cache:
        task = asyncio.ensure_future(cache.aimport_langchain(path, progress=wait))
        assert await anyio.to_thread.run_sync(reached.wait, LIMIT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, LIMIT)
        assert not ended.is_set()
        go.set()
        assert await anyio.to_thread.run_sync(ended.wait, LIMIT)
        assert (seen, served(cache)) == ([10], list(range(10)))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "patience", "is_shown"),
    [
        (Terminal(), 0.0, True),
        (Terminal(), LIMIT, False),
        (io.StringIO(), 0.0, False),
        (None, 0.0, False),
    ],
)
def test_progress_is_shown_on_a_terminal_and_wiped(
    stream: io.StringIO | None,
    patience: float,
    is_shown: bool,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "DELAY", patience)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    with LLMCache() as cache:
        assert cache.import_langchain(path).imported == 100
        assert cache.import_langchain(path, progress=lambda *_: None).already == 100
    shown = stream.getvalue() if stream is not None else ""
    if not is_shown:
        assert shown == ""
        return
    assert "importing .langchain.db " in shown
    assert [f" {part}%" in shown for part in range(10, 101, 10)] == [True] * 10
    # The line is erased, and the cursor is there again.
    assert shown.endswith("\x1b[2K")
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_colours_are_left_out_where_they_are_not_wanted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    monkeypatch.setenv("TERM", "xterm-256color")
    shown: list[str] = []
    monkeypatch.delenv("NO_COLOR", raising=False)
    for _ in range(2):
        monkeypatch.setattr(sys, "stderr", terminal := Terminal())
        with LLMCache() as cache:
            cache.import_langchain(path)
        shown.append(terminal.getvalue())
        monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" in shown[0]
    assert "\x1b[3" not in shown[1]
    assert " 100%" in shown[1]


def test_a_terminal_that_cannot_erase_is_left_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with LLMCache() as cache:
        cache.import_langchain(path)
    assert terminal.getvalue() == ""


def test_a_bar_without_a_known_end_names_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress.ProgressBar("importing [bold]") as bar:
        bar(0, 0)
        assert terminal.getvalue() == ""
        bar(10, None)
        bar(20, None)
    assert "importing [bold]" in terminal.getvalue()
    assert "%" not in terminal.getvalue()


def test_a_terminal_that_goes_away_does_not_end_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    terminal.close()
    with LLMCache() as cache:
        assert cache.import_langchain(path).imported == 100

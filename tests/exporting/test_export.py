"""What an export holds, and that the file which it reads stays as it is."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import sqlite3
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.outputs import Generation
from support import stored
from support.doubles import LIMIT
from support.every_kind import hits_of_all, keep_all, kinds
from support.langchain_files import answer
from support.moved import exported, fields_of, imported, rows, summed
from support.near import certify, keep, look, near_cache, wording

from llmemo import LLMCache, SQLiteStore, StoreError
from llmemo.exporting import export as export_module
from llmemo.exporting import sqlite_source
from llmemo.exporting.sources import source_of
from llmemo.inspection import paging
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.sqlite.read_only import ReadOnlyFile

if TYPE_CHECKING:
    from pathlib import Path

    from support.servers import Replies

LLM = "m"
SOME = 40
"""Answers of each kind."""

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "encrypted": {"encryption_key": "a key for the tests"},
    "with a secret": {"secret": "a secret"},
}


def everything(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Each file of a folder, byte for byte."""
    return {
        name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns)
        for name in os.listdir(folder)
    }


@pytest.mark.parametrize("how", SETTINGS)
def test_answers_of_every_kind_are_the_same_hits_elsewhere(how: str, tmp_path: Path) -> None:
    settings = SETTINGS[how]
    keep_all(tmp_path / "a.db", SOME, **settings)
    lines, report = exported(tmp_path / "a.db")
    assert (report.answers, report.expired, report.damaged) == (SOME * kinds(), 0, {})
    first = imported(lines, tmp_path / "b.db")
    assert (first.imported, first.already, first.is_whole) == (SOME * kinds(), 0, True)
    assert hits_of_all(tmp_path / "b.db", SOME, **settings) == SOME * kinds()
    # Not one byte was made anew.
    assert rows(tmp_path / "b.db") == rows(tmp_path / "a.db")
    again = imported(lines, tmp_path / "b.db")
    assert (again.imported, again.already, again.is_whole) == (0, SOME * kinds(), True)
    assert rows(tmp_path / "b.db") == rows(tmp_path / "a.db")


def test_stored_requests_come_along(tmp_path: Path) -> None:
    with LLMCache(SQLiteStore(tmp_path / "a.db", store_requests=True)) as cache:
        cache.update("a prompt", LLM, answer("it"))
    imported(exported(tmp_path / "a.db")[0], tmp_path / "b.db")
    assert json.loads(rows(tmp_path / "b.db")[0][-1]) == ["", LLM, "a prompt"]
    with LLMCache(tmp_path / "b.db") as cache:
        assert "prompt: differs from character 9" in str(cache.explain("a prompt too", LLM))


def test_similar_questions_are_served_after_a_move_and_certified_anew_after_a_merge(
    tmp_path: Path,
) -> None:
    with near_cache(tmp_path / "a.db") as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
    lines, report = exported(tmp_path / "a.db")
    assert report.states == 1
    moved = imported(lines, tmp_path / "b.db")
    assert (moved.states, moved.is_whole) == (1, True)
    with near_cache(tmp_path / "b.db") as cache:
        assert look(cache, wording(1, "tides")) == "all about tides"
    for table in ("questions", "states"):
        assert rows(tmp_path / "b.db", table) == rows(tmp_path / "a.db", table)
    # What was proved by the questions of one program says nothing of another's.
    with near_cache(tmp_path / "c.db") as cache:
        keep(cache, wording(0, "moons"))
    assert imported(lines, tmp_path / "c.db").states == 0
    with near_cache(tmp_path / "c.db") as cache:
        assert look(cache, wording(1, "tides")) is None
        assert look(cache, wording(0, "tides")) == "all about tides"


def test_the_lines_are_those_of_the_specification(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "a.db", ttl=1e6, clock=lambda: stored.MADE) as cache:
        cache.update("p", LLM, answer("p"))
    lines = exported(tmp_path / "a.db")[0].splitlines(keepends=True)
    for each in lines:
        body, _, _ = each.rpartition(b',"sum":"')
        assert summed(body) == each
        assert each.isascii()
    header, one, end = map(fields_of, lines)
    assert (header["kind"], header["format"], header["version"]) == ("header", "llmemo-export", 1)
    assert (header["schema"], header["secret"], header["encrypted"]) == (4, False, [False])
    [row] = rows(tmp_path / "a.db")
    assert one == {
        "kind": "answer",
        "key": row[0].hex(),
        "namespace": row[2].hex(),
        "llm": row[3].hex(),
        "created": stored.MADE,
        "expires": stored.MADE + 1e6,
        "outline": base64.b64encode(row[6]).decode(),
        "value": base64.b64encode(row[1]).decode(),
    }
    assert header["namespaces"] == [one["namespace"]]
    sums = json.loads(lines[1])["sum"]
    assert end == {"kind": "end", "answers": 1, "states": 0, "sums": sums}


def test_whether_keys_have_a_secret_is_told_where_it_can_be(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "a.db", secret="s") as cache:
        cache.update("p", LLM, answer("p"))
    header = fields_of(exported(tmp_path / "a.db")[0].splitlines()[0])
    assert header["secret"] is None


@pytest.mark.parametrize("name", ["store.db", "encrypted.db"])
def test_older_files_are_read_and_left_as_they_are(name: str, tmp_path: Path) -> None:
    shutil.copy(stored.HERE / name, tmp_path / name)
    before = everything(tmp_path)
    lines, report = exported(tmp_path / name)
    assert report.answers == len(stored.ANSWERS)
    assert everything(tmp_path) == before
    imported(lines, tmp_path / "new.db")
    assert rows(tmp_path / "new.db") == rows(tmp_path / name)


def test_what_a_service_has_written_just_now_is_there(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "a.db", store_timeout=LIMIT) as cache:
        cache.update("p", LLM, answer("p"))
        assert (tmp_path / "a.db-wal").stat().st_size
        names = set(os.listdir(tmp_path))
        assert exported(tmp_path / "a.db")[1].answers == 1
        assert set(os.listdir(tmp_path)) == names
        cache.update("q", LLM, answer("q"))


def test_expired_answers_stay_behind(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "a.db", clock=lambda: 1e9, ttl=10) as cache:
        cache.update("old", LLM, answer("old"))
    with LLMCache(tmp_path / "a.db", ttl=1e6) as cache:
        cache.update("new", LLM, answer("new"))
        # Upkeep of this cache may remove the other.
        lines, report = exported(tmp_path / "a.db")
    assert report.answers == 1
    assert len(lines.splitlines()) == 3


def test_others_may_write_and_remove_between_any_two_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "BYTES_PER_PAGE", 1)
    with LLMCache(tmp_path / "a.db", max_bytes=0) as cache:
        for number in range(10):
            cache.update(f"{number}", LLM, answer(number))
        seen: list[tuple[int, int | None]] = []

        def change(done: int, total: int | None) -> None:
            seen.append((done, total))
            cache.update(f"new {done}", LLM, answer("new"))
            cache.delete("7", LLM)
            cache.update("8", LLM, answer("replaced"))

        lines, report = exported(tmp_path / "a.db", progress=change)
    # Of those that were there at the beginning, one had gone.
    assert (report.answers, report.damaged) == (9, {})
    assert seen == [(number, 10) for number in (1, 2, 3, 4, 5, 6, 7, 9, 10)]
    imported(lines, tmp_path / "b.db")
    with LLMCache(tmp_path / "b.db") as cache:
        assert cache.lookup("8", LLM) == answer("replaced")
        assert cache.lookup("7", LLM) is None
        assert cache.lookup("9", LLM) == answer(9)


def test_damaged_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "a.db") as cache:
        for number in range(6):
            cache.update(f"{number}", LLM, answer(number))
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        for number, change in enumerate(
            (
                "value = substr(value, 1, 60)",
                "value = 'text'",
                "created = 'now'",
                "value = (SELECT value FROM entries WHERE id = 6)",
            )
        ):
            connection.execute(f"UPDATE entries SET {change} WHERE id = ?", (number + 1,))
        connection.commit()
    lines, report = exported(tmp_path / "a.db")
    assert report.answers == 2
    assert sum(report.damaged.values()) == 4
    assert report.damaged["wrong_key"] == 1
    assert imported(lines, tmp_path / "b.db").imported == 2


def test_a_file_that_is_lost_on_the_way_ends_an_export_without_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "BYTES_PER_PAGE", 1)
    monkeypatch.setattr(sqlite_source, "PATIENCE", 0.0)
    with LLMCache(tmp_path / "a.db") as cache:
        for number in range(3):
            cache.update(f"{number}", LLM, answer(number))

    def remove(done: int, total: int | None) -> None:
        (tmp_path / "a.db").unlink()

    with pytest.raises(StoreError, match="gone"):
        exported(tmp_path / "a.db", progress=remove)


def test_a_page_that_others_are_in_the_way_of_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LLMCache(tmp_path / "a.db") as cache:
        cache.update("p", LLM, answer("p"))
    monkeypatch.setattr(sqlite_source, "PAUSE", 0.0)
    read, refused = ReadOnlyFile.read, 0

    def read_sometimes(file: ReadOnlyFile, work: Any) -> Any:
        nonlocal refused
        refused += 1
        if refused % 3:
            raise StoreUnavailableError("another process is at it")
        return read(file, work)

    monkeypatch.setattr(ReadOnlyFile, "read", read_sometimes)
    assert exported(tmp_path / "a.db")[1].answers == 1
    monkeypatch.setattr(sqlite_source, "PATIENCE", 0.0)
    with pytest.raises(StoreError, match="another process is at it"):
        exported(tmp_path / "a.db")


def test_memory_is_for_a_page_and_not_for_the_file(tmp_path: Path) -> None:
    size, count = 64 * 1024, 400
    with LLMCache(tmp_path / "a.db") as cache:
        for number in range(count):
            # Not to be compressed.
            raw = {"raw": os.urandom(size)}
            cache.update(f"{number}", LLM, [Generation(text="raw", generation_info=raw)])
    written = 0

    def count_bytes(lines: bytes) -> None:
        nonlocal written
        written += len(lines)

    with source_of(str(tmp_path / "a.db")) as source:
        tracemalloc.start()
        try:
            export_module.export(source, count_bytes, progress=lambda *_: None)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert written > size * count
    assert peak < 20 * 2**20


def test_a_server_is_read_in_pages_and_what_is_damaged_is_counted(
    tmp_path: Path, redis_url: str, ask: Replies, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LLMCache(redis_url) as cache:
        for number in range(6):
            cache.update(f"{number}", LLM, answer(number))
    monkeypatch.setattr(paging, "BYTES_PER_PAGE", 1)
    seen: list[tuple[int, int | None]] = []
    lines, report = exported(redis_url, lambda *at: seen.append(at))
    assert (report.answers, report.damaged) == (6, {})
    assert seen == [(number, None) for number in range(1, 7)]
    assert imported(lines, tmp_path / "b.db").imported == 6
    name = ask("KEYS", "*:v:*")[0]
    ask("SETRANGE", name, "20", "damage")
    lines, report = exported(redis_url)
    assert (report.answers, report.damaged) == (5, {"not_an_entry": 1})
    assert imported(lines, tmp_path / "b.db").already == 5

"""doctor finds what was provoked, says what to do, and finds nothing where nothing is."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.commands import DAMAGED, NO_STORES, chat, filled, llmemo, state

from llmemo import LLMCache
from llmemo.inspection import file_checks
from llmemo.inspection.file_checks import has_wal_reset_bug

if TYPE_CHECKING:
    from pathlib import Path


class Usage(NamedTuple):
    free: int


def checks(path: object, *arguments: str) -> dict[str, dict[str, str]]:
    """What it says, by the names of the checks."""
    done = llmemo("doctor", path, *arguments, "--json")
    found = {check["name"]: check for check in done.lines}
    assert done.code == ("problem" in {check["status"] for check in found.values()})
    for check in found.values():
        assert bool(check["remedy"]) == (check["status"] != "ok"), check
    return found


def test_of_a_sound_file_nothing_is_said_but_ok(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db")
    before = state(tmp_path)
    found = checks(path, "--full")
    assert state(tmp_path) == before
    odd = {name for name, check in found.items() if check["status"] != "ok"}
    # Containers and tmpfs are told of.
    assert odd <= {"file system", "space"}
    names = {"sqlite", "writable", "wal", "free pages", "schema", "set aside", "integrity"}
    assert names | {"entries", "clock"} <= found.keys()


@pytest.mark.parametrize(
    ("version", "has_bug"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
        ((4, 0, 0), False),
    ],
)
def test_versions_of_sqlite(version: tuple[int, ...], has_bug: bool) -> None:
    assert has_wal_reset_bug(version) is has_bug


def test_a_lock_file_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "a.db")
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    assert "a.db-lock guards against it" in checks(path)["sqlite"]["text"]
    lock = tmp_path / "a.db-lock"
    lock.unlink()
    assert "once a service has made it" in checks(path)["sqlite"]["text"]
    lock.mkdir()
    assert checks(path)["sqlite"]["status"] == "problem"


@pytest.mark.skipif(sys.platform == "win32", reason="modes of Unix")
def test_permissions(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db")
    assert checks(path)["permissions"]["status"] == "ok"
    path.chmod(0o644)
    found = checks(path)["permissions"]
    assert (found["status"], "mode 0644" in found["text"]) == ("warn", True)
    if os.geteuid() == 0:
        os.chown(tmp_path / "a.db-lock", 65534, 65534)
        assert checks(path)["owner"]["status"] == "problem"


@pytest.mark.parametrize(
    ("kind", "status"), [("nfs4", "problem"), ("tmpfs", "warn"), ("ext4", "ok")]
)
def test_file_systems(
    kind: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path / "a.db")
    monkeypatch.setattr(file_checks, "file_system", lambda folder: kind)
    assert checks(path)["file system"]["status"] == status


def test_a_large_wal_and_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "a.db")
    monkeypatch.setattr(file_checks, "WAL_LARGE", -1)
    assert checks(path)["wal"]["status"] == "warn"
    for free, status in ((2**20, "problem"), (100 * 2**20, "warn"), (2**40, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, free=free: Usage(free))
        assert checks(path)["space"]["status"] == status


def test_much_that_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filled(tmp_path / "a.db", entries=200)
    assert llmemo("rm", path, "--all", "--yes").code == 0
    monkeypatch.setattr(file_checks, "SPACE_NONE", 0)
    assert checks(path)["free pages"]["status"] == "warn"
    assert llmemo("vacuum", path).code == 0
    assert checks(path)["free pages"]["status"] == "ok"


def test_an_older_schema_is_told_and_left(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    from support.stored import HERE

    shutil.copy(HERE / "store.db", path)
    path.chmod(0o600)
    before = state(tmp_path)
    found = checks(path)
    assert "older than" in found["schema"]["text"]
    assert found["entries"]["text"].startswith("read 5 of 5 entries")
    assert state(tmp_path) == before


def test_entries_from_the_future(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with LLMCache(path, clock=lambda: time.time() + 3_600) as cache:
        cache.update("p", "m", chat("x"))
    assert checks(path)["clock"]["status"] == "warn"


def test_files_that_were_set_aside(tmp_path: Path) -> None:
    """As a cache leaves them that met a damaged file."""
    path = tmp_path / "a.db"
    filled(path, entries=60)
    content = bytearray(path.read_bytes())
    content[200:4096] = b"\xff" * 3896
    path.write_bytes(content)
    with LLMCache(path) as cache:
        cache.update("p", "m", chat("x"))
    assert list(tmp_path.glob("a.db.corrupt-*"))
    found = checks(path)["set aside"]
    assert found["status"] == "warn"
    assert "a.db.corrupt-" in found["text"]


def test_a_damaged_index(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=60)
    index = "name = 'entries_by_use'"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        [row] = connection.execute(f"SELECT * FROM sqlite_master WHERE {index}")
        connection.execute(f"DELETE FROM sqlite_master WHERE {index}")
        connection.commit()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE entries SET used = used + 1 WHERE id < 10")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)
        connection.commit()
    assert checks(path)["entries"]["status"] == "ok"
    found = checks(path, "--full")
    assert found["integrity"]["status"] == "problem"
    assert "entries_by_use" in found["integrity"]["text"]
    done = llmemo("verify", path, "--json")
    assert (done.code, done.lines[0]["damaged"]) == (1, {})
    assert "entries_by_use" in str(done.lines[0]["file_problems"])


def test_a_damaged_file_is_told_after_what_can_be_said(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=60)
    os.truncate(path, path.stat().st_size // 2)
    done = llmemo("doctor", path)
    assert done.code == 1
    assert f"BAD   file: {str(path)!r} is damaged (" in done.out
    assert "Traceback" not in done.out


REMEDIES = {
    "missing": "check the path; a service makes the file at first use",
    "empty": "remove it; a service makes a new one",
    "text": "name llmemo's own file, or restore a back-up",
    "foreign": "name llmemo's own file",
    "langchain": "name llmemo's own file; llmemo import takes LangChain's answers over",
    "newer": "upgrade llmemo",
    "directory": "name llmemo's own file",
    "fifo": "name llmemo's own file",
    "truncated": "restore a back-up, or let a service set it aside",
}


@pytest.mark.parametrize("kind", [*NO_STORES, *DAMAGED])
def test_each_cause_has_its_remedy(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    {**NO_STORES, **DAMAGED}[kind](path)
    found = checks(path)["file"]
    assert (found["status"], found["remedy"]) == ("problem", REMEDIES[kind])
    assert found["text"].startswith(f"{str(path)!r} is ")
    # And the others name both in their one line.
    assert llmemo("stats", path).err == f"llmemo stats: {found['text']}: {found['remedy']}\n"


@pytest.mark.parametrize(
    ("url", "name", "remedy"),
    [
        ("redis://127.0.0.1:1", "server", "check that the server runs"),
        ("redis:/host", "file", "write redis://host"),
        ("postgres://host", "file", "known are sqlite://"),
    ],
)
def test_a_url_that_leads_nowhere_has_its_remedy(url: str, name: str, remedy: str) -> None:
    assert checks(url)[name]["remedy"].startswith(remedy)

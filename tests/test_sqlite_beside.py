"""A clean-up job takes the files of an open store: what is acknowledged afterwards is kept."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from doubles import LIMIT, PRELUDE, answer

from llmemo import LLMCache
from llmemo.stores import sqlite_guard

pytestmark = pytest.mark.skipif(os.name == "nt", reason="open files cannot be removed there")

GARBAGE = os.urandom(20_000)
NAMES = [f"a{number}" for number in range(20)]
"""Updates before; each is of more than a page."""

TAKEN = """
import shutil
from pathlib import Path

def remove(file):
    file.unlink()

def replace(file):
    other = file.with_name("other")
    other.write_bytes(os.urandom(20_000))
    other.replace(file)

def replace_by_nothing(file):
    other = file.with_name("other")
    other.touch()
    other.replace(file)

def empty(file):
    os.truncate(file, 0)

def halve(file):
    os.truncate(file, file.stat().st_size // 2)

def lock_up(file):
    file.chmod(0)

def all_of(file):
    for one in file.parent.glob("a.db*"):
        one.unlink()

def all_beside(file):
    for one in file.parent.glob("a.db-*"):
        one.unlink()

def folder_removed(file):
    shutil.rmtree(file.parent)

def folder_moved(file):
    file.parent.rename(file.parent.with_name("moved"))
"""
HOW = ["remove", "replace", "replace_by_nothing", "empty", "halve", "lock_up"]
NO_CACHE = "", "replace"
ALL = ["all_of", "all_beside", "folder_removed", "folder_moved"]

WRITE = (
    TAKEN
    + """
import os, signal, time
end, how, times = sys.argv[2], globals()[sys.argv[3]], int(sys.argv[4])
cache = LLMCache(path, max_bytes=0, store_timeout=60)
for n in range(20):
    cache.update(f"a{n}", "m", [Generation(text=f"answer to a{n}" + "x" * 3_000)])
for turn in range(times):
    how(Path(path + end))
    for n in range(3):
        keep(cache, f"b{turn}-{n}")
        found = cache.lookup(f"b{turn}-{n}", "m")
        assert found == answer(f"b{turn}-{n}"), found
        for one in ("a0", "a7", "a19"):
            found = cache.lookup(one, "m")
            assert found is None or found[0].text == f"answer to {one}" + "x" * 3_000, found
print(f"errors:{sum(cache.stats().errors.values())}", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
)


def sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [(b"ok".decode(),)]


def written(path: Path, end: str, how: str, times: int = 1) -> set[str]:
    """What a process acknowledged after files of its were taken; it was killed then."""
    program = subprocess.run(
        [sys.executable, "-c", PRELUDE + WRITE, path, end, how, str(times)],
        capture_output=True,
        text=True,
        timeout=5 * LIMIT,
        check=False,
    )
    assert program.returncode == -signal.SIGKILL, program.stderr
    said = set(program.stdout.split())
    assert "errors:0" in said, program.stderr
    assert len(said) == 1 + 3 * times, "each update was confirmed"
    return said - {"errors:0"}


def check(path: Path, kept: set[str]) -> None:
    for file in path.parent.glob("a.db*"):
        file.chmod(0o600)
    with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
        for name in kept:
            assert cache.lookup(name, "m") == answer(name), name
        for name in NAMES:
            found = cache.lookup(name, "m")
            assert found is None or found[0].text == f"answer to {name}" + "x" * 3_000
        assert cache.stats().errors == {}
    assert sound(path)


@pytest.mark.parametrize(
    ("end", "how"),
    # What is no database in the place of one is left alone: `test_a_file_of_something_else…`.
    [(end, how) for end in ("", "-wal", "-shm", "-lock") for how in HOW if (end, how) != NO_CACHE],
)
def test_what_is_acknowledged_after_a_file_was_taken_is_there(
    end: str, how: str, tmp_path: Path
) -> None:
    if end == "-lock" and not sqlite_guard.has_wal_reset_bug(sqlite3.sqlite_version_info[:3]):
        pytest.skip("this SQLite needs none")
    path = tmp_path / "folder" / "a.db"
    check(path, written(path, end, how))


@pytest.mark.parametrize("how", ALL)
def test_what_is_acknowledged_after_all_files_were_taken_is_there(how: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.db"
    check(path, written(path, "", how))


@pytest.mark.parametrize("how", ["remove", "replace", "empty"])
def test_a_job_that_comes_again_and_again(how: str, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.db"
    kept = written(path, "-wal", how, times=4)
    # What only a WAL had that was emptied is lost.
    check(path, kept if how != "empty" else {name for name in kept if name.startswith("b3")})

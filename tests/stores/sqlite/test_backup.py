"""Back-up as docs/guides/backup.md says it: while another process writes, and restored."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.doubles import PRELUDE, answer, expect_on_disk
from support.pages import blocks_of, command

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WRITER = f"""{PRELUDE}
from itertools import count
cache = opened()
for number in count():
    keep(cache, f"k{{number}}")
"""
"""Says the name of each answer that it has acknowledged."""


def by_python() -> None:
    [block] = (each for each in blocks_of("guides/backup.md") if each.language == "python")
    [lines] = re.findall(r"^with contextlib.*\n(?:    .*\n)+", block.text, re.MULTILINE)
    exec(lines, {"contextlib": contextlib, "sqlite3": sqlite3})


def by_program() -> None:
    line = command("guides/backup.md", "sqlite3")
    if shutil.which("sqlite3") is None:
        pytest.skip("there is no program sqlite3")
    subprocess.run(line, shell=True, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("back_up", [by_python, by_program])
def test_a_back_up_beside_a_writer_has_all_that_was_acknowledged(
    back_up: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, "cache.db"], stdout=subprocess.PIPE, text=True
    ) as writer:
        try:
            assert writer.stdout is not None
            acknowledged = [next(writer.stdout).strip() for _ in range(200)]
            back_up()
            assert writer.poll() is None
        finally:
            writer.kill()
    expect_on_disk(tmp_path / "backup.db", acknowledged)


def test_a_copy_of_the_file_alone_lacks_what_is_in_the_wal(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "cache.db") as cache:
        cache.update("k", "m", answer("k"))
        shutil.copy(tmp_path / "cache.db", tmp_path / "copy.db")
        with LLMCache(tmp_path / "copy.db") as copy:
            assert copy.lookup("k", "m") is None


def test_a_restored_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path, backup = tmp_path / "cache.db", tmp_path / "backup.db"
    with LLMCache(path) as cache:
        cache.update("k", "m", answer("k"))
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.execute("VACUUM INTO ?", (str(backup),))
        cache.clear()
        cache.update("later", "m", answer("later"))
    backup.replace(path)
    for name in ("cache.db-wal", "cache.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    expect_on_disk(path, ["k"])
    with LLMCache(path) as cache:
        assert cache.lookup("later", "m") is None

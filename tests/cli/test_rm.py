"""`llmemo rm`: what the question was about, in brief transactions; and files that stay."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from support.commands import chat, filled, llmemo, state
from support.doubles import LIMIT

from llmemo import LLMCache
from llmemo.stores.sqlite.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def test_what_has_become_old_since_the_question_stays(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=3)
    begun = time.time()
    # All that come after the first are of after the answer.
    times = itertools.chain([begun + 2.5], itertools.repeat(begun + 60))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE entries SET created = ?", (begun,))
        connection.execute("UPDATE entries SET created = ? WHERE id = 1", (begun + 1,))
        connection.commit()
    with mock.patch("time.time", side_effect=times):
        done = llmemo("rm", path, "--older-than", "2s", stdin="y\n", tty=True)
    assert f"Remove 2 entries of {path}?" in done.err
    assert done.out == "removed 2 entries\n"


@pytest.mark.parametrize("command", [["rm", "--all", "--yes"], ["rm", "--all"], ["vacuum"]])
def test_a_read_only_file_stays_as_it_is(command: list[str], tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=3)
    path.chmod(0o444)
    before = state(tmp_path)
    done = llmemo(command[0], path, *command[1:], stdin="y\n", tty=True)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    if os.access(path, os.W_OK):  # root
        assert "is read-only" in done.err
    assert state(tmp_path) == before


LARGE = 2**20
"""Bytes of an answer: such as no compression makes smaller than about this."""


@pytest.fixture
def rows_at_once() -> Iterator[list[int]]:
    """How many rows each transaction has removed."""
    found: list[int] = []
    commit = Session.commit

    async def noted(self: Session, work: Callable[..., Any], size: int = 0) -> Any:
        result = await commit(self, work, size)
        found.append(result[0] if isinstance(result, list) else result)
        return result

    with mock.patch.object(Session, "commit", noted):
        yield found


@pytest.mark.parametrize("how", ["all", "namespace", "older", "expired"])
def test_large_entries_go_a_few_at_a_time(
    how: str, tmp_path: Path, rows_at_once: list[int]
) -> None:
    path = tmp_path / "a.db"
    with LLMCache(path, max_bytes=0, ttl=1e-3 if how == "expired" else None) as one:
        for number in range(20):
            one.update(f"q{number}", "m", chat(os.urandom(LARGE).hex()))
    rows_at_once.clear()
    arguments = {
        "all": ["--all"],
        "namespace": ["--namespace", ""],
        "older": ["--older-than", "0s"],
        "expired": ["--expired"],
    }[how]
    assert llmemo("rm", path, *arguments, "--yes").out == "removed 20 entries\n"
    assert sum(rows_at_once) == 20
    assert max(rows_at_once) <= 4


def test_rows_of_odd_ids_go_too(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=4)
    with closing(sqlite3.connect(path)) as connection:
        for id_, odd in ((1, -(2**63)), (2, -1), (3, 2**63 - 1)):
            connection.execute("UPDATE entries SET id = ? WHERE id = ?", (odd, id_))
        connection.commit()
    assert llmemo("rm", path, "--all", "--yes").out == "removed 4 entries\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_bench_that_is_ended_leaves_nothing(number: int, code: int, tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=1)
    with subprocess.Popen(
        [sys.executable, "-m", "llmemo", "bench", path, "--entries", "9999999"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        end = time.monotonic() + LIMIT
        while not list(tmp_path.glob(".llmemo-bench-*/scratch.db")):
            assert time.monotonic() < end
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(number)
        said = running.communicate(timeout=LIMIT)
    assert (running.returncode, said) == (code, ("", ""))
    assert list(tmp_path.glob(".llmemo-bench-*")) == []

"""What an import may be given: a file or a pipe, opened once; and nothing without an end."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest
from support.commands import filled, in_a_process, llmemo
from support.doubles import LIMIT
from support.moved import exported

from llmemo import ConfigurationError
from llmemo.importing.line_reader import LineReader

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no such paths")


def test_a_named_pipe(tmp_path: Path) -> None:
    lines, _ = exported(filled(tmp_path / "a.db"))
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(lines,), daemon=True)
    writer.start()
    done = in_a_process("import", tmp_path / "b.db", tmp_path / "pipe", "--json")
    writer.join(LIMIT)
    assert (done.code, done.lines[0]["imported"]) == (0, 20), done.err


def test_standard_input_by_its_path(tmp_path: Path) -> None:
    lines, _ = exported(filled(tmp_path / "a.db"))
    done = subprocess.run(
        [sys.executable, "-m", "llmemo", "import", str(tmp_path / "b.db"), "/dev/stdin"],
        input=lines,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stdout[:9]) == (0, b"20 answer"), done.stderr


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("/dev/zero", "neither a file nor a pipe"),
        ("/dev/null", "neither a file nor a pipe"),
        (".", "a folder"),
    ],
)
def test_what_is_neither(name: str, what: str, tmp_path: Path) -> None:
    done = llmemo("import", tmp_path / "b.db", name)
    assert done.code == 2
    assert what in done.err
    assert not (tmp_path / "b.db").exists()


class _Endless:
    """A stream of zeros."""

    read = 0

    def readline(self, most: int) -> bytes:
        self.read += most
        return bytes(most)


def test_a_first_line_without_an_end() -> None:
    stream = _Endless()
    with pytest.raises(ConfigurationError, match="no export of llmemo"):
        LineReader(cast("BinaryIO", stream), "x")
    assert stream.read < 2**20


def test_a_store_of_a_newer_llmemo_is_for_no_import(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.execute("CREATE TABLE full_llm_cache (prompt, llm, idx, response)")
        connection.commit()
    path = filled(tmp_path / "a.db")
    lines, _ = exported(path)
    (tmp_path / "x.jsonl").write_bytes(lines)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    for source in ("old.db", "x.jsonl"):
        done = llmemo("import", path, tmp_path / source)
        assert done.code == 2
        assert "newer llmemo" in done.err
        assert "memory alone" not in done.err

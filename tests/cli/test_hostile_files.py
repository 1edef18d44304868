"""Whatever FILE names: one line, an exit code, and all bytes as they were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.commands import COMMANDS, DAMAGED, NO_STORES, filled, in_a_process, llmemo, state
from support.slices import first

if TYPE_CHECKING:
    from pathlib import Path

every_command = pytest.mark.parametrize("command", COMMANDS)

READING = ("stats", "ls", "show", "verify", "doctor")


@every_command
@pytest.mark.parametrize("kind", NO_STORES)
def test_what_is_no_store_is_left_alone(kind: str, command: str, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    NO_STORES[kind](path)
    before = state(tmp_path)
    done = llmemo(command, path, *COMMANDS[command])
    assert state(tmp_path) == before
    if command == "doctor":
        # What is wrong with the file is what it is asked for.
        assert (done.code, done.err) == (1, "")
        assert done.out.startswith("BAD   file: ")
        assert "Traceback" not in done.out
    else:
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"llmemo {command}: ")
        assert done.err.count("\n") == 1


@every_command
def test_a_truncated_file_is_told_and_left_alone(command: str, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    DAMAGED["truncated"](path)
    before = state(tmp_path)
    done = llmemo(command, path, *COMMANDS[command])
    assert done.code == 1
    # The file, what it has, and what to do.
    assert "malformed" in done.out + done.err
    if command != "verify":
        assert f"{str(path)!r} is damaged (" in done.out + done.err
        assert "restore a back-up" in done.out + done.err
    assert done.err.count("\n") <= 1
    if command in READING:
        assert state(tmp_path) == before
    else:
        # A command that writes makes the lock file that services have, too.
        assert path.read_bytes() == before["a.db"][0]  # type: ignore[index]


def flipped(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("command", READING)
def test_a_flipped_bit_is_no_traceback(command: str, tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=40)
    whole = path.read_bytes()
    for bit in range(first(5_003), 8 * len(whole), 5_003):
        flipped(path, bit)
        before = state(tmp_path)
        done = llmemo(command, path, *COMMANDS[command])
        assert done.code in {0, 1, 2}, bit
        assert done.err.count("\n") <= 1, (bit, done.err)
        assert "Error:" not in done.err, (bit, done.err)
        assert state(tmp_path) == before, bit
        path.write_bytes(whole)


def test_verify_finds_flipped_bits_in_values(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=40)
    whole = path.read_bytes()
    at = whole.index(b"answer 7 answer 7")
    flipped(path, 8 * at)
    done = llmemo("verify", path, "--json")
    [found] = done.lines
    assert done.code == 1
    assert (found["ok"], found["damaged"]) == (False, {"checksum": 1})
    [key] = found["damaged_keys"]
    shown = llmemo("show", path, key)
    assert shown.code == 1
    assert "cannot be read: checksum" in shown.err
    assert "damaged: 1 checksum" in llmemo("doctor", path, "--full").out
    assert llmemo("stats", path, "--json").lines[0]["damaged"] == {"checksum": 1}
    assert llmemo("rm", path, key, "--yes").code == 0
    assert llmemo("verify", path).code == 0


AS_NOBODY = """
import contextlib, importlib, io, json, os, sys
import llmemo.cache, llmemo.inspection.careful_store
from llmemo.cli import COMMANDS, main
path, commands = sys.argv[1], json.loads(sys.argv[2])
# The interpreter's own files may not be that user's to read.
for name in commands:
    importlib.import_module(COMMANDS[name][0])
os.setgid(65534)
os.setuid(65534)
for name, rest in commands.items():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([name, path, *rest])
    print(json.dumps([name, code, out.getvalue(), err.getvalue()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to be another user"
)
def test_a_file_that_may_only_be_read(public: Path) -> None:
    path = filled(public / "a.db")
    (public / "a.db-lock").unlink()
    path.chmod(0o444)
    before = state(public)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, path, json.dumps(COMMANDS)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(public)},
    )
    assert done.stderr == ""
    found = {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == COMMANDS.keys()
    for name in ("stats", "ls", "verify", "doctor"):
        code, _, err = found[name]
        assert (code, err) == (0, ""), name
    assert "warn  writable" in found["doctor"][1]
    for name in ("rm", "vacuum", "bench", "show"):
        code, _, err = found[name]
        assert code in {1, 2}, name
        assert err.count("\n") == 1, err
    assert state(public) == before


@every_command
def test_dev_null(command: str) -> None:
    done = llmemo(command, "/dev/null", *COMMANDS[command])
    assert done.code == (1 if command == "doctor" else 2)
    assert (done.out + done.err).count("\n") <= 2


def test_a_process_says_the_same(tmp_path: Path) -> None:
    done = in_a_process("stats", tmp_path / "a.db")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"llmemo stats: '{tmp_path / 'a.db'}' is not there: check the path")
    assert done.err.count("\n") == 1

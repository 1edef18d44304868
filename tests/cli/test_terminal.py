"""What reaches a terminal: no escapes, no passwords, no forged lines; and streams that are bad."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from support.commands import filled, llmemo
from support.doubles import LIMIT

from llmemo.cli import main, terminal
from llmemo.stores.schemes import REDIS_SCHEMES

if TYPE_CHECKING:
    from pathlib import Path

ESCAPE = "\x1b]0;x\x07\x9b31m\x7f\u202e\u200f"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("store") / "a.db", entries=3)


def is_safe(text: str) -> bool:
    return not terminal.CONTROL.search(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["stats", "{path}", ESCAPE],
        ["stats", f"{ESCAPE}.db"],
        ["import", "{path}", f"{ESCAPE}.jsonl"],
        ["show", "{path}", ESCAPE],
        ["ls", "{path}", "--limit", ESCAPE],
        [ESCAPE],
    ],
)
def test_arguments_reach_stderr_escaped(arguments: list[str], path: Path) -> None:
    done = llmemo(*(one.format(path=path) for one in arguments))
    assert done.code in {1, 2}
    assert "x1b]0;x" in done.err, "it is shown"
    assert is_safe(done.err)


@pytest.mark.parametrize("command", ["stats", "export", "rm"])
def test_what_a_file_says_of_itself_is_escaped(command: str, path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "a.db"
    shutil.copy(path, copy)
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        row = ("\x1b]0;x\x07", "t", "create table x(a")
        connection.execute("INSERT INTO sqlite_master VALUES ('table', ?, ?, 99999, ?)", row)
        connection.commit()
    done = llmemo(command, copy, *(["--all", "--yes"] if command == "rm" else []))
    assert done.code == 1
    assert "\\x1b]0;x" in done.err
    assert is_safe(done.err)


PASSWORDS = ("hunter2", "hun/ter2", "hun ter2", "hun?t#er2", "hun@ter2", "hun\nter2")


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "abcd", "{url}"],
        ["show", "{path}", "{url}"],
        ["rm", "{path}", "abcd", "{url}"],
        ["import", "{path}", "{url}"],
        ["stats", "{path}", "{url}"],
        ["stats", "{url}"],
        ["vacuum", "{url}"],
        ["ls", "{path}", "--limit", "{url}"],
        ["{url}"],
    ],
)
def test_a_url_in_any_place_shows_no_password(
    arguments: list[str], password: str, path: Path
) -> None:
    for scheme in ("redis://", "redis:/", "redis:", "postgres://"):
        url = f"{scheme}user:{password}@127.0.0.1:1/0"
        done = llmemo(*(one.format(url=url, path=path) for one in arguments))
        assert done.code in {1, 2}
        assert done.err
        said = done.out + done.err
        assert "hun" not in said, said
        assert "er2" not in said, said


@pytest.mark.parametrize("scheme", REDIS_SCHEMES)
def test_every_scheme_is_known(scheme: str) -> None:
    assert terminal.message(f"no {scheme}:user:pw@host") == f"no {scheme}:***@host"


def test_what_holds_no_password_stays() -> None:
    for text in (
        "write redis://host, or ./name",
        "allowed is redis://[user:password@]host[:port][/database]",
        "C:\\a@b.db and C:/a@b.db",
        "/data/a@b.db: is damaged",
    ):
        assert terminal.message(text) == text
    answer = "https://medium.example/@user and a@b.example, redis://u:pw@host"
    assert terminal.escaped(answer) == answer.replace("u:pw", "***")


def test_a_name_forges_no_line(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "a\nok    all: is well\u2028.db"
    shutil.copy(path, copy)
    aside = copy.with_name(f"{copy.name}.corrupt-1\n")
    aside.touch()
    for command in ("doctor", "stats", "verify"):
        done = llmemo(command, copy)
        assert not any(row.startswith("ok    all") for row in done.out.splitlines())
        assert "\\x0aok    all" in done.out
    asked = llmemo("rm", copy, "--all", stdin="n\n", tty=True).err
    assert asked.splitlines()[1:] == ["llmemo rm: nothing was removed"]


def shell(command: str, path: Path, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m llmemo {command.format(path=f'{path}')}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
        stdin=subprocess.DEVNULL,
        # Streams with buffers, as they are by default: they fail at the end.
        env={**os.environ, "PYTHONUNBUFFERED": "", **environment},
    )
    return done.returncode, done.stdout, done.stderr


unix = pytest.mark.skipif(sys.platform == "win32", reason="streams of a Unix shell")


@unix
@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("stats {path} >&-", 1, "stdout is closed"),
        ("export {path} >&-", 1, "stdout is closed"),
        ("--help >&-", 1, "stdout is closed"),
        ("export {path} 2>&- >/dev/null", 0, ""),
        ("stats missing 2>&-", 2, ""),
        ("import {path}.new <&-", 2, "stdin is closed"),
        ("rm {path} --all <&-", 2, "no terminal"),
    ],
)
def test_streams_that_are_closed(command: str, code: int, said: str, path: Path) -> None:
    found, _, err = shell(command, path)
    assert found == code, err
    assert said in err
    assert err.count("\n") == bool(said)


@unix
@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full")
@pytest.mark.parametrize("command", ["--help", "stats --help", "stats {path}"])
def test_a_full_disk(command: str, path: Path) -> None:
    code, _, err = shell(f"{command} >/dev/full", path)
    assert code == 1
    assert err.count("\n") == 1
    assert "No space left" in err


@unix
@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full")
def test_a_stderr_that_takes_nothing(path: Path) -> None:
    assert shell("export {path} 2>/dev/full >/dev/null", path)[0] == 0


@unix
@pytest.mark.slow
@pytest.mark.parametrize("command", ["--help", "stats --help", "rm --help", "stats ü.db"])
def test_a_locale_of_ascii(command: str, path: Path) -> None:
    code, _, err = shell(command, path, PYTHONIOENCODING="ascii:strict")
    assert code == (2 if "ü" in command else 0), err
    assert "UnicodeEncodeError" not in err


def test_no_streams_at_all(path: Path) -> None:
    with (
        mock.patch.object(sys, "stdout", None),
        mock.patch.object(sys, "stderr", None),
        mock.patch.object(sys, "stdin", None),
    ):
        assert [main([one, str(path)]) for one in ("stats", "export", "import")] == [1, 1, 2]
        assert main(["rm", str(path), "--all"]) == 2
        assert main(["stats"]) == 2

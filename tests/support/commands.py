"""The `llmemo` command in tests: run here or in a process, and files that it must survive."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from llmemo import LLMCache, SQLiteStore, options
from llmemo.cli import main
from support.doubles import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class Done(NamedTuple):
    """What a command has done."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """What it has printed as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def llmemo(*arguments: object, stdin: str = "", tty: bool = False) -> Done:
    """Run the command in this process."""
    out, err, given = io.StringIO(), io.StringIO(), io.StringIO(stdin)
    given.isatty = lambda: tty  # type: ignore[method-assign]
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "stdin", given),
    ):
        code = main([str(one) for one in arguments])
    return Done(code, out.getvalue(), err.getvalue())


def in_a_process(*arguments: object, **environment: str) -> Done:
    """Run it as a shell does."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "llmemo", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )
    return Done(done.returncode, done.stdout, done.stderr)


def chat(text: str, **fields: Any) -> list[Generation]:
    """An answer of a chat model."""
    return [ChatGeneration(message=AIMessage(text, **fields))]


def filled(
    path: Path, *, entries: int = 20, namespaces: Sequence[str] = ("",), **settings: Any
) -> Path:
    """A file with so many entries in each of these namespaces, closed."""
    with LLMCache(
        SQLiteStore(path, store_requests=settings.pop("store_requests", False)), **settings
    ) as cache:
        for namespace in namespaces:
            with options(namespace=namespace):
                for number in range(entries):
                    cache.update(f"question {number}", "model", chat(f"answer {number} " * 20))
    return path


def state(folder: Path) -> object:
    """Names, bytes and times of all files of a folder."""
    return {
        one.name: (one.read_bytes() if one.is_file() else b"", one.stat().st_mtime_ns)
        for one in folder.iterdir()
    }


def _empty(path: Path) -> None:
    path.touch()


def _text(path: Path) -> None:
    path.write_text("this is no database " * 100)


def _foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
        connection.commit()


def _langchain(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE full_llm_cache (prompt, llm, idx, response)")
        connection.commit()


def _truncated(path: Path) -> None:
    filled(path)
    os.truncate(path, path.stat().st_size // 2)


def _newer(path: Path) -> None:
    filled(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def _directory(path: Path) -> None:
    path.mkdir()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _missing(path: Path) -> None:
    """Nothing is there."""


NO_STORES: dict[str, Callable[[Path], None]] = {
    "missing": _missing,
    "empty": _empty,
    "text": _text,
    "foreign": _foreign,
    "langchain": _langchain,
    "newer": _newer,
    "directory": _directory,
    **({"fifo": _fifo} if hasattr(os, "mkfifo") else {}),
}
"""What is no store that this version can read, by what it is."""

DAMAGED: dict[str, Callable[[Path], None]] = {"truncated": _truncated}
"""What once was one."""

COMMANDS = {
    "stats": (),
    "ls": (),
    "show": ("0123456789",),
    "rm": ("--all", "--yes"),
    "verify": (),
    "vacuum": (),
    "bench": ("--entries", "3"),
    "doctor": (),
}
"""Every command, and what it needs beside a file."""

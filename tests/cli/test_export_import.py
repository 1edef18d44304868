"""`llmemo export` and `llmemo import`: what they print, their exit codes, files of all sorts."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.outputs import Generation
from support import stored
from support.commands import in_a_process
from support.doubles import FAST, LIMIT
from support.every_kind import hits_of_all, keep_all, kinds
from support.langchain_files import LLM, answer, make, row

from llmemo import LLMCache
from llmemo.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COUNT = 20


class Command:
    """Runs the command in this process."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """The exit code, what was printed, and what was said on stderr."""
        self._capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *self._capfd.readouterr()

    def complaint(self, *arguments: object, code: int = 1) -> str:
        """The one line of a command that cannot do its work."""
        found, printed, said = self(*arguments)
        assert (found, printed) == (code, "")
        assert said.count("\n") == 1, said
        assert "Traceback" not in said
        return said


@pytest.fixture
def llmemo(capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(capfd)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with some answers of each kind."""
    keep_all(tmp_path / "a.db", COUNT)
    return tmp_path / "a.db"


def files(folder: Path) -> dict[str, bytes]:
    return {
        name: (folder / name).read_bytes()
        for name in os.listdir(folder)
        if (folder / name).is_file() and not name.endswith("-lock")
    }


def test_what_was_exported_is_imported_from_a_file(llmemo: Command, path: Path) -> None:
    code, lines, said = llmemo("export", path)
    every = COUNT * kinds()
    assert (code, said.partition(" in ")[0]) == (0, f"{every} answers exported, 0 expired,")
    source = path.with_name("x.jsonl")
    source.write_text(lines)
    target = path.with_name("b.db")
    code, printed, said = llmemo("import", target, source)
    assert (code, said) == (0, "")
    assert printed.startswith(f"{every} answers imported, 0 already there, 0 expired, in ")
    assert hits_of_all(target, COUNT) == every
    # A file that only the user may read: it holds answers.
    assert target.stat().st_mode & 0o777 == 0o600


def test_both_speak_json(llmemo: Command, path: Path) -> None:
    code, lines, said = llmemo("export", path, "--json")
    assert code == 0
    report = json.loads(said)
    assert (report["answers"], report["damaged"]) == (COUNT * kinds(), {})
    assert [json.loads(line)["kind"] for line in lines.splitlines()[:2]] == ["header", "answer"]
    source = path.with_name("x.jsonl")
    source.write_text(lines)
    code, printed, said = llmemo("import", path, source, "--json")
    assert (code, said) == (0, "")
    report = json.loads(printed)
    del report["seconds"]
    assert report == {
        "imported": 0,
        "already": COUNT * kinds(),
        "expired": 0,
        "states": 0,
        "damaged": {},
        "missing": 0,
        "is_whole": True,
    }


@pytest.mark.parametrize("source", [["-"], []])
def test_an_export_is_read_from_stdin(
    source: list[str], llmemo: Command, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = llmemo("export", path)[1]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    target = path.with_name("b.db")
    assert llmemo("import", target, *source)[0] == 0
    assert hits_of_all(target, COUNT) == COUNT * kinds()


@pytest.mark.process
def test_neither_needs_langchain(path: Path) -> None:
    lines, target = path.with_name("x.jsonl"), path.with_name("b.db")
    for arguments, stdout in (
        (["export", path], lines),
        (["import", target, lines], path.with_name("said")),
    ):
        with stdout.open("wb") as file:
            subprocess.run(
                [*FAST, "-c", PROGRAM, *map(str, arguments)], check=True, timeout=LIMIT, stdout=file
            )
    assert hits_of_all(target, COUNT) == COUNT * kinds()


PROGRAM = """
import sys
from llmemo.cli import main
assert main(sys.argv[1:]) == 0
assert not [name for name in sys.modules if name.startswith(("langchain", "rich"))]
"""


def test_langchains_own_cache_is_imported(llmemo: Command, tmp_path: Path) -> None:
    source = make(tmp_path / ".langchain.db", [row(name) for name in "abc"])
    code, printed, said = llmemo("import", tmp_path / "b.db", source)
    assert (code, said) == (0, "")
    assert printed.startswith("3 answers imported, 0 already there, 0 skipped")
    with LLMCache(tmp_path / "b.db") as cache:
        assert cache.lookup("b", LLM) == answer("b")
    code, printed, _ = llmemo("import", tmp_path / "b.db", source, "--json")
    assert code == 0
    assert (json.loads(printed)["imported"], json.loads(printed)["already"]) == (0, 3)


def test_rows_that_langchain_has_not_written_are_a_problem(llmemo: Command, tmp_path: Path) -> None:
    source = make(tmp_path / ".langchain.db", [row("a"), row("b", response="no JSON")])
    code, printed, _ = llmemo("import", tmp_path / "b.db", source)
    assert code == 1
    assert printed.startswith("1 answer imported, 0 already there, 1 skipped (not_json 1)")


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for at in range(101, len(data), 997):
        data[at] ^= 0x10
    path.write_bytes(data)


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _other(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.commit()


BAD: dict[str, Callable[[Path], object]] = {
    "a folder": _folder,
    "foreign": lambda path: path.write_bytes(b"hello " * 999),
    "another database": _other,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:6_000]),
    "bit-flipped": _flip,
    "newer": _newer,
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("command", ["export", "import"])
def test_a_bad_file_takes_one_line_and_stays_as_it_is(
    command: str, what: str, llmemo: Command, path: Path
) -> None:
    source = path.with_name("x.jsonl")
    source.write_text(llmemo("export", path)[1])
    BAD[what](path)
    before = files(path.parent)
    arguments = [path] if command == "export" else [path, source]
    said = llmemo.complaint(command, *arguments, code=2 if what not in DAMAGED else 1)
    assert said.startswith(f"llmemo {command}: ")
    assert files(path.parent) == before


DAMAGED = {"truncated", "bit-flipped"}


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_there_is_nothing_to_export(what: str, llmemo: Command, tmp_path: Path) -> None:
    if what == "empty":
        (tmp_path / "a.db").touch()
    before = files(tmp_path)
    llmemo.complaint("export", tmp_path / "a.db", code=2)
    assert files(tmp_path) == before


def test_a_read_only_file_is_exported_and_takes_no_import(llmemo: Command, path: Path) -> None:
    path.chmod(0o444)
    code, lines, _ = llmemo("export", path)
    assert code == 0
    path.with_name("x.jsonl").write_text(lines)
    before = files(path.parent)
    llmemo.complaint("import", path, path.with_name("x.jsonl"), code=2)
    assert files(path.parent) == before


SOURCES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "a folder": _folder,
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_bytes(b"hello\n" * 999),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 99),
    "newer": lambda path: path.write_text('{"format": "llmemo-export", "version": 2}\n'),
    "a store": lambda path: shutil.copy(stored.HERE / "store.db", path),
    "another database": _other,
}


@pytest.mark.parametrize("what", SOURCES)
def test_a_source_that_is_none_takes_one_line_and_nothing_is_made(
    what: str, llmemo: Command, tmp_path: Path
) -> None:
    source = tmp_path / "x.jsonl"
    source.touch()
    SOURCES[what](source)
    said = llmemo.complaint("import", tmp_path / "b.db", source, code=2)
    assert "x.jsonl" in said
    assert ("is not there\n" in said) is (what == "missing")
    assert not (tmp_path / "b.db").exists()


def test_the_header_of_a_damaged_export_is_damage_and_no_wrong_argument(
    llmemo: Command, path: Path
) -> None:
    source = path.with_name("x.jsonl")
    source.write_text(llmemo("export", path)[1].replace('"version":1', '"version": 1', 1))
    assert "damaged" in llmemo.complaint("import", path.with_name("b.db"), source)


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of Unix")
def test_a_source_may_be_a_pipe_that_has_a_name(llmemo: Command, path: Path) -> None:
    lines, pipe = llmemo("export", path)[1], path.with_name("pipe")
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_text, args=(lines,), daemon=True).start()
    # In a process: where it opened the pipe twice, it would wait for ever.
    done = in_a_process("import", path.with_name("b.db"), pipe)
    assert (done.code, done.err) == (0, "")
    assert hits_of_all(path.with_name("b.db"), COUNT) == COUNT * kinds()


def test_a_file_of_no_bytes_is_a_new_one(llmemo: Command, path: Path) -> None:
    target = path.with_name("b.db")
    target.touch()
    path.with_name("x.jsonl").write_text(llmemo("export", path)[1])
    assert llmemo("import", target, path.with_name("x.jsonl"))[0] == 0
    assert hits_of_all(target, COUNT) == COUNT * kinds()


@pytest.mark.parametrize("what", ["truncated", "bit-flipped"])
def test_what_is_whole_of_a_damaged_source_is_imported(
    what: str, llmemo: Command, path: Path
) -> None:
    lines = bytearray(llmemo("export", path)[1].encode())
    if what == "truncated":
        del lines[-500:]
    else:
        lines[-500] ^= 1
    source = path.with_name("x.jsonl")
    source.write_bytes(lines)
    code, printed, said = llmemo("import", path.with_name("b.db"), source)
    assert code == 1
    assert printed.partition(" ")[0] == f"{COUNT * kinds() - 1}"
    assert said.count("\n") == 1
    assert "not whole" in said


def test_another_secret_is_said_clearly(llmemo: Command, path: Path) -> None:
    source = path.with_name("x.jsonl")
    source.write_text(llmemo("export", path)[1])
    with LLMCache(path.with_name("b.db"), secret="s") as cache:
        cache.update("p", "m", [Generation(text="a")])
    said = llmemo.complaint("import", path.with_name("b.db"), source)
    assert "secret" in said
    assert llmemo("import", path.with_name("b.db"), source, "--anyway")[0] == 0


def test_damaged_entries_of_a_store_are_a_problem(llmemo: Command, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE entries SET value = substr(value, 1, 70) WHERE id = 3")
        connection.commit()
    code, _, said = llmemo("export", path)
    assert code == 1
    assert "1 damaged (" in said


def test_a_server_takes_them_and_gives_them_back(
    llmemo: Command, path: Path, redis_url: str
) -> None:
    every = COUNT * kinds()
    source = path.with_name("x.jsonl")
    source.write_text(llmemo("export", path)[1])
    code, printed, said = llmemo("import", redis_url, source)
    assert (code, said, printed.partition(" ")[0]) == (0, "", f"{every}")
    assert llmemo("import", redis_url, source, "--json")[1].startswith('{"imported": 0, ')
    assert hits_of_all(redis_url, COUNT) == every
    code, lines, said = llmemo("export", redis_url)
    assert (code, said.partition(",")[0]) == (0, f"{every} answers exported")
    source.write_text(lines)
    assert llmemo("import", path.with_name("b.db"), source)[0] == 0
    assert hits_of_all(path.with_name("b.db"), COUNT) == every


def test_a_server_with_other_keys_is_noticed(llmemo: Command, path: Path, redis_url: str) -> None:
    with LLMCache(redis_url, secret="s") as cache:
        cache.update("p", "m", [Generation(text="a")])
    source = path.with_name("x.jsonl")
    source.write_text(llmemo("export", path)[1])
    assert "secret" in llmemo.complaint("import", redis_url, source)


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_server_that_is_away_takes_one_line(command: str, llmemo: Command, path: Path) -> None:
    source = path.with_name("x.jsonl")
    source.write_text(llmemo("export", path)[1])
    url = "redis://:hidden@127.0.0.1:1"
    arguments: list[Any] = [url] if command == "export" else [url, source]
    assert "hidden" not in llmemo.complaint(command, *arguments)


@pytest.fixture(autouse=True)
def no_handler_stays() -> Iterator[None]:
    """The command keeps the log off stderr, and other tests read it."""
    before = list(logging.getLogger("llmemo").handlers)
    yield
    logging.getLogger("llmemo").handlers[:] = before


def test_streams_of_text_alone_do(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    assert main(["export", str(path)]) == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO(out.getvalue()))
    assert main(["import", str(path.with_name("b.db")), "-"]) == 0
    assert hits_of_all(path.with_name("b.db"), COUNT) == COUNT * kinds()

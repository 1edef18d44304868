"""The command itself: help, usage, exit codes, and what it does not import."""

from __future__ import annotations

import io
import runpy
import signal
import subprocess
import sys
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from support.commands import COMMANDS as RUN
from support.commands import Done, filled, in_a_process, llmemo
from support.doubles import LIMIT

import llmemo as package
from llmemo import cli
from llmemo.cli.output import Output

if TYPE_CHECKING:
    from pathlib import Path

every_command = pytest.mark.parametrize("command", RUN)


def test_the_version() -> None:
    assert llmemo("--version") == Done(0, f"llmemo {package.__version__}\n", "")


def test_help_lists_every_command() -> None:
    done = llmemo("--help")
    assert (done.code, done.err) == (0, "")
    for name, (_, text) in cli.COMMANDS.items():
        assert f"  {name:6}  {text}\n" in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines())
    assert llmemo("-h") == llmemo("help") == done


def test_without_a_command_it_shows_help_and_says_that_that_was_not_enough() -> None:
    assert llmemo() == llmemo("--help")._replace(code=2)


@pytest.mark.parametrize("name", ["stat", "--verbose", "STATS", ""])
def test_what_is_no_command(name: str) -> None:
    done = llmemo(name)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1


# (argparse takes the width from it.)
@every_command
@mock.patch.dict("os.environ", COLUMNS="80")
def test_each_command_has_help_with_examples(command: str) -> None:
    done = llmemo(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"usage: llmemo {command} ")
    assert "--json" in done.out
    assert f"  llmemo {command} " in done.out.partition("examples:")[2]
    assert all(len(line) <= 80 for line in done.out.splitlines())


@every_command
def test_each_command_wants_a_file(command: str) -> None:
    done = llmemo(command)
    assert (done.code, done.out) == (2, "")
    assert "FILE" in done.err
    assert done.err.startswith(f"llmemo {command}: ")
    assert done.err.endswith(f" (llmemo {command} --help)\n")
    assert done.err.count("\n") == 1


@every_command
def test_an_option_that_there_is_not(command: str, tmp_path: Path) -> None:
    done = llmemo(command, tmp_path / "a.db", "--nothing")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    "wrong", [("--older-than", "soon"), ("--limit", "-1"), ("--limit", "many")]
)
def test_values_of_options_are_checked(wrong: tuple[str, str], tmp_path: Path) -> None:
    done = llmemo("ls", tmp_path / "a.db", *wrong)
    assert done.code == 2
    assert wrong[1] in done.err


IMPORTS = """
import sys
from llmemo.cli import main
code = main(sys.argv[1:])
print(*[name for name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["--help", *(name for name in RUN if name != "bench")])
def test_no_command_imports_langchain(command: str, tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=3)
    arguments = [command] if command == "--help" else [command, path, *RUN[command]]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, *arguments], capture_output=True, text=True, check=False
    )
    packages = {name.partition(".")[0] for name in done.stderr.split()}
    assert "llmemo" in packages
    assert packages.isdisjoint({"langchain_core", "langchain", "langsmith", "pydantic", "rich"})
    if command == "--help":
        assert packages.isdisjoint({"typing", "argparse", "asyncio", "sqlite3", "json"})


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="pipes of Unix")
def test_a_reader_that_leaves(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=300)
    with subprocess.Popen(
        [sys.executable, "-m", "llmemo", "ls", path, "--limit", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as done:
        assert done.stdout is not None
        assert done.stderr is not None
        # Before it prints more than a pipe holds.
        done.stdout.close()
        assert done.stderr.read() == b""
        assert done.wait(LIMIT) == cli.LEFT


def test_a_reader_that_has_left_by_the_end(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=1)
    stream = mock.Mock(spec=io.TextIOWrapper)
    stream.write.return_value, stream.flush.side_effect = 1, BrokenPipeError
    stream.fileno.side_effect = OSError
    with mock.patch.object(sys, "stdout", stream):
        assert cli.main(["ls", str(path)]) == cli.LEFT


def test_an_interrupt(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=1)
    with mock.patch(
        "llmemo.inspection.sqlite_view.SQLiteView.facts", side_effect=KeyboardInterrupt
    ):
        assert llmemo("stats", path) == Done(cli.INTERRUPTED, "", "")


def test_a_defect_is_one_line_too(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=1)
    with mock.patch(
        "llmemo.inspection.sqlite_view.SQLiteView.facts", side_effect=ZeroDivisionError("a\nb")
    ):
        assert llmemo("stats", path) == Done(1, "", "llmemo stats: ZeroDivisionError: a b\n")


def test_what_a_terminal_would_obey_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    Output(is_json=False).text("a\x1b[2Jb\x07\u202ec\ud800\n\td")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\x07\\u202ec\\ud800\n\td\n"


def test_an_encoding_that_lacks_some(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    Output(is_json=False).text("Grüße 🎈")
    sys.stdout.flush()
    assert raw.getvalue() == b"Gr\\xfc\\xdfe \\U0001f388\n"


def test_a_password_is_never_shown() -> None:
    url = "redis://user:hunter2@127.0.0.1:1/0"
    for command in ("stats", "ls", "verify", "doctor"):
        done = llmemo(command, url)
        assert done.code == 1
        assert "hunter2" not in done.out + done.err
    for wrong in ("redis://user:hunter2@host:x", "postgres://u:hunter2@h", "redis:/u:hunter2@h"):
        done = llmemo("stats", wrong)
        assert done.code == 2
        assert "hunter2" not in done.out + done.err, wrong


@pytest.mark.slow
def test_python_m_llmemo() -> None:
    assert in_a_process("--help", PYTHONOPTIMIZE="1") == llmemo("--help")


def test_an_interrupt_while_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "llmemo.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "llmemo.cli")
    # (Other tests import it; `runpy` would warn of that.)
    monkeypatch.delitem(sys.modules, "llmemo.__main__", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    with pytest.raises(SystemExit) as found:
        runpy.run_module("llmemo", run_name="__main__")
    assert found.value.code == cli.INTERRUPTED

"""The `llmemo` command: inspects and repairs a store while services use it.

Each command is a module, `llmemo.cli.<name>`, which is imported only when it runs:

    EXAMPLES = "  llmemo stats cache.db"              # the end of `llmemo stats --help`

    def add_arguments(parser: ArgumentParser) -> None: ...
    def run(arguments: Namespace, output: Output) -> int: ...     # the exit code

A new command is such a file, and a row of `COMMANDS`. Its `--json` is there already, and so is
what its docstring says in `--help`. `run` prints by `output` alone. It may raise any `LLMemoError`
or OSError: the message is printed in one line, and the exit code is `PROBLEM`, or `USAGE` for a
ConfigurationError (what FILE names is no store, say).

No module here imports LangChain, or anything large, before its command needs it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence
    from types import ModuleType

FINE, PROBLEM, USAGE = 0, 1, 2
"""Exit codes: all is well; a problem was found; usage error."""

WIDTH = 80
"""Columns of `--help`."""

INTERRUPTED, LEFT = 130, 141
"""Ctrl-C, and a reader of the output that has left (`| head`): what shells make of the signals."""

COMMANDS = {
    "stats": ("llmemo.cli.stats", "how much a store holds, of what, and how old"),
    "ls": ("llmemo.cli.ls", "list the entries, the newest first"),
    "show": ("llmemo.cli.show", "show one entry: its answer, tool calls, usage"),
    "rm": ("llmemo.cli.rm", "remove entries; running services forget them, too"),
    "export": ("llmemo.cli.export", "write the entries as JSON lines"),
    "import": ("llmemo.cli.import_", "add the entries of an export, or of a .langchain.db"),
    "verify": ("llmemo.cli.verify", "check every entry, and the file itself"),
    "vacuum": ("llmemo.cli.vacuum", "give free pages back to the file system"),
    "bench": ("llmemo.cli.bench", "measure hits and writes beside a file, on this machine"),
    "doctor": ("llmemo.cli.doctor", "check the file, its folder and this machine; say what to do"),
}
"""The module of each command, and what it does."""

HELP = """\
usage: llmemo COMMAND [OPTIONS] FILE

Inspect and repair an llmemo store while services use it.
FILE is an SQLite file, or redis://[user:password@]host[:port][/database].

commands:
{commands}

options:
  -h, --help  show this, or with a command its own help
  --version   show the version

Every command takes --json.
Exit codes: 0 all is well, 1 a problem was found, 2 usage error.

examples:
  llmemo stats cache.db
  llmemo ls cache.db --limit 10
  llmemo doctor cache.db
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Never raises.

    Args:
        arguments: Those after the program's name; by default `sys.argv`'s.

    Returns:
        The exit code.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = _dispatched(given)
        # What is buffered may find that its reader has left, or the disk full.
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return LEFT
    except KeyboardInterrupt:
        _settle_output()
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 (a tool for the shell: one line, no traceback)
        code = _report(error, given[0] if given else "")
        _settle_output()
    return code


def _dispatched(given: list[str]) -> int:
    try:
        return _dispatch(given)
    except SystemExit as done:  # argparse's, and that of a signal
        return done.code if isinstance(done.code, int) else FINE


def _dispatch(given: list[str]) -> int:
    from llmemo.cli import terminal  # noqa: PLC0415 (see the module)

    name = given[0] if given else "--help"
    if name in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS))
        rows = [f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items()]
        terminal.write(HELP.format(commands="\n".join(rows)))
        return FINE if given else USAGE
    if name == "--version":
        from llmemo._core import __version__  # noqa: PLC0415 (see the module)

        terminal.write(f"llmemo {__version__}\n")
        return FINE
    if name not in COMMANDS:
        what = "option" if name.startswith("-") else "command"
        terminal.complain(f"llmemo: there is no {what} {name!r}: llmemo --help lists all\n")
        return USAGE
    return _run(name, given[1:])


def _run(name: str, given: list[str]) -> int:
    import importlib  # noqa: PLC0415 (see the module)
    import logging  # noqa: PLC0415

    from llmemo.cli.output import Output  # noqa: PLC0415

    module = importlib.import_module(COMMANDS[name][0])
    arguments = _parser(name, module).parse_args(given)
    # What a store would log is said by the errors, and so goes through `terminal`.
    logging.getLogger("llmemo").addHandler(logging.NullHandler())
    code: int = module.run(arguments, Output(is_json=arguments.json))
    return code


def _parser(name: str, module: ModuleType) -> ArgumentParser:
    import argparse  # noqa: PLC0415 (see the module)
    import textwrap  # noqa: PLC0415

    from llmemo.cli.arguments import Parser  # noqa: PLC0415

    paragraphs = (module.__doc__ or "").strip().split("\n\n")
    parser = Parser(
        prog=f"llmemo {name}",
        description="\n\n".join(textwrap.fill(each, WIDTH) for each in paragraphs),
        epilog=f"examples:\n{module.EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser


def _report(error: Exception, name: str) -> int:
    """Say in one line what is wrong. Returns the exit code."""
    from llmemo.cli import terminal  # noqa: PLC0415 (see the module)
    from llmemo.errors import ConfigurationError, LLMemoError, text_of  # noqa: PLC0415

    text = str(error) if isinstance(error, (LLMemoError, OSError)) else text_of(error)
    terminal.complain(f"llmemo {name}: {' '.join(text.split())}\n")
    return USAGE if isinstance(error, ConfigurationError) else PROBLEM


def _settle_output() -> None:
    """What is buffered is written, or never: the interpreter would fail at its end."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        _discard_output()


def _discard_output() -> None:
    from llmemo.cli import terminal  # noqa: PLC0415 (see the module)

    terminal.discard(sys.stdout)

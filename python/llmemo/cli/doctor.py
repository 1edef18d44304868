"""Check a store and what it stands on, and say what to do.

Of a file: SQLite and its WAL-reset bug, the file system, permissions, WAL, space, schema, entries,
clock, files that were set aside. Of a server: latency, version, eviction, persistence, clock,
rights. No file says that a running cache serves from memory alone: LLMCache.health() does.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llmemo.cli import FINE
from llmemo.cli import PROBLEM as FOUND
from llmemo.cli.arguments import add_file
from llmemo.cli.terminal import line
from llmemo.errors import ConfigurationError, LLMemoError
from llmemo.inspection.checks import OK, PROBLEM, WARN, Check, check_entries
from llmemo.inspection.file_checks import check_file
from llmemo.inspection.opening import is_url, viewed
from llmemo.inspection.sqlite_view import DamagedError, SQLiteView
from llmemo.inspection.values import ValueReader
from llmemo.telemetry.progress import ProgressBar

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from llmemo.cli.output import Output
    from llmemo.inspection.entries import View

EXAMPLES = """\
  llmemo doctor cache.db
  llmemo doctor cache.db --full
  llmemo doctor redis://cache.internal --json"""

MARKS = {OK: "ok  ", WARN: "warn", PROBLEM: "BAD "}


def add_arguments(parser: ArgumentParser) -> None:
    """What is checked."""
    add_file(parser)
    parser.add_argument(
        "--full", action="store_true", help="read every entry, and run integrity_check"
    )


def run(arguments: Namespace, output: Output) -> int:
    """Check, and print each check as it is done."""
    found = []
    for check in _checks(arguments):
        found.append(check.status)
        remedy = f"\n      -> {line(check.remedy)}" if check.remedy else ""
        output.text(f"{MARKS[check.status]}  {check.name}: {line(check.text)}{remedy}")
        output.object(check._asdict())
    return FOUND if PROBLEM in found else FINE


def _checks(arguments: Namespace) -> Iterator[Check]:
    reader = ValueReader()
    try:
        with viewed(arguments.file, prefix=arguments.prefix) as view:
            yield from _of_store(view, is_full=arguments.full)
            with ProgressBar("reading") as bar:
                yield from check_entries(view, reader, time.time(), bar, is_full=arguments.full)
    except LLMemoError as error:
        yield _unusable(arguments.file, error)


def _unusable(location: str, error: LLMemoError) -> Check:
    """The check that a store which cannot be read has failed."""
    if is_url(location) and not isinstance(error, ConfigurationError):
        remedy = "check that the server runs, and the URL, user and password"
        return Check("server", PROBLEM, str(error), remedy)
    if isinstance(error, (ConfigurationError, DamagedError)):
        # They end with what to do.
        text, _, remedy = str(error).rpartition(": ")
    else:
        text, remedy = str(error), "run llmemo doctor again when no other program holds the file"
    return Check("server" if is_url(location) else "file", PROBLEM, text, remedy)


def _of_store(view: View, *, is_full: bool) -> Iterator[Check]:
    if isinstance(view, SQLiteView):
        yield from check_file(view, is_full=is_full)
        return
    from llmemo.inspection.redis_view import RedisView  # noqa: PLC0415 (an extra)
    from llmemo.inspection.server_checks import check_server  # noqa: PLC0415

    if isinstance(view, RedisView):
        yield from check_server(view)

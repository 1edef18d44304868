"""Add the answers of an export, or of LangChain's SQLiteCache (.langchain.db), to a store.

An answer that the store has stays as it is, so an import can be repeated. Running services find
the new answers at once. Lines that are damaged are left out and counted: the exit code is 1 then.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from llmemo.cli import FINE, PROBLEM
from llmemo.cli.arguments import add_file
from llmemo.errors import ConfigurationError
from llmemo.importing.exported import LinesImport
from llmemo.importing.given import STDIN, opened
from llmemo.importing.line_reader import LineReader
from llmemo.importing.target import target_of
from llmemo.stores.sqlite.path_checks import is_ours
from llmemo.telemetry import numbers
from llmemo.telemetry.progress import ProgressBar

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from llmemo.cli.output import Output
    from llmemo.importing.given import Given

EXAMPLES = """\
  llmemo import cache.db answers.jsonl
  llmemo import cache.db .langchain.db
  gunzip -c answers.jsonl.gz | llmemo import cache.db -"""

EXPECTED = ("bypassed: ", "not kept: ")
"""Reasons not to import a row that is whole."""


def add_arguments(parser: ArgumentParser) -> None:
    """The store, and what to import."""
    add_file(parser)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="?",
        default=STDIN,
        help="an export, or a database of LangChain's SQLiteCache; - for an export on stdin",
    )
    parser.add_argument(
        "--anyway", action="store_true", help="even if keys seem to be made with another secret"
    )


def run(arguments: Namespace, output: Output) -> int:
    """Import, and say what came of it."""
    with opened(arguments.source) as given:
        if not given.is_database:
            return _import_lines(given, arguments, output)
    return _import_langchain(arguments, output)


def _import_lines(given: Given, arguments: Namespace, output: Output) -> int:
    with ProgressBar("importing") as bar:
        reader = LineReader(given.stream, given.name)
        importing = LinesImport(
            reader, arguments.file, prefix=arguments.prefix, anyway=arguments.anyway
        )
        try:
            report = importing.run(lambda position: bar(position, given.size))
        except KeyboardInterrupt:
            output.note(f"interrupted: {numbers.answers(importing.imported)} imported")
            raise
    output.object({**dataclasses.asdict(report), "is_whole": report.is_whole})
    output.text(str(report))
    if report.is_whole:
        return FINE
    output.note("llmemo import: the export is not whole: what is sound in it was imported")
    return PROBLEM


def _import_langchain(arguments: Namespace, output: Output) -> int:
    from llmemo.cache import LLMCache  # noqa: PLC0415 (it brings LangChain)

    if is_ours(Path(arguments.source).absolute()):
        msg = f"{arguments.source!r} is a store of llmemo: pipe llmemo export of it into the import"
        raise ConfigurationError(msg)
    store, _ = target_of(arguments.file, prefix=arguments.prefix)
    with LLMCache(store, max_bytes=0, store_timeout=60.0) as cache:
        report = cache.import_langchain(arguments.source)
    output.object(dataclasses.asdict(report))
    output.text(str(report))
    return FINE if all(reason.startswith(EXPECTED) for reason in report.skipped) else PROBLEM

"""Add the answers of an export, or of LangChain's SQLiteCache (.langchain.db), to a store.

An answer that the store has stays as it is, so an import can be repeated. Running services find
the new answers at once. Lines that are damaged are left out and counted: the exit code is 1 then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
from typing import TYPE_CHECKING, BinaryIO

from llmemo.cli import FINE, PROBLEM
from llmemo.cli.arguments import add_file
from llmemo.errors import NotACacheError, StoreError
from llmemo.importing.exported import LinesImport
from llmemo.importing.line_reader import LineReader
from llmemo.importing.target import target_of
from llmemo.telemetry.progress import ProgressBar

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from llmemo.cli.output import Output

EXAMPLES = """\
  llmemo import cache.db answers.jsonl
  llmemo import cache.db .langchain.db
  gunzip -c answers.jsonl.gz | llmemo import cache.db -"""

STDIN = "-"
SQLITE = b"SQLite format 3\0"
"""How a database begins (sqlite.org/fileformat.html, 1.3.1)."""

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
    if arguments.source != STDIN and _is_database(arguments.source):
        return _import_langchain(arguments, output)
    return _import_lines(arguments, output)


def _is_database(path: str) -> bool:
    with open(path, "rb") as file:  # noqa: PTH123 (its errors name the path as it was given)
        return file.read(len(SQLITE)) == SQLITE


def _import_lines(arguments: Namespace, output: Output) -> int:
    with _opened(arguments.source) as (stream, size), ProgressBar("importing") as bar:
        reader = LineReader(stream, "stdin" if arguments.source == STDIN else arguments.source)
        importing = LinesImport(
            reader, arguments.file, prefix=arguments.prefix, anyway=arguments.anyway
        )
        try:
            report = importing.run(lambda position: bar(position, size))
        except KeyboardInterrupt:
            output.note(f"interrupted: {importing.imported:,} answers were imported")
            raise
    output.object({**dataclasses.asdict(report), "is_whole": report.is_whole})
    output.text(str(report))
    if report.is_whole:
        return FINE
    output.note("llmemo import: the export is not whole: what is sound in it was imported")
    return PROBLEM


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """The stream, and its size in bytes if that is known."""
    if path == STDIN:
        if sys.stdin is None:
            msg = "stdin is closed: name a file to import"
            raise StoreError(msg)
        binary = getattr(sys.stdin, "buffer", None)
        # One of a notebook, say, has text alone.
        yield binary or io.BytesIO(sys.stdin.read().encode()), None
        return
    with open(path, "rb") as stream:  # noqa: PTH123 (as above)
        yield stream, os.fstat(stream.fileno()).st_size or None


def _import_langchain(arguments: Namespace, output: Output) -> int:
    from llmemo.cache import LLMCache  # noqa: PLC0415 (it brings LangChain)

    store, _ = target_of(arguments.file, prefix=arguments.prefix)
    with LLMCache(store, max_bytes=0, store_timeout=60.0) as cache:
        try:
            report = cache.import_langchain(arguments.source)
        except NotACacheError as error:
            raise StoreError(str(error)) from error
    output.object(dataclasses.asdict(report))
    output.text(str(report))
    return FINE if all(reason.startswith(EXPECTED) for reason in report.skipped) else PROBLEM

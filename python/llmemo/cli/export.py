"""Write all answers of a store to stdout, as JSON lines.

They hold everything that a store keeps: after `llmemo import` the same requests are hits there.
Services may go on writing meanwhile. What is encrypted stays encrypted; anything else is in clear.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from llmemo.cli import FINE, PROBLEM
from llmemo.cli.arguments import add_file
from llmemo.errors import StoreError
from llmemo.exporting.export import export
from llmemo.exporting.sources import source_of
from llmemo.telemetry.progress import ProgressBar

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from llmemo.cli.output import Output

EXAMPLES = """\
  llmemo export cache.db > answers.jsonl
  llmemo export cache.db | gzip > answers.jsonl.gz
  llmemo export cache.db | llmemo import redis://cache.internal"""


def add_arguments(parser: ArgumentParser) -> None:
    """The store."""
    add_file(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Export. What is said of it goes to stderr."""
    if sys.stdout is None:
        msg = "stdout is closed"
        raise StoreError(msg)
    with (
        source_of(arguments.file, prefix=arguments.prefix) as source,
        ProgressBar("exporting") as bar,
    ):
        # A bar between the lines would be in the way.
        progress = (lambda *_: None) if sys.stdout.isatty() else bar
        report = export(source, _writer(), progress=progress)
        sys.stdout.flush()
    output.note(json.dumps(dataclasses.asdict(report)) if output.is_json else str(report))
    return PROBLEM if report.damaged else FINE


def _writer() -> Callable[[bytes], object]:
    """Writes lines to stdout as they are; to one of a notebook, say, as text."""
    stream, binary = sys.stdout, getattr(sys.stdout, "buffer", None)
    if binary is None:
        return lambda lines: stream.write(lines.decode("ascii"))
    write: Callable[[bytes], object] = binary.write
    return write

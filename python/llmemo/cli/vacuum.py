"""Give the free pages of a file back to the file system, and write its WAL back.

In steps of some milliseconds, between which services write. The WAL is cut if nothing reads from
it within half a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.cli import FINE, wording
from llmemo.cli.arguments import add_file
from llmemo.inspection.opening import file_path
from llmemo.inspection.sqlite_view import SQLiteView
from llmemo.inspection.vacuum import vacuum
from llmemo.telemetry.progress import ProgressBar

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from llmemo.cli.output import Output

EXAMPLES = "  llmemo vacuum cache.db"


def add_arguments(parser: ArgumentParser) -> None:
    """Which file."""
    add_file(parser, urls=False)


def run(arguments: Namespace, output: Output) -> int:
    """Give back, and print how much that was."""
    view = SQLiteView(file_path(arguments.file))
    try:
        with ProgressBar("giving back") as bar:
            done = vacuum(view, bar)
    finally:
        view.close()
    before, after = done.before, done.after
    output.object(
        {
            "store": view.shown,
            "file_bytes_before": before.file,
            "file_bytes": after.file,
            "wal_bytes_before": before.wal,
            "wal_bytes": after.wal,
            "free_bytes": after.free,
            "given_back_bytes": before.file + before.wal - after.file - after.wal,
            "wal_is_cut": done.is_checkpointed,
        }
    )
    sizes = (
        (name, wording.size(one), wording.size(other))
        for name, one, other in (("file", before.file, after.file), ("WAL", before.wal, after.wal))
    )
    rows = [(name, one, "->", other) for name, one, other in sizes]
    output.text(wording.table(rows, " r r"))
    if not done.is_checkpointed:
        output.text("the WAL is being read: it was written back, and is cut by a later checkpoint")
    return FINE

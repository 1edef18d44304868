"""Measure hits and writes on this machine, beside a plain read of SQLite.

It is done in a scratch file in the folder of FILE, never in FILE itself. Compare the ratios: times
depend on what else the machine does.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from llmemo.cli import FINE, wording
from llmemo.cli.arguments import add_file, whole
from llmemo.inspection.opening import file_path
from llmemo.inspection.sqlite_view import SQLiteView

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable, Iterator, Sequence

    from llmemo.cli.output import Output

EXAMPLES = "  llmemo bench cache.db"

ENTRIES = 500
"""Entries of the scratch file."""

TEXT = "An answer of about a kilobyte. " * 32

PLAIN = "plain SQLite read"
"""What the others are measured by."""

MODEL = "llmemo bench"


def add_arguments(parser: ArgumentParser) -> None:
    """Where, and how long."""
    add_file(parser, urls=False)
    parser.add_argument(
        "--entries", type=whole, default=ENTRIES, help=f"of the scratch file (default {ENTRIES})"
    )


def run(arguments: Namespace, output: Output) -> int:
    """Measure, and print."""
    view = SQLiteView(file_path(arguments.file))
    view.close()
    path = view.path
    with ended_by_signals():
        folder = Path(tempfile.mkdtemp(prefix=".llmemo-bench-", dir=path.parent))
        try:
            found = measure(folder / "scratch.db", max(1, arguments.entries))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    plain = found[PLAIN]
    output.object(
        {
            "folder": str(path.parent),
            "entries": max(1, arguments.entries),
            "seconds": {name: round(seconds, 9) for name, seconds in found.items()},
            "ratios": {name: round(seconds / plain, 3) for name, seconds in found.items()},
        }
    )
    rows = [
        (name, f"{seconds * 1e6:.1f} µs", f"{seconds / plain:.2f}x")
        for name, seconds in found.items()
    ]
    output.text(wording.table([("median of each", "", "ratio"), *rows], " rr"))
    return FINE


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Have signals that end a process raise SystemExit, so that what is here is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield  # it gets no signals
        return
    names = (name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
    before = {getattr(signal, name): signal.signal(getattr(signal, name), _end) for name in names}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _: object) -> NoReturn:
    # What shells make of a signal.
    raise SystemExit(128 + number)


def measure(path: Path, entries: int) -> dict[str, float]:
    """Medians of each operation, in seconds, in a new file."""
    from langchain_core.messages import AIMessage  # noqa: PLC0415 (this command alone needs it)
    from langchain_core.outputs import ChatGeneration  # noqa: PLC0415

    from llmemo.cache import LLMCache  # noqa: PLC0415

    prompts = [f"question {number}" for number in range(entries)]
    found = {}
    with LLMCache(path) as cache:

        def write(prompt: str) -> None:
            cache.update(prompt, MODEL, [ChatGeneration(message=AIMessage(TEXT + prompt))])

        found["write"] = _median(write, prompts)
        found["hit in memory"] = _median(lambda prompt: cache.lookup(prompt, MODEL), prompts)
    with LLMCache(path, max_bytes=0) as cache:
        cache.lookup(prompts[0], MODEL)  # which opens the file
        found["hit in the file"] = _median(lambda prompt: cache.lookup(prompt, MODEL), prompts)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        keys = [key for (key,) in connection.execute("SELECT key FROM entries")]

        def read(key: bytes) -> Any:
            return connection.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()

        found[PLAIN] = _median(read, keys)
    return found


def _median(run: Callable[[Any], object], given: Sequence[Any]) -> float:
    taken = []
    for one in given:
        begun = time.perf_counter()
        run(one)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)

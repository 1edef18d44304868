"""Exports as bytes, and imports of them: without a command."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sqlite3
from typing import TYPE_CHECKING, Any

from llmemo.exporting.export import export
from llmemo.exporting.sources import source_of
from llmemo.importing.exported import LinesImport
from llmemo.importing.line_reader import LineReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmemo.exporting.export import ExportReport
    from llmemo.importing.exported import LinesReport

TABLES = {
    "entries": "key, value, namespace, llm, created, expires, outline, request",
    "questions": "key, partition, sealed",
    "states": "name, state",
}


def exported(
    location: Path | str, progress: Callable[[int, int | None], object] = lambda *_: None
) -> tuple[bytes, ExportReport]:
    """An export, and what is said of it."""
    lines = io.BytesIO()
    with source_of(str(location)) as source:
        report = export(source, lines.write, progress=progress)
    return lines.getvalue(), report


def imported(lines: bytes, location: Path | str, **settings: Any) -> LinesReport:
    """Import an export."""
    reader = LineReader(io.BytesIO(lines), "x.jsonl")
    return LinesImport(reader, str(location), **settings).run(lambda position: None)


def rows(path: Path, table: str = "entries") -> list[tuple[Any, ...]]:
    """What a file has, in the order of its keys; nothing if it lacks the table."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return sorted(connection.execute(f"SELECT {TABLES[table]} FROM {table}"))


def line(**fields: Any) -> bytes:
    """A line with a checksum, as docs/export.md says."""
    return summed(json.dumps(fields).encode()[:-1])


def summed(body: bytes) -> bytes:
    """A line of these bytes, but for their last brace."""
    digest = hashlib.blake2b(body, digest_size=8).hexdigest()
    return body + f',"sum":"{digest}"}}\n'.encode()


def fields_of(line: bytes) -> dict[str, Any]:
    """What a line says, without its checksum."""
    found: dict[str, Any] = json.loads(line)
    del found["sum"]
    return found

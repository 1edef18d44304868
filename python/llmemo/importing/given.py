"""What an import is given: a file, a pipe, or standard input. It is opened once."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from llmemo.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

STDIN = "-"
SQLITE = b"SQLite format 3\0"
"""How a database begins (sqlite.org/fileformat.html, 1.3.1)."""


class Given(NamedTuple):
    """What there is to import."""

    name: str
    """For errors."""
    stream: BinaryIO
    size: int | None = None
    """In bytes, if that is known."""
    is_database: bool = False
    """Whether it begins as a database does. Only a file can be one."""


@contextlib.contextmanager
def opened(source: str) -> Iterator[Given]:
    """What has this path; `STDIN` for standard input.

    Raises:
        ConfigurationError: It is neither a file nor a pipe, or cannot be opened.
        OSError: It cannot be read.
    """
    if source == STDIN:
        if sys.stdin is None:
            msg = "stdin is closed: name a file to import"
            raise ConfigurationError(msg)
        binary = getattr(sys.stdin, "buffer", None)
        # One of a notebook, say, has text alone.
        yield Given("stdin", binary or io.BytesIO(sys.stdin.read().encode()))
        return
    path = Path(source)
    if not path.exists():
        msg = f"{source!r} is not there"
    elif path.is_dir():
        msg = f"{source!r} is a folder: name a file in it"
    elif not (path.is_file() or path.is_fifo()):
        msg = f"{source!r} is neither a file nor a pipe: name an export, or a .langchain.db"
    elif not os.access(path, os.R_OK):
        msg = f"{source!r} cannot be read by this user: change its mode or owner"
    else:
        msg = ""
    if msg:
        raise ConfigurationError(msg)
    with path.open("rb") as stream:
        if not path.is_file():
            yield Given(source, stream)
            return
        is_database = stream.read(len(SQLITE)) == SQLITE
        stream.seek(0)
        yield Given(source, stream, os.fstat(stream.fileno()).st_size or None, is_database)

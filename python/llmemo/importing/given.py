"""What an import is given: a file, a pipe, or standard input. It is opened once."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
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
        ConfigurationError: It is neither a file nor a pipe.
        OSError: It cannot be opened.
    """
    if source == STDIN:
        binary = getattr(sys.stdin, "buffer", None)
        # One of a notebook, say, has text alone.
        yield Given("stdin", binary or io.BytesIO(sys.stdin.read().encode()))
        return
    mode = os.stat(source).st_mode  # noqa: PTH116 (its errors name the path as it was given)
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        msg = f"{source!r} is neither a file nor a pipe: name an export, or a .langchain.db"
        raise ConfigurationError(msg)
    with open(source, "rb") as stream:  # noqa: PTH123 (as above)
        if not stat.S_ISREG(mode):
            yield Given(source, stream)
            return
        is_database = stream.read(len(SQLITE)) == SQLITE
        stream.seek(0)
        yield Given(source, stream, os.fstat(stream.fileno()).st_size or None, is_database)

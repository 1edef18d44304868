"""Writes a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from llmemo.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable


MARK = b'<meta name="generator" content="llmemo '
"""What the head of each report has, and hardly another file."""

HEAD = 2048
"""Bytes in which the mark stands."""

STORE_FILES = ("", "-wal", "-shm", "-journal", "-lock")
"""Ends of the names of a database's files."""


def check_path(path: object) -> Path:
    """The absolute path of the file to write.

    What is there already is replaced only if it is a report, or empty.

    Raises:
        ConfigurationError: No file can be written there.
    """
    if not isinstance(path, (str, os.PathLike)):
        msg = f"report path of type {type(path).__name__} is not allowed: give a str or a Path"
        raise ConfigurationError(msg)
    name = os.fspath(path)
    if not isinstance(name, str) or not name or "\0" in name:
        msg = f'report path {name!r} is not allowed: give the name of a file, as "report.html"'
        raise ConfigurationError(msg)
    # Not resolved: a link is replaced, and what it leads to is left alone.
    found = Path(os.path.abspath(Path(name).expanduser()))  # noqa: PTH100 (see above)
    if name.endswith(("/", os.sep)) or found.is_dir():
        msg = f"report path {str(found)!r} is a folder: give the name of a file in it"
        raise ConfigurationError(msg)
    if not found.parent.is_dir():
        msg = f"report path {str(found)!r}: there is no folder {str(found.parent)!r}, so make it"
        raise ConfigurationError(msg)
    if found.exists() and not found.is_file():
        msg = f"report path {str(found)!r} is a device, a pipe or a socket: give another name"
        raise ConfigurationError(msg)
    check_replaced(found)
    return found


def check_replaced(path: Path) -> None:
    """Raise if a file is there that is no report, or a link to one.

    Raises:
        ConfigurationError: There is.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError:
        return
    if head and not (head.startswith(b"<!DOCTYPE html>") and MARK in head):
        msg = (
            f"report path {str(path)!r} is a file that is no report of llmemo, and stays as it is:"
            " give another name, or remove that file"
        )
        raise ConfigurationError(msg)


def check_apart(path: Path, stores: Iterable[object]) -> None:
    """Raise if the file is a store's, which may not be there yet.

    Raises:
        ConfigurationError: It is.
    """
    real = os.path.realpath(path)
    for store in stores:
        own = getattr(store, "path", None)
        if isinstance(own, Path) and real in {os.path.realpath(own) + end for end in STORE_FILES}:
            msg = f"report path {str(path)!r} is the cache's own file: give another name"
            raise ConfigurationError(msg)


def write_whole(path: Path, text: str) -> None:
    """Write a file that others see whole, or as it was before.

    A new file is for this user alone (mode 0600). One that is replaced keeps its mode.

    Raises:
        ConfigurationError: What is there by now is no report. It stays.
        OSError: The folder is not writable, the disk is full, or the like. What was there stays.
    """
    number, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        with contextlib.suppress(FileNotFoundError):
            was = path.lstat()
            if stat.S_ISREG(was.st_mode):
                Path(name).chmod(stat.S_IMODE(was.st_mode))
        # Once more: gathering what to say takes seconds.
        check_replaced(path)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise

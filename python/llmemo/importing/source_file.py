"""Opens a file that other programs may be using: read-only, and without leaving a trace."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

from llmemo.config.validation import absolute_path
from llmemo.errors import ConfigurationError, NotACacheError, StoreError
from llmemo.stores.sqlite.path_checks import LEAST_PAGE, wal_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT = 5.0
"""Longest time to wait while another program writes to the file, in seconds."""


def checked(path: str | os.PathLike[str]) -> Path:
    """The absolute path of a file that may be a database."""
    given, absolute = absolute_path("path", path, example=".langchain.db")
    if absolute.is_dir():
        msg = f"path={given!r} is a folder: name the file in it, such as '.langchain.db'"
        raise ConfigurationError(msg)
    if not absolute.exists():
        msg = f"path={given!r}: there is no file {str(absolute)!r}; name the one to import"
        raise ConfigurationError(msg)
    if not absolute.is_file():
        msg = f"path={given!r} is not a regular file: name a file that holds a database"
        raise ConfigurationError(msg)
    if not os.access(absolute, os.R_OK):
        msg = f"path={given!r} cannot be read by this user: change its mode or owner"
        raise ConfigurationError(msg)
    if absolute.stat().st_size < LEAST_PAGE:
        # SQLite would take some such files for an empty database.
        raise _not_a_database(absolute)
    return absolute


def is_unlocked(path: Path) -> bool:
    """Whether the file has to be read without locks: it is in WAL mode, and not in use.

    Otherwise even a reader would create -wal and -shm files, and could not remove them.
    """
    if wal_of(path).exists():
        return False
    # Without locks SQLite opens no file in WAL mode. That tells the mode without opening the file
    # by hand (sqlite.org/howtocorrupt.html, 2.2). What is read this way is not used.
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro&nolock=1", uri=True)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.Error as error:
        return "unable to open" in str(error)
    finally:
        connection.close()
    return False


def connect(path: Path, *, is_immutable: bool) -> sqlite3.Connection:
    """Open a read-only connection; with `is_immutable`, one that takes no locks.

    Raises:
        StoreError: It cannot be opened.
    """
    uri = f"{path.as_uri()}?mode=ro{'&immutable=1' if is_immutable else ''}"
    with translated_errors(path):
        # Used by one thread, but closed by any thread when an iterator is dropped.
        connection = sqlite3.connect(
            uri, uri=True, timeout=TIMEOUT, isolation_level=None, check_same_thread=False
        )
        connection.text_factory = _text
        # A file from elsewhere may have views and triggers: they get no functions with effects.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        return connection


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        # LangChain did not write it, and one row must not end the import.
        return None


def state_of(path: Path) -> object:
    """A value that changes with every write to a file in WAL mode."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, wal_of(path).exists()


def _not_a_database(path: Path) -> NotACacheError:
    return NotACacheError(
        f"{str(path)!r} is not an SQLite database: give the file that SQLiteCache was made with"
    )


@contextlib.contextmanager
def translated_errors(path: Path) -> Iterator[None]:
    """Translate errors of SQLite for the user."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if "not a database" in text:
            raise _not_a_database(path) from error
        advice = f"could not be read ({text})"
        if "locked" in text or "busy" in text:
            advice = f"is locked by another program for more than {TIMEOUT:.0f} s: try again later"
        elif "readonly" in text:
            advice = (
                "was left in the middle of a write by a program that was killed: open it once with"
                " SQLiteCache or sqlite3, which mends it, and import it again"
            )
        elif "malformed" in text:
            advice = (
                f"is damaged ({text}): save what there is with sqlite3's command .recover, and"
                " import that"
            )
        msg = f"{str(path)!r} {advice}"
        raise StoreError(msg) from error
    except OSError as error:
        msg = f"{str(path)!r} cannot be read any more: {error}"
        raise StoreError(msg) from error

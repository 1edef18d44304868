"""Checks of a path that is to be a store, which change nothing, and the making of its file."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

from llmemo.config.validation import absolute_path
from llmemo.errors import ConfigurationError, NotACacheError
from llmemo.stores.base import StoreUnusableError
from llmemo.stores.sqlite.process_lock_file import give

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID = int.from_bytes(b"lmem", "big")
"""Marks a database of llmemo: bytes 68 to 71 of the file (sqlite.org/fileformat.html, 1.3)."""

LEAST_PAGE = 512
"""Size of the smallest page, and so of the smallest database, in bytes."""

LONGEST_NAME = 255 - len(".replaced-20261128T000000-99-wal")
"""Bytes of a file's name that leave room for those beside it, where 255 are allowed."""

LANGCHAIN_TABLES = {"full_llm_cache", "full_md5_llm_cache"}


def check_file(path: str | os.PathLike[str]) -> Path:
    """The absolute path, if a store can live there.

    Raises:
        ConfigurationError: It is a folder, or lies in one that is missing or not writable.
        NotACacheError: There is a file already, and it is not a store of ours.
    """
    given, absolute = absolute_path("store", path, example="cache.db")
    if given == ":memory:":
        msg = "store=':memory:' would not persist anything: leave store out for memory only"
        raise ConfigurationError(msg)
    try:
        _check(given, absolute)
    except (OSError, sqlite3.OperationalError) as error:
        msg = f"store={given!r} cannot be read: {error}"
        raise ConfigurationError(msg) from error
    return absolute


def _check(given: str, absolute: Path) -> None:
    """Raise unless a store can live there; see `check_file`."""
    if absolute.is_dir():
        example = str(absolute / "cache.db")
        msg = f"store={given!r} is a folder: name a file in it, such as {example!r}"
        raise ConfigurationError(msg)
    folder = absolute.parent
    if len(os.fsencode(absolute.name)) > LONGEST_NAME:
        msg = f"store={given!r}: a name of at most {LONGEST_NAME} bytes leaves room for its WAL's"
        raise ConfigurationError(msg)
    if not folder.exists() and folder.parent.is_dir():
        # It is made at first use, in the one that has to take it.
        folder = folder.parent
    if not folder.is_dir():
        msg = f"store={given!r} lies in {str(folder)!r}, which is not a folder: create it first"
        raise ConfigurationError(msg)
    # A store is three files (-wal, -shm), so the folder itself has to take new ones.
    if not os.access(folder, os.W_OK | os.X_OK):
        msg = f"store={given!r} lies in {str(folder)!r}, which is not writable by this user"
        raise ConfigurationError(msg + _hint(given, absolute))
    if absolute.exists() and not absolute.is_file():
        msg = f"store={given!r} is not a regular file: name a file that may hold a database"
        raise ConfigurationError(msg)
    if absolute.exists() and not os.access(absolute, os.R_OK | os.W_OK):
        msg = f"store={given!r} cannot be read and written by this user: change its mode or owner"
        raise ConfigurationError(msg + _hint(given, absolute))
    check_header(absolute)


def _hint(given: str, absolute: Path) -> str:
    """How a file can be used that cannot be written."""
    if not (absolute.is_file() and os.access(absolute, os.R_OK)):
        return ""
    return f"; to serve answers from it only: SQLiteStore({given!r}, read_only=True)"


class Header(NamedTuple):
    """What a file says of itself."""

    owner: int = 0
    """Its `application_id`."""
    version: int = 0
    """Its `user_version`."""
    tables: frozenset[str] | None = frozenset()
    """Names of what is in it; None if it is no database."""
    has_wal: bool = False
    """Whether there may be more in its WAL, which was not read."""


def check_header(path: Path) -> int:
    """Raise unless the file is missing, empty or ours.

    Returns the version of its schema: 0 if it has none yet.

    Raises:
        NotACacheError: It is something else.
        OSError: It cannot be read.
        sqlite3.OperationalError: Nor by SQLite.
    """
    header = _read_header(path)
    while header.owner != APPLICATION_ID:
        # Another process may be making it ours meanwhile: what was seen of it in parts counts only
        # if it is still the same.
        before, header = header, _read_header(path)
        if header == before:
            refusal = _refusal(path, header)
            if refusal is not None:
                raise refusal
            return 0
    return header.version


def _read_header(path: Path) -> Header:
    """Read without locks, journals or side files.

    Through SQLite, never by opening the file: closing it would take away the locks that SQLite has
    on it for others in this process (sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return Header()
    if size < LEAST_PAGE:
        # SQLite would take it for an empty database.
        return Header(tables=None if size else frozenset())
    owner = version = 0
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
        ) as connection:
            # Of a file whose writer was killed the header may promise more pages than there are:
            # only so does SQLite read it all the same (`lockBtree` in btree.c).
            connection.execute("PRAGMA writable_schema = ON")
            # Nor need names be text, if it is damaged.
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            [(owner,)] = connection.execute("PRAGMA application_id")
            [(version,)] = connection.execute("PRAGMA user_version")
            names = frozenset(
                name for (name,) in connection.execute("SELECT name FROM sqlite_master")
            )
    except sqlite3.DatabaseError as error:
        if any(text in str(error) for text in ("disk I/O error", "unable to open")):
            # That says nothing of what the file is.
            raise
        return Header(owner, version, tables=None)
    return Header(owner, version, names, _has_wal(path))


def _refusal(path: Path, header: Header) -> NotACacheError | None:
    """Why a file that is not ours cannot become ours; None if it can."""
    if header.tables is None:
        msg = f"{str(path)!r} is not an SQLite database: it was left alone; name another file"
        return NotACacheError(msg)
    if header == Header(version=header.version):
        # A database with nothing in it. (Ours has its id from the moment it has a table.)
        return None
    if langchain := sorted(LANGCHAIN_TABLES & header.tables):
        msg = (
            f"{str(path)!r} is a cache of LangChain's SQLAlchemy classes (table {langchain[0]}):"
            " it was left alone; name a new file as the store, and take its entries over with"
            f" LLMCache(...).import_langchain({str(path)!r})"
        )
        return NotACacheError(msg)
    msg = f"{str(path)!r} is a database of something else: it was left alone; name another file"
    return NotACacheError(msg)


def wal_of(path: Path) -> Path:
    """Where SQLite has the WAL of a database."""
    return path.with_name(path.name + "-wal")


def size_on_disk(path: Path) -> int | None:
    """Bytes of a database and of its WAL; None if it is not there."""
    try:
        size = path.stat().st_size
        with contextlib.suppress(FileNotFoundError):
            size += wal_of(path).stat().st_size
    except OSError:
        return None
    return size


def _has_wal(path: Path) -> bool:
    try:
        return wal_of(path).stat().st_size > 0
    except OSError:
        return False


_creating = threading.Lock()


def create_folder(path: Path) -> None:
    """Make the folder that a file is to be in, for its owner only, if its own is there.

    Raises:
        OSError: It cannot be made.
    """
    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(0o700)


def check_place(path: Path) -> None:
    """Raise if the path has become a symbolic link; those given at construction were followed.

    Raises:
        StoreUnusableError: It has. What it leads to would be opened, or made.
    """
    if path.is_symlink():
        msg = (
            f"{str(path)!r} has become a symbolic link, which is not followed: name the file that"
            " it leads to as the store, or remove the link"
        )
        raise StoreUnusableError(msg)


def create_file(path: Path, like: os.stat_result | None = None) -> None:
    """Make the file if there is none, for its owner only; SQLite gives -wal and -shm its mode.

    `like`: what there was in its place. Users who shared that one share the new one.

    Raises:
        OSError: It cannot be made.
    """
    create_folder(path)
    # One at a time: closing it takes away the locks of others (see `_read_header`).
    with _creating, contextlib.suppress(FileExistsError):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if like is not None and sys.platform != "win32":
                give(file, like)
                os.fchmod(file, stat.S_IMODE(like.st_mode) & 0o666)
        finally:
            os.close(file)


def is_ours(path: Path) -> bool:
    """Whether a file is there, and has our mark."""
    return _read_header(path).owner == APPLICATION_ID

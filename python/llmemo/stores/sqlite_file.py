"""Is this path fit to be a store? Asked without opening, creating or changing anything."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from llmemo.errors import ConfigurationError, NotACacheError

APPLICATION_ID = int.from_bytes(b"lmem", "big")
"""Says whose database it is: bytes 68 to 71 of the file (sqlite.org/fileformat.html, 1.3)."""

SCHEMA_VERSION = 1
"""`user_version` of the schema that this code writes: bytes 60 to 63 of the file."""

LANGCHAIN_TABLES = {"full_llm_cache", "full_md5_llm_cache"}


def check_file(path: str | os.PathLike[str]) -> Path:
    """The absolute path, if a store can live there.

    Raises:
        ConfigurationError: It is a folder, or lies in one that is missing or not writable.
        NotACacheError: There is a file already, and it is not a store of ours.
    """
    try:
        given = os.fspath(path)
    except TypeError:
        given = None
    if not isinstance(given, str) or not given.strip() or "\0" in given:
        msg = f"store={path!r} is not a path: give the name of a file, such as 'cache.db'"
        raise ConfigurationError(msg)
    if given == ":memory:":
        msg = "store=':memory:' would not persist anything: leave store out for memory only"
        raise ConfigurationError(msg)
    try:
        absolute = Path(given).expanduser().absolute()
        absolute.exists()
    except (OSError, RuntimeError) as error:  # a name too long; `~somebody` who is not known
        msg = f"store={given!r} cannot be a path here: {error}"
        raise ConfigurationError(msg) from error
    if absolute.is_dir():
        example = str(absolute / "cache.db")
        msg = f"store={given!r} is a folder: name a file in it, such as {example!r}"
        raise ConfigurationError(msg)
    folder = absolute.parent
    if not folder.is_dir():
        msg = f"store={given!r} lies in {str(folder)!r}, which is not a folder: create it first"
        raise ConfigurationError(msg)
    # A store is three files (-wal, -shm), so the folder itself has to take new ones.
    if not os.access(folder, os.W_OK | os.X_OK):
        msg = f"store={given!r} lies in {str(folder)!r}, which is not writable by this user"
        raise ConfigurationError(msg)
    if absolute.exists() and not absolute.is_file():
        msg = f"store={given!r} is not a regular file: name a file that may hold a database"
        raise ConfigurationError(msg)
    if absolute.exists() and not os.access(absolute, os.R_OK | os.W_OK):
        msg = f"store={given!r} cannot be read and written by this user: change its mode or owner"
        raise ConfigurationError(msg)
    check_header(absolute)
    return absolute


def check_header(path: Path) -> int:
    """Raise unless the file is missing, empty or ours; judged by its first 100 bytes.

    Returns the version of its schema: 0 if it has none yet.

    Raises:
        NotACacheError: It is something else.
    """
    header = _header(path)
    while header and _number(header, 68) != APPLICATION_ID:
        refusal = _refusal(path, header)
        # Another process may be making it ours while we look: then the header has changed, and
        # what was seen beside it says nothing.
        seen, header = header, _header(path)
        if header == seen:
            if refusal is not None:
                raise refusal
            return 0
    return _number(header, 60)


def _header(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(100)
    except FileNotFoundError:
        return b""


def _number(header: bytes, start: int) -> int:
    return int.from_bytes(header[start : start + 4], "big")


def _refusal(path: Path, header: bytes) -> NotACacheError | None:
    """Why a file with this header, which is not ours, cannot become ours; None if it can."""
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        msg = f"{str(path)!r} is not an SQLite database: it was left alone; name another file"
        return NotACacheError(msg)
    tables = _tables(path)
    if _number(header, 68) == 0 and not tables and not _has_wal(path):
        # A database with nothing in it. (Ours has its id from the moment it has a table; what
        # is in somebody's WAL only, `_tables` does not see.)
        return None
    if langchain := sorted(LANGCHAIN_TABLES & tables):
        msg = (
            f"{str(path)!r} is a cache of LangChain's SQLAlchemy classes (table {langchain[0]}):"
            " it was left alone; name a new file as the store, and take its entries over with"
            f" LLMCache(...).import_langchain({str(path)!r})"
        )
        return NotACacheError(msg)
    msg = f"{str(path)!r} is a database of something else: it was left alone; name another file"
    return NotACacheError(msg)


def _has_wal(path: Path) -> bool:
    try:
        return path.with_name(path.name + "-wal").stat().st_size > 0
    except OSError:
        return False


def _tables(path: Path) -> set[str]:
    """Names of the tables, read without locks, journals or side files."""
    uri = f"{path.as_uri()}?mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(uri, uri=True)
    except sqlite3.Error:
        return {"?"}
    try:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError:
        return {"?"}
    finally:
        connection.close()

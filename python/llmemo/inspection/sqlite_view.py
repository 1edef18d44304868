"""An SQLite file that is looked at while other processes may write to it."""

from __future__ import annotations

import functools
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from llmemo.errors import ConfigurationError, StoreError
from llmemo.inspection.entries import Entry, Stored
from llmemo.stores.base import StoreUnavailableError, StoreUnusableError
from llmemo.stores.sqlite.connection import is_damage
from llmemo.stores.sqlite.path_checks import wal_of
from llmemo.stores.sqlite.read_only import ReadOnlyFile, check_read_only
from llmemo.stores.sqlite.schema import MIGRATIONS, WITH_QUESTIONS

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from llmemo.stores.base import Store

T = TypeVar("T")

ROWS_AT_ONCE = 2_000
"""Rows that one query lists: some milliseconds, for which a checkpoint may have to wait."""

STORED_AT_ONCE = 100
"""The same with their values."""

LISTED = """
SELECT id, key, namespace, llm, created, expires, length(value), used
FROM entries WHERE id < ? ORDER BY id DESC LIMIT ?
"""
STORED = """
SELECT entries.id, entries.key, namespace, llm, created, expires, length(value), used,
    value, request, {question} FROM entries {join} WHERE entries.key IN ({marks})
"""
MATCHING = "SELECT key FROM entries WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?"

INCREMENTAL = 2
"""As `PRAGMA auto_vacuum` has it."""

KEY_DIGITS = 64
"""Hexadecimal digits of a key."""


class SQLiteView:
    """See `View`. Each method reads by transactions of some milliseconds; `integrity` excepted."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Find the file.

        Raises:
            ConfigurationError: There is none, or none of ours.
        """
        self.path: Path = check_path(path)
        self.shown = str(self.path)
        self._file = ReadOnlyFile(self.path)
        with translated(self.path):
            # A newer schema is refused here.
            self._file.open()

    def entries(self) -> Iterator[Sequence[Entry]]:
        """See `View.entries`."""
        before = 2**63 - 1
        while True:
            rows = self._rows(LISTED, before, ROWS_AT_ONCE)
            if rows:
                yield [entry_of(row) for row in rows]
            if len(rows) < ROWS_AT_ONCE:
                return
            before = rows[-1][0]

    def count(self) -> int:
        """See `View.count`."""
        # An index is smaller than the table, and counts the same.
        [[count]] = self._rows("SELECT count(*) FROM entries")
        return int(count)

    def stored(self, keys: Sequence[bytes]) -> list[Stored]:
        """See `View.stored`."""
        found: list[Stored] = []
        for at in range(0, len(keys), STORED_AT_ONCE):
            some = keys[at : at + STORED_AT_ONCE]
            found.extend(self.read(functools.partial(_stored, some)))
        return found

    def matching(self, prefix: str, limit: int) -> list[bytes]:
        """See `View.matching`."""
        first = bytes.fromhex(prefix.ljust(KEY_DIGITS, "0"))
        last = bytes.fromhex(prefix.ljust(KEY_DIGITS, "f"))
        return [key for (key,) in self._rows(MATCHING, first, last, limit)]

    def facts(self) -> dict[str, Any]:
        """See `View.facts`."""

        def work(raw: sqlite3.Connection) -> dict[str, Any]:
            names = ("page_size", "page_count", "freelist_count", "user_version")
            values = {name: raw.execute(f"PRAGMA {name}").fetchone()[0] for name in names}
            has_questions = values["user_version"] >= WITH_QUESTIONS
            [questions] = (
                raw.execute("SELECT count(*) FROM questions").fetchone() if has_questions else (0,)
            )
            return {**values, "questions": questions}

        found = self.read(work)
        return {
            "kind": "sqlite",
            "schema": found["user_version"],
            "newest_schema": len(MIGRATIONS),
            "file_bytes": found["page_size"] * found["page_count"],
            "free_bytes": found["page_size"] * found["freelist_count"],
            "wal_bytes": bytes_of(wal_of(self.path)),
            "questions": found["questions"],
        }

    def writable(self) -> Store:
        """See `View.writable`."""
        from llmemo.inspection.careful_store import CarefulStore  # noqa: PLC0415 (few need it)

        return CarefulStore(self.path)

    def can_give_back(self) -> bool:
        """Whether the file can give free pages back, as those that llmemo makes can."""
        [[mode]] = self._rows("PRAGMA auto_vacuum")
        return bool(mode == INCREMENTAL)

    def integrity(self, problems: int) -> list[str]:
        """What SQLite finds wrong with the file, `problems` at most; seconds for each GB."""
        try:
            rows = self._rows(f"PRAGMA integrity_check({problems})")
        except DamagedError as error:
            return [error.found]
        # Text comes as bytes on this connection.
        found = [row[0].decode("utf-8", "replace") for row in rows]
        return [] if found == ["ok"] else found

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a function that only reads, in one transaction.

        Raises:
            StoreError: The file cannot be read now, or is damaged.
        """
        with translated(self.path):
            return self._file.read(work)

    def _rows(self, query: str, *values: object) -> list[Any]:
        return self.read(lambda raw: raw.execute(query, values).fetchall())

    def close(self) -> None:
        """See `View.close`."""
        self._file.close()


class DamagedError(StoreError):
    """SQLite finds a file damaged."""

    def __init__(self, path: Path, found: str) -> None:
        """`found`: what SQLite says."""
        super().__init__(
            f"{str(path)!r} is damaged ({found}): restore a back-up, or let a service set it aside"
        )
        self.found = found


def check_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path of a file of ours.

    Raises:
        ConfigurationError: There is none. The message speaks of files, not of arguments of Python,
            and ends with what to do, after a colon.
    """
    try:
        return check_read_only(path)
    except ConfigurationError as error:
        text = str(error).removeprefix("store=")
        for end, advice in ADVICE.items():
            what, found, _ = text.partition(end)
            if found:
                text = what + advice
        raise type(error)(text) from None


ADVICE = {
    " is not there: read_only=": (
        " is not there: check the path; a service makes the file at first use"
    ),
    " is not a regular file: read_only=": " is not a regular file: name llmemo's own file",
    " is no cache yet: ": " is empty: remove it; a service makes a new one",
    " is a database of something else: ": (
        " is a database of something else: name llmemo's own file"
    ),
    " is not an SQLite database: ": (
        " is not an SQLite database: name llmemo's own file, or restore a back-up"
    ),
    ": it was left alone; name a new file": (
        ": name llmemo's own file; llmemo import takes LangChain's answers over"
    ),
}
"""Where the text of an error for programs is cut, and what stands there for people."""


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Translate errors of a file into those that a command reports."""
    try:
        yield
    except StoreUnusableError as error:
        # Of a newer llmemo: what follows is what a service does then.
        text = str(error).partition(": it is left")[0].replace("the store", repr(str(path)), 1)
        raise ConfigurationError(f"{text}: upgrade llmemo") from error
    except StoreUnavailableError as error:
        msg = f"{str(path)!r} cannot be read now: {error}"
        raise StoreError(msg) from error
    except sqlite3.Error as error:
        if is_damage(error):
            raise DamagedError(path, str(error)) from error
        msg = f"{str(path)!r} cannot be read: {error}"
        raise StoreError(msg) from error


def bytes_of(path: Path) -> int:
    """Size of a file, in bytes; 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def entry_of(row: Sequence[Any]) -> Entry:
    """The entry of a row of `LISTED`: damage may have changed the type of any field."""
    _, key, namespace, llm, created, expires, size, used = row[:8]
    return Entry(
        key if type(key) is bytes else b"",
        namespace if type(namespace) is bytes else b"",
        llm if type(llm) is bytes else b"",
        created if type(created) is float else 0.0,
        expires if type(expires) is float else None,
        size if type(size) is int else 0,
        used if type(used) is float else None,
    )


def _stored(keys: Sequence[bytes], raw: sqlite3.Connection) -> list[Stored]:
    [version] = raw.execute("PRAGMA user_version").fetchone()
    has_questions = version >= WITH_QUESTIONS
    query = STORED.format(
        question="questions.sealed" if has_questions else "NULL",
        join="LEFT JOIN questions ON questions.key = entries.key" if has_questions else "",
        marks=", ".join("?" * len(keys)),
    )
    return [_stored_of(row) for row in raw.execute(query, keys)]


def _stored_of(row: Sequence[Any]) -> Stored:
    value, request, question = row[8:]
    expires = row[5]
    is_sound = (
        all(type(one) is bytes for one in (row[2], row[3], value))
        and type(row[4]) is float
        and (expires is None or type(expires) is float)
    )
    return Stored(
        entry_of(row),
        value if type(value) is bytes else b"",
        request if type(request) is bytes else None,
        question if type(question) is bytes else None,
        is_damaged=not is_sound,
    )

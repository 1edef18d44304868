"""An SQLite file that is looked at while other processes may write to it."""

from __future__ import annotations

import functools
import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from llmemo.errors import ConfigurationError, StoreError
from llmemo.inspection.sqlite_rows import LISTED, entry_of, stored_of, stored_rows
from llmemo.stores.base import StoreUnavailableError, StoreUnusableError
from llmemo.stores.sqlite.connection import is_damage
from llmemo.stores.sqlite.path_checks import wal_of
from llmemo.stores.sqlite.read_only import ReadOnlyFile, check_read_only
from llmemo.stores.sqlite.schema import MIGRATIONS, WITH_QUESTIONS
from llmemo.stores.sqlite.wal_commits import is_lost

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from llmemo.inspection.entries import Entry, Stored
    from llmemo.stores.base import Store

T = TypeVar("T")

ROWS_AT_ONCE = 2_000
"""Rows that one query lists: some milliseconds, for which a checkpoint may have to wait."""

PAUSES = (0.01, 0.03, 0.1)
"""Seconds until a file that seems damaged is read again: it may have been caught in a change."""

ANY = "SELECT 1 FROM entries LIMIT 1"
MATCHING = "SELECT key FROM entries WHERE key BETWEEN ? AND ? ORDER BY key LIMIT ?"

INCREMENTAL = 2
"""As `PRAGMA auto_vacuum` has it."""

ID_MAX = 2**63 - 1

KEY_DIGITS = 64
"""Hexadecimal digits of a key."""


class SQLiteView:
    """See `View`. Each method reads by transactions of some milliseconds; `integrity` excepted."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Find the file.

        Raises:
            ConfigurationError: There is none, or none of ours.
            StoreError: It is damaged, or cannot be read now.
        """
        self.path: Path = check_path(path)
        self.shown = str(self.path)
        self._file = ReadOnlyFile(self.path)
        # A newer schema is refused here.
        _patiently(self.path, self._file.open)

    def entries(self) -> Iterator[Sequence[Entry]]:
        """See `View.entries`."""
        at = ID_MAX
        while True:
            rows = self._rows(LISTED, at, ROWS_AT_ONCE)
            check_order(self.path, [-row[0] for row in rows], -at)
            if rows:
                yield [entry_of(row) for row in rows]
            if len(rows) < ROWS_AT_ONCE or rows[-1][0] == -ID_MAX - 1:
                return
            at = rows[-1][0] - 1

    def count(self) -> int:
        """See `View.count`."""
        # An index is smaller than the table, and counts the same.
        [[count]] = self._rows("SELECT count(*) FROM entries")
        return int(count)

    def stored(self, keys: Sequence[bytes]) -> Iterator[Stored]:
        """See `View.stored`."""
        at = 0
        while at < len(keys):
            rows = self.read(functools.partial(stored_rows, keys, at))
            at += len(rows)
            yield from (stored_of(row) for row in rows if row is not None)

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

    def lost_wal(self) -> str:
        """What is wrong with the WAL, if no transaction can be read from it; empty if nothing is.

        Raises:
            StoreError: It cannot be read.
        """
        wal = wal_of(self.path)
        try:
            is_lost_wal = is_lost(wal)
        except OSError as error:
            msg = f"the file cannot be read: {error}"
            raise StoreError(msg) from error
        if not is_lost_wal:
            return ""
        return f"{wal.name} ({bytes_of(wal):,} bytes) holds no whole transaction: it is not read"

    def can_give_back(self) -> bool:
        """Whether the file can give free pages back, as those that llmemo makes can.

        Raises:
            StoreError: It cannot be read, or has no entries' table.
        """
        self._rows(ANY)
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
        return _patiently(self.path, functools.partial(self._file.read, work))

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


def check_order(path: Path, ids: Sequence[int], first: int) -> None:
    """Raise unless these are ids as SQLite has to list them: growing, from the first on.

    Raises:
        DamagedError: They are not. Whoever went on from the last one might never end.
    """
    if any(one < least for one, least in zip(ids, (first, *(it + 1 for it in ids)), strict=False)):
        raise DamagedError(path, "its rows are out of order")


def _patiently(path: Path, work: Callable[[], T]) -> T:
    """Do something that finds the file damaged once more, some times, before that is said."""
    for pause in PAUSES:
        try:
            with translated(path):
                return work()
        except DamagedError:
            time.sleep(pause)
    with translated(path):
        return work()


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
    except UnicodeDecodeError as error:
        # SQLite's message quotes the file.
        raise DamagedError(path, "its schema holds names that are no text") from error
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

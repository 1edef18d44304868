"""Connections to an SQLite store's file, set up alike."""

from __future__ import annotations

import asyncio
import functools
import re
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import aiosqlite

from llmemo.concurrency import unpatched
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.sqlite.schema import create_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

WAL_BYTES = 4 * 2**20
"""The WAL is written back when it is larger: SQLite's own measure, 1,000 pages."""

BUSY_TIMEOUT = 5.0
"""Seconds for which SQLite itself waits on another process's lock before we are told."""

BUSY_PAUSE = 0.02
"""Seconds between attempts at what SQLite does not wait for."""

WRITE_BACK_WAIT = 500
"""Milliseconds for which writing back a lost WAL may wait for other processes that read it."""

WAL_HEADER, FRAME_HEADER = 32, 24
"""Bytes before all frames of a WAL, and before each page (sqlite.org/fileformat.html, 4.1)."""

READING = {
    # A page that was damaged on disk should be an error, not a wrong row.
    "cell_size_check": "ON",
    # A file from elsewhere may bring triggers and views: they get no functions with effects.
    "trusted_schema": "OFF",
    # Memory-mapped pages turn a truncated file into SIGBUS: see sqlite.org/mmap.html.
    "mmap_size": "0",
}
PRAGMAS = {
    # A commit appends to the WAL and returns; readers are never in the way of the writer.
    "journal_mode": "WAL",
    # `upkeep` checkpoints, under the file lock, and not each commit.
    "wal_autocheckpoint": "0",
    # The size to which a WAL is cut when it begins anew: what is larger has not begun anew yet.
    "journal_size_limit": str(WAL_BYTES),
    **READING,
}
DAMAGE = {11, 26}
"""SQLITE_CORRUPT and SQLITE_NOTADB (sqlite.org/rescode.html)."""

SYNCHRONOUS = {
    # Survives kill -9 at any moment; a power loss may take the last commits (sqlite.org/wal.html).
    "normal": "NORMAL",
    # One fsync a commit: survives power loss too.
    "full": "FULL",
}


async def connect(path: Path, durability: str) -> aiosqlite.Connection:
    """Connect, as often as it takes while another process is in the way.

    Raises:
        StoreUnavailableError: It was in the way for too long.
    """
    # The switch to WAL, and whatever meets another process's switch, is refused at once:
    # SQLite's own timeout does not cover it (sqlite.org/c3ref/busy_handler.html).
    clock = asyncio.get_running_loop().time
    deadline = clock() + BUSY_TIMEOUT
    while True:
        try:
            return await _connect(path, durability)
        except StoreUnavailableError:
            if clock() > deadline:
                raise
        await asyncio.sleep(BUSY_PAUSE)


async def _connect(path: Path, durability: str) -> aiosqlite.Connection:
    # IMMEDIATE: a transaction that begins as a reader and turns writer fails at once with
    # SQLITE_BUSY_SNAPSHOT, whatever the timeout (sqlite.org/isolation.html).
    connection = await unpatched.with_real_thread(
        aiosqlite.connect(
            path,
            timeout=BUSY_TIMEOUT,
            isolation_level="IMMEDIATE",
            # Used by the private thread, too, while the connection's own has nothing to do.
            check_same_thread=False,
        )
    )
    # We have no text: a damaged row that claims to be some would fail the query for all others.
    connection.text_factory = bytes
    try:
        with translated():
            # A change of threads for each statement would take most of the time.
            await in_one_step(connection, functools.partial(_set_up, durability))
    except BaseException:
        await connection.close()
        raise
    return connection


def _set_up(durability: str, connection: sqlite3.Connection) -> None:
    create_schema(connection)
    for name, value in {**PRAGMAS, "synchronous": SYNCHRONOUS[durability]}.items():
        connection.execute(f"PRAGMA {name} = {value}").fetchall()
    # From here on it has WAL and index open, and keeps them.
    connection.execute("PRAGMA user_version").fetchall()


async def in_one_step(
    connection: aiosqlite.Connection, work: Callable[[sqlite3.Connection], T]
) -> T:
    """Run a function in the connection's thread: one change of threads for several statements.

    By a private method, as aiosqlite has no other way; each change takes some 30 µs.
    """
    run: Any = connection._execute  # noqa: SLF001
    return await run(work, connection._conn)  # type: ignore[no-any-return] # noqa: SLF001


def in_this_thread(connection: aiosqlite.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """Run a function here, while the connection's thread has nothing to do.

    SQLite allows it unless two threads use a connection at a time (sqlite.org/threadsafe.html).
    """
    raw: Any = connection._conn  # noqa: SLF001
    return work(raw)


async def wrote_all_back(writer: aiosqlite.Connection) -> bool:
    """Write all that its WAL holds into the database, also if it has no name any more.

    Returns whether that was possible: another process may be reading what is older.
    """
    try:
        await writer.execute_fetchall(f"PRAGMA busy_timeout = {WRITE_BACK_WAIT}")
        [(is_busy, *_)] = await writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        return False
    return not is_busy


async def has_lost_pages(writer: aiosqlite.Connection, size: int) -> bool:
    """Whether a database of `size` bytes, which was larger, may lack pages.

    Another process may have given pages back. Some may be in the WAL still: one has to look.
    """
    try:
        [(pages,)] = await writer.execute_fetchall("PRAGMA page_count")
        [(page_bytes,)] = await writer.execute_fetchall("PRAGMA page_size")
    except sqlite3.Error:
        return True
    return bool(size < pages * page_bytes)


async def has_lost_frames(writer: aiosqlite.Connection, size: Callable[[], int]) -> bool:
    """Whether a WAL that is shorter than before lacks what its index says of it.

    Another process may have cut it, as it does when all of it was written back. `size`: of the WAL,
    in bytes.
    """
    try:
        [(_, frames, _)] = await writer.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
        [(page_bytes,)] = await writer.execute_fetchall("PRAGMA page_size")
    except sqlite3.Error:
        # It could not read what should be there.
        return True
    return bool(frames > 0 and size() < WAL_HEADER + frames * (FRAME_HEADER + page_bytes))


@contextmanager
def translated() -> Iterator[None]:
    """Tell what may pass (a lock held by another process) from what will not.

    Raises:
        StoreUnavailableError: It may pass.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        # `sqlite_errorcode` came with Python 3.11; the messages are stable.
        if "locked" in str(error) or "busy" in str(error):
            raise StoreUnavailableError(str(error)) from error
        raise


def existing(path: Path) -> str:
    """The URI of a file that is not to be made if it is missing."""
    return f"{path.as_uri()}?mode=rw"


def read_only(path: Path) -> str:
    """The URI of a file that is only to be read."""
    return f"{path.as_uri()}?mode=ro"


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the file is no sound database."""
    text = str(error)
    return isinstance(error, sqlite3.DatabaseError) and (
        "malformed" in text or "not a database" in text
    )


async def is_sound(path: Path) -> bool:
    """Whether a file is sound after all that SQLite has called damaged. Under the file lock.

    A read that fails can look like damage (seen with EIO at a random call); what is damaged is so
    still when another connection looks. Takes some seconds for each GB.

    Raises:
        sqlite3.Error: It cannot be said now.
    """
    connection = await unpatched.with_real_thread(
        aiosqlite.connect(existing(path), uri=True, timeout=BUSY_TIMEOUT)
    )
    try:
        [(verdict,)] = await connection.execute_fetchall("PRAGMA integrity_check(1)")
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return False
        raise
    finally:
        await connection.close()
    return is_ok(verdict)


def is_ok(verdict: str) -> bool:
    """What `PRAGMA integrity_check` says of a file.

    Raises:
        sqlite3.Error: That a page could not be read, which says nothing of the file.
    """
    # The low byte is the kind of an extended code.
    codes = {int(code) & 0xFF for code in re.findall(r"error code\D{0,3}(\d+)", verdict)}
    if codes - DAMAGE:
        raise sqlite3.OperationalError(verdict)
    return verdict == "ok"

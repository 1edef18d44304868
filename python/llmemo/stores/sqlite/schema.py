"""The tables of an SQLite store: how they are made, written and read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.errors import NotACacheError
from llmemo.stores.base import StoreUnusableError
from llmemo.stores.sqlite.path_checks import APPLICATION_ID

if TYPE_CHECKING:
    import sqlite3

# A rowid table with a unique index, not WITHOUT ROWID: rows of 1 KB and more would make the
# key's B-tree so wide that a point read takes 20 µs against 6 (design measurement, 50,000 rows).
SCHEMA = (
    """
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        namespace BLOB NOT NULL,
        llm BLOB NOT NULL,
        created REAL NOT NULL,
        expires REAL,
        used REAL NOT NULL,
        writer BLOB NOT NULL,
        outline BLOB NOT NULL,
        value BLOB NOT NULL,
        request BLOB
    )
    """,
    "CREATE INDEX entries_by_use ON entries (used)",
    "CREATE INDEX entries_by_end ON entries (expires) WHERE expires IS NOT NULL",
    # What another process's memory must not serve any more: a key, or NULL for all of them.
    "CREATE TABLE changes (id INTEGER PRIMARY KEY, key BLOB, writer BLOB NOT NULL)",
    # An insert changes nothing that a process could have in memory; but see `REMOVALS`.
    """
    CREATE TRIGGER entries_replaced AFTER UPDATE OF value ON entries
    BEGIN INSERT INTO changes (key, writer) VALUES (new.key, new.writer); END
    """,
)
"""`writer` is random, of the store that wrote last: a store skips its own changes."""

# For processes of older versions, which may have the file open: leases are slots of the lock file
# now. See `lease_slots`.
LEASES = """
CREATE TABLE leases (
    key BLOB PRIMARY KEY,
    fence INTEGER NOT NULL,
    expires REAL NOT NULL,
    failures INTEGER NOT NULL
) WITHOUT ROWID
"""
# Once an answer was removed without a word (evicted, or damaged), other processes may still have it
# in memory when a new one takes its place.
REMOVALS = (
    "CREATE TABLE removals (id INTEGER PRIMARY KEY)",
    """
    CREATE TRIGGER entries_returned AFTER INSERT ON entries WHEN EXISTS (SELECT 1 FROM removals)
    BEGIN INSERT INTO changes (key, writer) VALUES (new.key, new.writer); END
    """,
)
REMOVED = "INSERT OR IGNORE INTO removals (id) VALUES (1)"
# However an entry is removed, and by whichever version of llmemo, its question goes with it. Not by
# a foreign key: each connection would have to ask for that.
CASCADE = """
CREATE TRIGGER entries_removed AFTER DELETE ON entries
BEGIN DELETE FROM questions WHERE key = old.key; END
"""
QUESTIONS = (
    # AUTOINCREMENT: a reader asks for what came after the last id that it has seen.
    """
    CREATE TABLE questions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key BLOB NOT NULL UNIQUE,
        partition BLOB NOT NULL,
        sealed BLOB NOT NULL
    )
    """,
    # The id is the end of each of its rows (sqlite.org/queryplanner.html, 1.4).
    "CREATE INDEX questions_by_partition ON questions (partition)",
    CASCADE,
    "CREATE TABLE states (name BLOB PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID",
)
MIGRATIONS = (SCHEMA, (LEASES,), REMOVALS, QUESTIONS)
"""What takes a file from each version of the schema, by its place here, to the next one; an empty
file is of version 0. A change of the schema is a new entry at the end, of statements that leave in
its place what processes of older versions use: they may have the file open meanwhile.
"""

WITH_QUESTIONS = 4
"""The first version of the schema that has questions and states."""

COLUMNS = "key, value, namespace, llm, created, expires"
# The large ones last: what is read without them is then read without their overflow pages.
UPSERT = """
INSERT INTO entries (key, value, namespace, llm, created, expires, outline, request, used, writer)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, namespace = excluded.namespace,
    llm = excluded.llm, created = excluded.created, expires = excluded.expires,
    outline = excluded.outline, request = excluded.request, used = excluded.used,
    writer = excluded.writer
"""

# A question that is another one gets another id, since readers have seen the old one. (Not ?1:
# Python 3.12.0 to 3.12.3 deprecates it.)
ASK = """
INSERT OR REPLACE INTO questions (key, partition, sealed)
SELECT * FROM (SELECT ? AS key, ? AS partition, ? AS sealed) asked WHERE NOT EXISTS
    (SELECT 1 FROM questions q
     WHERE q.key = asked.key AND q.partition = asked.partition AND q.sealed = asked.sealed)
"""

ADDED_AT_ONCE = 64
"""Rows of the longer form of `ADD`. After each statement a thread has to wait for the GIL, up to 5
ms while another is computing: an import is, all the time."""

_ROW, _ON_CONFLICT = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", UPSERT.partition("\nON CONFLICT")[2]
# Only what has expired makes way.
ADD = {
    count: f"{UPSERT.partition('VALUES')[0]}VALUES {', '.join([_ROW] * count)}"
    f" ON CONFLICT{_ON_CONFLICT} WHERE entries.expires <= ?"
    for count in (1, ADDED_AT_ONCE)
}


def create_schema(connection: sqlite3.Connection) -> None:
    """Bring an empty file, or ours, to the latest schema. Any number of processes may race here.

    Raises:
        NotACacheError: It is a database of something else.
        StoreUnusableError: It is of a newer llmemo.
    """
    version = _version_of(connection)
    if version == len(MIGRATIONS):
        return
    if version == 0:
        # Of an empty file, before anything is in it; on any other it could be a change.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Once more: another process may have been first.
        for statements in MIGRATIONS[_version_of(connection) :]:
            # Before the switch to WAL, so that the id stands in the main file from the first
            # moment: `check_header` reads it there.
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def _version_of(connection: sqlite3.Connection) -> int:
    """The version of its schema, 0 for none. Raises unless the file is ours or empty."""
    # In this order: they come in one transaction of their creator, between any two of
    # these reads.
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if owner == APPLICATION_ID:
        check_version(version)
        return int(version)
    if tables:
        msg = "the file became a database of something else after it was checked"
        raise NotACacheError(msg)
    return 0


def check_version(version: int) -> None:
    """Raise if the schema is of a newer llmemo.

    Raises:
        StoreUnusableError: It is.
    """
    if version > len(MIGRATIONS):
        msg = (
            f"the store is of a newer llmemo (schema {version}, not {len(MIGRATIONS)}): it is left"
            " alone, and memory alone serves; upgrade llmemo in this process"
        )
        raise StoreUnusableError(msg)

"""Reads LangChain's SQLiteCache or SQLAlchemyMd5Cache: its requests, and the rows of each.

Other programs may be using the file. It is opened read-only and read in short transactions, so that
a writer waits no longer than for any other reader.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo.errors import NotACacheError, StoreError
from llmemo.importing.source_file import checked, connect, is_unlocked, state_of, translated_errors
from llmemo.stores.sqlite.path_checks import APPLICATION_ID

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from typing_extensions import Self

ROWS = 256
"""Most rows that are read in one transaction."""

BYTES = 4 * 2**20
"""Text after which a transaction ends early, in bytes."""

MOST = 1024
"""Most rows of one answer: no provider takes a larger `n`."""

TABLES = {
    "full_llm_cache": ("b.prompt = a.prompt AND b.llm = a.llm", "idx"),
    # A + keeps SQLite from using an index on `llm`, which is often the same in all rows.
    "full_md5_llm_cache": (
        "b.prompt_md5 = a.prompt_md5 AND +b.llm = a.llm AND +b.prompt = a.prompt",
        "rowid",
    ),
}
"""LangChain's tables: the condition for two rows of one request, and a column by which they are
ordered, which is never equal in both."""

COLUMNS = "rowid, prompt, llm, idx, response"

# The last column: NULL if the row is all there is of its request, 1 if it is not the first of it.
# In one statement with the rows, so that both are of the same instant.
CHUNK = """
SELECT a.rowid, a.prompt, a.llm, a.idx, a.response,
    (SELECT b.{order} < a.{order} FROM {table} AS b
     WHERE {same} AND b.rowid <> a.rowid ORDER BY b.{order} LIMIT 1)
FROM {table} AS a WHERE a.rowid > ? AND a.rowid <= ? ORDER BY a.rowid LIMIT {rows}
"""
# The same where each row is all there is of its request: without a look at the index, which holds
# all prompts once more.
ALONE = """
SELECT rowid, prompt, llm, idx, response, NULL
FROM {table} WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT {rows}
"""
OTHERS = """
SELECT count(*), max(rowid), max(idx IS NOT 0) FROM
    (SELECT rowid, idx FROM {table} NOT INDEXED WHERE rowid > ? AND rowid <= ?
     ORDER BY rowid LIMIT {rows})
"""
UNIQUE = """
SELECT 1 FROM pragma_index_list(?) AS list WHERE list."unique" AND NOT list.partial AND
    (SELECT group_concat(name) FROM
        (SELECT name FROM pragma_index_info(list.name) ORDER BY seqno)) = 'prompt,llm,idx'
"""
GROUP = """
SELECT b.idx, b.response FROM {table} AS a CROSS JOIN {table} AS b ON {same}
WHERE a.rowid = ? ORDER BY b.idx LIMIT {most}
"""


class ImportedRequest(NamedTuple):
    """A request, and its answer as LangChain writes it."""

    prompt: str
    llm_string: str
    responses: list[str]


class Chunk(NamedTuple):
    """The requests of one transaction."""

    requests: list[ImportedRequest]
    skipped: list[str]
    """The reason for each request that is not whole."""
    position: int
    """Rows of `LangChainFile.total` that are read by now."""


class LangChainFile:
    """Reads a file of LangChain's; a context manager.

    Raises:
        ConfigurationError: There is no such file, or it cannot be read.
        NotACacheError: It is not a cache of LangChain's.
        StoreError: It is locked, or damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file, and see what it is."""
        self.path = checked(path)
        self._state: object = None
        if is_unlocked(self.path):
            self._state = state_of(self.path)
        self._connection = connect(self.path, is_immutable=self._state is not None)
        try:
            with translated_errors(self.path):
                self._tables = self._cache_tables()
                self._ends = {table: self._end(table) for table in self._tables}
        except BaseException:
            self._connection.close()
            raise
        self.total = sum(last - first for first, last in self._ends.values())
        """Number of rows, if none was ever removed in between."""
        self._alone: dict[str, int] = {}
        """By table, the `data_version` of which it is known that no request has two rows."""

    def __enter__(self) -> Self:
        """Use as a context manager, to close at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self._connection.close()

    def chunks(self) -> Iterator[Chunk]:
        """All requests that were in the file when it was opened, the oldest first.

        At first come chunks with nothing in them, while it is seen whether requests have several
        rows.

        Raises:
            StoreError: It is locked or damaged, or was changed while it was read without a lock.
        """
        before = 0
        for table in self._tables:
            first, last = self._ends[table]
            for _ in self._look_through(table):
                yield Chunk([], [], before)
            at = first
            while at < last:
                with translated_errors(self.path):
                    requests, skipped, at = self._read(table, at, last)
                yield Chunk(requests, skipped, before + at - first)
            before += last - first

    def _look_through(self, table: str) -> Iterator[None]:
        """See whether no request has two rows; pauses after each transaction."""
        at, last = self._ends[table]
        version = None
        while at < last:
            try:
                with self._unchanged(), self._transaction() as execute:
                    [(now,)] = execute("PRAGMA data_version")
                    version = version or now
                    # Then rows whose number is 0 are of different requests.
                    is_unique = execute(UNIQUE, (table,)).fetchone() is not None
                    [(count, end, has_others)] = execute(_statement(OTHERS, table), (at, last))
            except (sqlite3.Error, StoreError):
                # It is told, if it lasts, when the rows before it were imported.
                return
            if not is_unique or has_others:
                return
            at = end if count == ROWS else last
            yield
        if version is not None:
            # If the file was written to since, it is of another version by now.
            self._alone[table] = version

    def _read(
        self, table: str, after: int, last: int
    ) -> tuple[list[ImportedRequest], list[str], int]:
        """Some requests of a table, what was skipped, and the last row that was read."""
        requests: list[ImportedRequest] = []
        skipped: list[str] = []
        with self._unchanged(), self._transaction() as execute:
            rows, at = self._rows(execute, table, after, last)
            for rowid, prompt, llm_string, idx, response, is_later in rows:
                if is_later:
                    continue
                found = [(idx, response)]
                if is_later is not None:
                    found = execute(_statement(GROUP, table), (rowid,)).fetchall()
                reason = _fault(prompt, llm_string, found)
                if reason:
                    skipped.append(reason)
                else:
                    requests.append(
                        ImportedRequest(prompt, llm_string, [text for _, text in found])
                    )
        return requests, skipped, at

    def _rows(self, execute: Any, table: str, after: int, last: int) -> tuple[list[Any], int]:
        rows: list[Any] = []
        size = 0
        # Of one connection it changes with what others commit (sqlite.org/pragma.html).
        [(version,)] = execute("PRAGMA data_version")
        text = ALONE if self._alone.get(table) == version else CHUNK
        with contextlib.closing(execute(_statement(text, table), (after, last))) as cursor:
            for row in cursor:
                rows.append(row)
                size += len(row[1] or "") + len(row[4] or "")
                if size > BYTES:
                    return rows, row[0]
        return rows, rows[-1][0] if len(rows) == ROWS else last

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        """One instant of the file: other programs may write to it before and after."""
        self._connection.execute("BEGIN")
        try:
            yield self._connection.execute
        finally:
            self._connection.execute("ROLLBACK")

    def _cache_tables(self) -> list[str]:
        with self._unchanged(), self._transaction() as execute:
            [(owner,)] = execute("PRAGMA application_id")
            if owner == APPLICATION_ID:
                msg = (
                    f"{str(self.path)!r} is a store of llmemo itself: open it with"
                    f" LLMCache({str(self.path)!r}); there is nothing to import"
                )
                raise NotACacheError(msg)
            named = execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            found = [table for table in TABLES if (table,) in named]
            for table in found:
                with contextlib.suppress(sqlite3.OperationalError):
                    execute(f"SELECT {COLUMNS} FROM {table} LIMIT 0")  # noqa: S608
                    if self._is_indexed(execute, table):
                        continue
                msg = (
                    f"table {table} of {str(self.path)!r} has not the columns or the index that"
                    " LangChain gives it: only caches that LangChain made can be imported"
                )
                raise NotACacheError(msg)
        if not found:
            msg = (
                f"{str(self.path)!r} is no cache of LangChain's (it has no table"
                f" {' or '.join(TABLES)}): give the file that SQLiteCache was made with,"
                " '.langchain.db' unless it was given another"
            )
            raise NotACacheError(msg)
        return found

    def _is_indexed(self, execute: Any, table: str) -> bool:
        """Whether a request is found without reading all rows."""
        plan = execute(f"EXPLAIN QUERY PLAN {_statement(GROUP, table)}", (0,)).fetchall()
        return not any("SCAN" in step or "AUTOMATIC" in step for *_, step in plan)

    def _end(self, table: str) -> tuple[int, int]:
        """The number before the first row, and that of the last."""
        with self._unchanged(), self._transaction() as execute:
            # Each by itself: both in one query would read all rows.
            [(first,)] = execute(f"SELECT min(rowid) - 1 FROM {table}")  # noqa: S608
            [(last,)] = execute(f"SELECT max(rowid) FROM {table}")  # noqa: S608
        return first or 0, last or 0

    @contextlib.contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Where no lock protects the file: check that no other program wrote to it meanwhile."""
        yield
        if self._state is not None and self._state != state_of(self.path):
            msg = (
                f"{str(self.path)!r} was written to by another program while it was read. What was"
                " taken over is kept: import it again"
            )
            raise StoreError(msg)


def _statement(text: str, table: str) -> str:
    same, order = TABLES[table]
    return text.format(table=table, same=same, order=order, rows=ROWS, most=MOST + 1)


def _fault(prompt: object, llm_string: object, rows: list[Any]) -> str:
    """Why these rows are not one answer; empty if they are."""
    if not (isinstance(prompt, str) and isinstance(llm_string, str)):
        return "not_text"
    if len(rows) > MOST:
        return "duplicates"
    if [idx for idx, _ in rows] != list(range(len(rows))):
        return "duplicates" if len({idx for idx, _ in rows}) < len(rows) else "gap"
    return "" if all(isinstance(text, str) for _, text in rows) else "not_text"

"""Files as LangChain's SQLAlchemy caches write them, without langchain-community.

`test_import_clients.py` sees that the real classes write the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import uuid
from typing import TYPE_CHECKING, Any

from langchain_core.load import dumps
from langchain_core.outputs import Generation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

SCHEMA = {
    "full_llm_cache": """
CREATE TABLE full_llm_cache (
    prompt VARCHAR NOT NULL,
    llm VARCHAR NOT NULL,
    idx INTEGER NOT NULL,
    response VARCHAR,
    PRIMARY KEY (prompt, llm, idx)
)
""",
    "full_md5_llm_cache": """
CREATE TABLE full_md5_llm_cache (
    id VARCHAR NOT NULL,
    prompt_md5 VARCHAR,
    llm VARCHAR,
    idx INTEGER,
    prompt VARCHAR,
    response VARCHAR,
    PRIMARY KEY (id)
)
;CREATE INDEX ix_full_md5_llm_cache_idx ON full_md5_llm_cache (idx)
;CREATE INDEX ix_full_md5_llm_cache_llm ON full_md5_llm_cache (llm)
;CREATE INDEX ix_full_md5_llm_cache_prompt_md5 ON full_md5_llm_cache (prompt_md5)
""",
}
PLAIN, MD5 = SCHEMA

LLM = "[('model', 'm')]"

Row = tuple[Any, Any, Any, Any]


def answer(name: object) -> list[Generation]:
    return [Generation(text=f"answer to {name}")]


def row(name: object, idx: Any = 0, response: Any = None, llm: Any = LLM) -> Row:
    """A row of the request of this name: its answer, unless it is told another."""
    text = dumps(answer(name)[0]) if response is None else response
    return (name, llm, idx, text)


def make(path: Path, rows: Iterable[Row] = (), table: str = PLAIN, journal: str = "delete") -> Path:
    """A file with such a table and these rows; or more rows for one that is there."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [table]).fetchall():
            connection.executescript(SCHEMA[table])
        insert(connection, rows, table)
        connection.commit()
    return path


def insert(connection: sqlite3.Connection, rows: Iterable[Row], table: str = PLAIN) -> None:
    if table == PLAIN:
        connection.executemany("INSERT INTO full_llm_cache VALUES (?, ?, ?, ?)", rows)
        return
    connection.executemany(
        "INSERT INTO full_md5_llm_cache VALUES (?, ?, ?, ?, ?, ?)",
        [
            (str(uuid.uuid1()), hashlib.md5(str(prompt).encode()).hexdigest(), llm, idx, prompt, it)
            for prompt, llm, idx, it in rows
        ],
    )


def traces(folder: Path, ignored: Sequence[str] = ()) -> dict[str, object]:
    """Every file of a folder: its bytes, and when it was written to."""
    return {
        name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns)
        for name in os.listdir(folder)
        if not name.startswith("cache.db") and name not in ignored
    }

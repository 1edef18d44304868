"""A WAL without its index that holds no transaction: it is said, and no reader removes it."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.commands import filled, llmemo, state
from support.doubles import LIMIT

from llmemo import LLMCache, SQLiteStore
from llmemo.stores.sqlite.wal_commits import has_commit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode = WAL")
for _ in range(3):
    connection.execute("DELETE FROM entries WHERE id IN (SELECT id FROM entries LIMIT 1)")
    connection.commit()
os._exit(0)
"""
FRAME = 24 + 4096

DAMAGES: dict[str, Callable[[bytearray], object]] = {
    "random": lambda wal: wal.__setitem__(slice(None), random.Random(1).randbytes(len(wal))),
    "zeros": lambda wal: wal.__setitem__(slice(None), bytes(len(wal))),
    "header": lambda wal: wal.__setitem__(20, wal[20] ^ 1),
    "first frame": lambda wal: wal.__setitem__(32 + 24 + 100, wal[32 + 24 + 100] ^ 1),
    "cut off": lambda wal: wal.__delitem__(slice(1000, None)),
}
"""What no transaction is left of."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a service that was killed, copied without the index."""
    path = filled(tmp_path_factory.mktemp("killed") / "a.db")
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=True, timeout=LIMIT)
    return path


def copied(made: Path, folder: Path, damage: Callable[[bytearray], object]) -> Path:
    path = folder / "a.db"
    shutil.copy(made, path)
    wal = bytearray(made.with_name("a.db-wal").read_bytes())
    damage(wal)
    path.with_name("a.db-wal").write_bytes(wal)
    return path


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_is_said_and_left_where_it_is(damage: str, made: Path, tmp_path: Path) -> None:
    path = copied(made, tmp_path, DAMAGES[damage])
    before = state(tmp_path)
    for command in ("stats", "ls", "export"):
        assert llmemo(command, path).code == 0
    for command in ("verify", "doctor"):
        done = llmemo(command, path)
        assert done.code == 1
        assert "holds no whole transaction" in done.out
    with LLMCache(SQLiteStore(path, read_only=True)) as cache:
        assert cache.lookup("question 1", "model")
    assert state(tmp_path) == before


def test_one_that_is_whole_is_read_and_left(made: Path, tmp_path: Path) -> None:
    path = copied(made, tmp_path, lambda wal: None)
    before = state(tmp_path)
    assert llmemo("stats", path, "--json").lines[0]["entries"] == 17
    for command in ("verify", "doctor"):
        assert "holds no whole transaction" not in llmemo(command, path).out
    assert state(tmp_path) == before


def test_it_is_told_as_sqlite_does(made: Path, tmp_path: Path) -> None:
    """Cut and flipped everywhere in the first transaction: whoever is right, SQLite is."""
    wal = made.with_name("a.db-wal").read_bytes()
    assert has_commit(made.with_name("a.db-wal"))
    dice, seen = random.Random(2), set()
    spots = [dice.randrange(32 + 6 * FRAME) for _ in range(40)]
    cuts = [31, 32, *(32 + count * FRAME + end for count in range(1, 7) for end in (-1, 0))]
    for at in [*cuts, *(-spot - 1 for spot in spots)]:
        damaged = bytearray(wal)
        if at >= 0:
            del damaged[at:]
        else:
            damaged[-at - 1] ^= 1 << dice.randrange(8)
        path = copied(made, tmp_path, lambda _: None)
        path.with_name("a.db-wal").write_bytes(damaged)
        found = has_commit(path.with_name("a.db-wal"))
        seen.add(found)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            [count] = connection.execute("SELECT count(*) FROM entries").fetchone()
        assert found == (count < 20), at
        for end in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(f"a.db{end}").unlink()
    assert seen == {False, True}

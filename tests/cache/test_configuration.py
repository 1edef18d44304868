"""Bad input: an error at construction that names the argument, what was given, what is allowed."""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import answer, files

from llmemo import ConfigurationError, LLMCache, LLMemoError, NotACacheError, SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_bytes": 0}, ["max_bytes=0", "store"]),
        ({"max_bytes": -1}, ["max_bytes=-1", "0 or more"]),
        ({"max_bytes": 1.5}, ["max_bytes=1.5", "whole number"]),
        ({"max_bytes": True}, ["max_bytes=True", "whole number"]),
        ({"max_bytes": None}, ["max_bytes=None", "whole number"]),
        ({"max_entries": 0}, ["max_entries=0", "1 or more"]),
        ({"max_entries": -5}, ["max_entries=-5", "1 or more"]),
        ({"ttl": -1}, ["ttl=-1", "positive number of seconds", "None"]),
        ({"ttl": 0}, ["ttl=0", "positive number of seconds"]),
        ({"ttl": math.nan}, ["ttl=nan", "positive"]),
        ({"ttl": math.inf}, ["ttl=inf", "None for no limit"]),
        ({"ttl": "1h"}, ["ttl='1h'", "seconds"]),
        ({"store_timeout": 0}, ["store_timeout=0", "positive number of seconds"]),
        ({"store_timeout": None}, ["store_timeout=None", "seconds"]),
        ({"namespace": None}, ["namespace=None", "str"]),
        ({"namespace": 7}, ["namespace=7", "str"]),
        ({"store": "memcached://:hush@host/0"}, ["memcached://", "sqlite://"]),
        ({"store": "ftp://host/file"}, ["ftp://", "unknown scheme", "sqlite://"]),
        ({"store": "sqlite://"}, ["sqlite://", "names no file"]),
        ({"store": "sqlite:///"}, ["sqlite:///", "names no file"]),
        ({"store": ":memory:"}, [":memory:", "memory only"]),
        ({"store": ""}, ["store=''", "not a path"]),
        ({"store": 7}, ["store=7", "not a path"]),
        ({"store": b"cache.db"}, ["store=b'cache.db'", "not a path"]),
        ({"store": "a\0b"}, ["not a path"]),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        LLMCache(**settings)
    for word in words:
        assert word in str(caught.value)
    assert "hush" not in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, LLMemoError)


@pytest.mark.parametrize("secret", ["", b"", 7])
def test_a_secret_that_cannot_work_is_not_repeated(secret: Any) -> None:
    with pytest.raises(ConfigurationError, match="secret is not allowed"):
        LLMCache(secret=secret)


def test_an_unknown_durability(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"durability='fast'.*\"normal\" or \"full\""):
        SQLiteStore(tmp_path / "c.db", durability="fast")  # type: ignore[arg-type]


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a folder: name a file in it"):
        LLMCache(tmp_path)


def test_a_missing_folder_is_made_at_first_use_for_its_owner_only(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        with LLMCache(tmp_path / "missing" / "c.db") as cache:
            assert not (tmp_path / "missing").exists()
            cache.update("p", "m", answer("p"))
            assert cache.stats().errors == {}
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "missing").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "missing" / "c.db").stat().st_mode) == 0o600


def test_folders_that_are_missing_are_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a folder: create it first") as caught:
        LLMCache(tmp_path / "missing" / "deeper" / "c.db")
    assert "missing" in str(caught.value)
    assert not (tmp_path / "missing").exists()


def test_a_missing_folder_in_an_unwritable_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK) and real(path, mode))
    with pytest.raises(ConfigurationError, match="not writable by this user"):
        LLMCache(tmp_path / "missing" / "c.db")


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="not a folder"):
        LLMCache(tmp_path / "file" / "c.db")


def test_an_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as root, to whom every folder is writable: ask as somebody else would.
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK) and real(path, mode))
    with pytest.raises(ConfigurationError, match="not writable by this user"):
        LLMCache(tmp_path / "c.db")


def test_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        LLMCache(tmp_path / "pipe")


def text_file(path: Path) -> None:
    path.write_text("dear diary, " * 50)


def short_file(path: Path) -> None:
    path.write_bytes(b"x")


def truncated_database(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\0" * 20)


def other_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bills (amount)")
    connection.close()


def owned_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id = 77")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("DROP TABLE t")
    connection.close()


@pytest.mark.parametrize(
    "make", [text_file, short_file, truncated_database, other_database, owned_database]
)
def test_a_file_that_is_not_ours_is_left_alone(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "file"
    make(path)
    before = path.read_bytes(), path.stat().st_mtime_ns, sorted(os.listdir(tmp_path))
    with pytest.raises(NotACacheError, match="left alone"):
        LLMCache(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns, sorted(os.listdir(tmp_path))) == before


@pytest.mark.parametrize("table", ["full_llm_cache", "full_md5_llm_cache"])
def test_langchains_own_cache_file_is_named(tmp_path: Path, table: str) -> None:
    path = tmp_path / ".langchain.db"
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE {table} (prompt, llm, idx, response)")
    connection.close()
    with pytest.raises(NotACacheError, match="import_langchain") as caught:
        LLMCache(path)
    assert table in str(caught.value)


def test_an_empty_file_and_an_empty_database_become_caches(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    connection = sqlite3.connect(tmp_path / "database")
    connection.execute("VACUUM")
    connection.close()
    for name in ("empty", "database"):
        with LLMCache(tmp_path / name) as cache:
            assert cache.lookup("p", "l") is None
            assert cache.stats().errors == {}


def test_nothing_is_created_before_first_use(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "c.db"):
        pass
    assert os.listdir(tmp_path) == []


def test_paths_are_made_absolute_at_once_and_home_is_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    stores = [SQLiteStore("~/a.db"), SQLiteStore("b.db"), SQLiteStore("./c d#?.db")]
    caches = [
        LLMCache("sqlite:///d.db"),
        LLMCache(f"sqlite:///{tmp_path}/e.db"),
        *map(LLMCache, stores),
    ]
    monkeypatch.chdir(tmp_path / "elsewhere")
    for cache in caches:
        cache.lookup("p", "l")
        assert cache.stats().errors == {}
        cache.close()
    assert files(tmp_path) == ["a.db", "b.db", "c d#?.db", "d.db", "e.db", "elsewhere"]
    assert stat.S_IMODE((tmp_path / "a.db").stat().st_mode) == 0o600
    assert repr(stores[0]) == f"SQLiteStore({str(tmp_path / 'a.db')!r}, durability='normal')"


def test_a_file_whose_maker_was_killed_is_ours_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with LLMCache(path) as cache:
        cache.update("p", "m", answer("p"))
    with path.open("r+b") as file:
        file.truncate(4096)  # The first page is written first, and says how many there will be.
    assert SQLiteStore(path).path == path


@pytest.mark.slow
def test_a_file_that_another_process_is_making_ours_is_not_taken_for_a_stranger(
    tmp_path: Path,
) -> None:
    """Header, tables and WAL are read one after the other, while the maker goes on."""
    current = [tmp_path / "0"]
    refused: list[Exception] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            try:
                SQLiteStore(current[0])
            except NotACacheError as error:
                refused.append(error)

    async def make() -> None:
        store = SQLiteStore(current[0])
        await store.open()
        await store.close()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for turn in range(60):
            current[0] = tmp_path / str(turn)
            asyncio.run(make())
    finally:
        is_over.set()
        looking.join()
    assert refused == []

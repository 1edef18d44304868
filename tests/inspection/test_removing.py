"""rm and vacuum go the store's own way: services notice, and nothing else is removed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from support.commands import chat, filled, llmemo, state
from support.doubles import patience

from llmemo import LLMCache, SQLiteStore, options
from llmemo.inspection.careful_store import CarefulStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + patience()
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def keys(path: Path) -> list[str]:
    return [row["key"] for row in llmemo("ls", path, "--limit", "0", "--json").lines]


@pytest.mark.parametrize("how", ["key", "namespace", "age", "all"])
def test_a_running_service_forgets_what_is_removed(how: str, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with LLMCache(path) as cache:
        cache.update("p", "m", chat("x"))
        [key] = keys(path)
        assert cache.lookup("p", "m"), "memory has it"
        time.sleep(0.01)
        arguments = {
            "key": [key[:16]],
            "namespace": ["--namespace", ""],
            "age": ["--older-than", "0.001s"],
            "all": ["--all"],
        }[how]
        done = llmemo("rm", path, *arguments, "--yes", "--json")
        assert (done.code, done.lines, done.err) == (0, [{"removed": 1}], "")
        until(lambda: cache.lookup("p", "m") is None)
        assert cache.stats().errors == {}
    assert keys(path) == []


def test_only_what_is_named_is_removed(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=10, namespaces=("a", "b"))
    all_keys = keys(path)
    assert llmemo("rm", path, all_keys[0], all_keys[3][:12], "--yes").out == "removed 2 entries\n"
    assert keys(path) == [key for key in all_keys if key not in (all_keys[0], all_keys[3])]
    assert llmemo("rm", path, "--namespace", "a", "--yes").code == 0
    [left] = llmemo("stats", path, "--json").lines[0]["namespaces"]
    assert 8 <= left["entries"] <= 10
    assert llmemo("rm", path, "--older-than", "1d", "--yes").out == "removed 0 entries\n"


def test_what_has_expired(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with LLMCache(path) as cache:
        cache.update("stays", "m", chat("x"))
        with options(ttl=0.001):
            cache.update("goes", "m", chat("x"))
        time.sleep(0.01)
    assert len(llmemo("ls", path, "--expired", "--json").lines) == 1
    assert llmemo("rm", path, "--expired", "--yes").out == "removed 1 entry\n"
    assert len(keys(path)) == 1


def test_it_asks(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=2)
    before = state(tmp_path)
    done = llmemo("rm", path, "--all", stdin="n\n", tty=True)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"Remove 2 entries of {path}? [y/N]\nllmemo rm: nothing was removed\n"
    assert llmemo("rm", path, "--all", stdin="", tty=True).code == 2
    some = llmemo("rm", path, "--older-than", "1d", stdin="n\n", tty=True)
    assert some.err == f"Remove 0 entries of {path}? [y/N]\nllmemo rm: nothing was removed\n"
    assert state(tmp_path) == before
    assert llmemo("rm", path, "--all", stdin="y\n", tty=True).out == "removed 2 entries\n"


def test_without_a_terminal_it_wants_to_be_told(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=2)
    before = state(tmp_path)
    done = llmemo("rm", path, "--all", stdin="y\n")
    assert (done.code, done.err) == (2, "llmemo rm: there is no terminal to ask: give --yes\n")
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    "arguments", [(), ("--all", "--expired"), ("abcd", "--all"), ("abcd", "--namespace", "a")]
)
def test_what_to_remove_is_said_in_one_way(arguments: tuple[str, ...], tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=2)
    assert llmemo("rm", path, *arguments, "--yes").code == 2
    assert len(keys(path)) == 2


def test_a_damaged_file_stays_where_it_is(tmp_path: Path) -> None:
    """A service would set it aside, and begin a new one."""
    path = filled(tmp_path / "a.db", entries=40)
    content = bytearray(path.read_bytes())
    content[4096 * 2 : 4096 * 4] = bytes(2 * 4096)
    path.write_bytes(content)
    for arguments in (("rm", "--all", "--yes"), ("vacuum",)):
        done = llmemo(arguments[0], path, *arguments[1:])
        assert done.code in {0, 1}
        assert {one.name for one in tmp_path.iterdir()} <= {"a.db", "a.db-lock"}

    async def damaged() -> None:
        store = CarefulStore(path)
        await store._session._set_aside(None, "")

    with pytest.raises(Exception, match="it was left alone"):
        asyncio.run(damaged())


def test_vacuum_gives_back_what_is_free(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=300)
    size = path.stat().st_size
    # As a service leaves it that is killed: without the upkeep that gives some back.
    assert llmemo("rm", path, "--all", "--yes").code == 0
    [before] = llmemo("stats", path, "--json").lines
    assert before["free_bytes"] > size / 2
    [done] = llmemo("vacuum", path, "--json").lines
    assert done["file_bytes"] == path.stat().st_size < size / 4
    assert done["given_back_bytes"] == done["file_bytes_before"] - done["file_bytes"]
    assert (done["free_bytes"], done["wal_is_cut"]) == (0, True)
    assert llmemo("verify", path).code == 0


@pytest.mark.slow
def test_vacuum_beside_a_service_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with LLMCache(SQLiteStore(path), max_bytes=0) as cache:
        for number in range(400):
            cache.update(f"p{number}", "m", chat("an answer " * 100))
        cache.invalidate(older_than=0.000_001)
        cache.update("kept", "m", chat("kept"))
        wal = path.with_name("a.db-wal")
        assert wal.stat().st_size > 0
        [done] = llmemo("vacuum", path, "--json").lines
        assert done["wal_is_cut"] is True
        assert wal.stat().st_size == 0
        assert cache.lookup("kept", "m") == chat("kept")
        cache.update("later", "m", chat("later"))
        assert cache.lookup("later", "m") == chat("later")
        assert cache.stats().errors == {}
    assert [row["kind"] for row in llmemo("ls", path, "--json").lines] == ["answer"] * 2
    assert not list(tmp_path.glob("*.replaced-*"))
    assert not list(tmp_path.glob("*.corrupt-*"))

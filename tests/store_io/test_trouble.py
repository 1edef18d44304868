"""Whatever goes wrong below a cache, its caller sees a miss; and what never leaves it."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import sqlite3
import stat
import threading
from contextlib import closing
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import (
    FAULTS,
    LIMIT,
    FakeStore,
    Fault,
    Garbled,
    answer,
    expect_on_disk,
    files,
    lines,
)

from llmemo import CacheClosedError, ConfigurationError, LLMCache, StoreError, track
from llmemo.stores import Record, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    MakeCache = Callable[..., LLMCache]
    Make = Callable[[Path], None]


def works(cache: LLMCache) -> bool:
    """A cache without memory keeps and finds an answer: its store does."""
    cache.update("again", "m", answer("again"))
    return cache.lookup("again", "m") == answer("again") and cache.delete("again", "m")


KINDS = {"open": ["store_read", "store_write"], "get": ["store_read"], "set": ["store_write"]}
KINDS["delete"] = []
"""What is counted when a method fails; a removal says it to its caller instead."""


@pytest.mark.slow
@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_a_store_that_fails_and_heals(
    method: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    fault, kinds = Fault(method, error), KINDS[method]
    with LLMCache(FakeStore(fault), max_bytes=0, store_timeout=LIMIT) as cache:
        # Not so often that the store is left alone for a while: see test_fail_open.py.
        for _ in range(2):
            cache.update("p", "m", answer("p"))
            assert cache.lookup("p", "m") == (None if kinds else answer("p"))
        for remove in (cache.clear, lambda: cache.delete("p", "m")):
            if method in ("open", "delete"):
                with pytest.raises(StoreError):
                    remove()
        stats = cache.stats()
        assert stats.errors == dict.fromkeys(kinds, 2)
        assert stats.writes_unconfirmed == 2 * ("store_write" in kinds)
        assert stats.hits + stats.misses == 2
        assert len(lines(caplog)) == len(kinds)
        fault.method = "none"
        assert works(cache)
        fault.method = "close"
    assert cache.stats().errors == {**dict.fromkeys(kinds, 2), "store_close": 1}


@pytest.mark.parametrize("method", ["open", "get", "set", "delete"])
def test_unavailable_once_is_tried_again(method: str) -> None:
    fault = Fault(method, StoreUnavailableError("busy"), times=1)
    with LLMCache(FakeStore(fault), max_bytes=0, store_timeout=LIMIT) as cache:
        cache.update("p", "m", answer("p"))
        cache.lookup("p", "m")
        assert cache.lookup("p", "m") == answer("p")
        assert cache.delete("p", "m")
        kind = "store_read" if method == "get" else "store_unavailable"
        assert (cache.stats().errors, cache.stats().writes_unconfirmed) == ({kind: 1}, 0)


def test_unavailable_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmemo.pipeline.invalidate.TIMEOUT", 0.02)
    store = FakeStore(Fault("open", StoreUnavailableError("gone")))
    cache = LLMCache(store, store_timeout=0.5)
    assert cache.lookup("p", "m") is None
    cache.update("p", "m", answer("p"))
    assert cache.lookup("p", "m") == answer("p")
    for remove in (cache.clear, lambda: cache.delete("p", "m")):
        with pytest.raises(StoreError, match="did not confirm"):
            remove()
        assert cache.stats().entries == 0
    assert cache.close(timeout=0.02) == 1
    assert set(cache.stats().errors) == {"store_read", "store_write_timeout", "store_unavailable"}
    assert store.records == {}


GARBAGE = [None, 7, "text", [1], Record(b"k", None, b"", b"", 0.0, None)]  # type: ignore[arg-type]
GARBAGE += [Record(b"", b"", b"", b"", 0.0, "soon"), Record(7, "", b"", b"", 0, None)]  # type: ignore[arg-type]


@pytest.mark.parametrize("found", GARBAGE, ids=repr)
def test_a_store_that_talks_nonsense(found: Any) -> None:
    with LLMCache(Garbled(found), store_timeout=LIMIT) as cache:
        assert cache.lookup("p", "m") is None
        assert (cache.stats().misses, sum(cache.stats().errors.values())) == (1, 1)
        assert "internal" not in cache.stats().errors


class Loose(FakeStore):
    """Returns what is like a record, but not quite."""

    def __init__(self, loosened: Callable[[Record], Any]) -> None:
        super().__init__()
        self.loosened = loosened

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Any]:
        return {key: self.loosened(record) for key, record in (await super().get(keys)).items()}


@pytest.mark.parametrize(
    "loosened",
    [
        lambda record: SimpleNamespace(value=b"junk", created=1.0, expires=None),
        lambda record: record._replace(created="today"),
        lambda record: record._replace(value=None),
    ],
    ids=["damaged", "no time", "nothing"],
)
def test_trouble_with_what_was_found_is_a_miss_that_is_told(
    loosened: Callable[[Record], Any],
) -> None:
    with LLMCache(Loose(loosened), max_bytes=0, store_timeout=LIMIT) as cache, track() as tracker:
        cache.update("p", "m", answer("p"))
        assert cache.lookup("p", "m") is None
        stats = cache.stats()
        assert (stats.hits, stats.misses, sum(stats.errors.values())) == (0, 1, 1)
        assert "internal" not in stats.errors
        assert [event.outcome for event in tracker.events] == ["miss"]


def test_other_kinds_of_numbers_are_times_too() -> None:
    def loosened(record: Record) -> Any:
        changed: Any = {"created": Decimal(record.created), "expires": Decimal(2**40)}
        return record._replace(**changed)

    with LLMCache(Loose(loosened), max_bytes=0, store_timeout=LIMIT) as cache, track() as tracker:
        cache.update("p", "m", answer("p"))
        assert cache.lookup("p", "m") == answer("p")
        assert cache.stats().errors == {}
        assert [(event.outcome, event.tier) for event in tracker.events] == [("hit", "store")]


def test_a_thread_that_cannot_be_started_is_only_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = LLMCache(FakeStore(), max_bytes=0, store_timeout=LIMIT)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")  # As Python does when the system has none.

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert cache.lookup("p", "m") is None
    assert works(cache)
    assert cache.close() == 0


@pytest.mark.parametrize("store_timeout", [1e7, 1e10, 1e300])
def test_patience_without_bound_is_no_error(store_timeout: float) -> None:
    with LLMCache(FakeStore(), max_bytes=0, store_timeout=store_timeout) as cache:
        assert works(cache)
        assert cache.stats().errors == {}


def test_one_store_serves_one_cache_at_a_time() -> None:
    store = FakeStore()
    with LLMCache(store, store_timeout=LIMIT) as cache:
        cache.update("p", "m", answer("p"))
        with pytest.raises(ConfigurationError, match="in use by another cache"):
            LLMCache(store)
        assert cache.lookup("p", "m") == answer("p")
    with LLMCache(store, store_timeout=LIMIT) as cache:
        assert cache.lookup("p", "m") == answer("p")


@pytest.mark.parametrize("is_open", [True, False], ids=["used before", "new"])
def test_a_locked_file(is_open: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with LLMCache(path, store_timeout=LIMIT) as cache:
        cache.update("p", "m", answer("p"))
    cache = LLMCache(path, max_bytes=0, store_timeout=0.2)
    if is_open:
        assert any(cache.lookup("p", "m") for _ in range(50))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        before = cache.stats()
        cache.update("q", "m", answer("q"))
        # Readers are in nobody's way, and nobody in theirs.
        assert any(cache.lookup("p", "m") for _ in range(20))
        assert cache.stats().writes_unconfirmed - before.writes_unconfirmed == 1
        assert cache.stats().errors["store_write_timeout"] == 1
        other.execute("COMMIT")
    assert cache.close(LIMIT) == 0
    expect_on_disk(path, ["p", "q"])


@pytest.mark.slow
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file(is_open: bool, seed: int, tmp_path: Path) -> None:
    path, dice = tmp_path / "a.db", random.Random(seed)
    keys = [f"p{n}" for n in range(200)]
    with LLMCache(path, store_timeout=LIMIT) as cache:
        for key in keys:
            cache.update(key, "m", answer(key))
    cache = LLMCache(path, max_bytes=0, store_timeout=LIMIT)
    assert not is_open or cache.lookup("p0", "m") == answer("p0")
    with path.open("r+b") as file:
        for page in dice.sample(range(path.stat().st_size // 4096), 3 + 2 * seed):
            file.seek(max(100, page * 4096))  # With its first bytes gone it would not be ours.
            file.write(dice.randbytes(4096))
    for key in keys:
        assert cache.lookup(key, "m") in (None, answer(key))
        cache.update(key, "m", answer(key))
        assert cache.lookup(key, "m") in (None, answer(key))
    stats = cache.stats()
    # Counted while it is open; told in the log when it is found at once, in opening it.
    assert stats.errors or any(".corrupt-" in name for name in files(tmp_path))
    assert "internal" not in stats.errors
    assert stats.misses > 0
    cache.close()


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bills (amount)")


def diary(path: Path) -> None:
    path.write_text("dear diary, " * 500)


@pytest.mark.parametrize("make", [foreign, diary])
def test_what_is_not_ours_is_left_alone_and_memory_serves(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    # It comes after the cache's construction, and before its first use.
    with LLMCache(path, store_timeout=LIMIT) as cache:
        make(path)
        before = path.read_bytes(), path.stat().st_mtime_ns, os.listdir(tmp_path)
        assert cache.lookup("p", "m") is None
        cache.update("p", "m", answer("fresh"))
        assert cache.lookup("p", "m") == answer("fresh")
        with pytest.raises(StoreError):
            cache.clear()
        assert cache.stats().errors == {"store_read": 1, "store_write": 1}
    assert (path.read_bytes(), path.stat().st_mtime_ns, os.listdir(tmp_path)) == before


@pytest.mark.parametrize("make", [foreign, diary])
def test_a_file_that_makes_way_for_something_else(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    cache = LLMCache(path, max_bytes=0, store_timeout=LIMIT)
    cache.update("p", "m", answer("p"))
    for file in tmp_path.iterdir():
        file.unlink()
    make(path)
    before = path.read_bytes()
    for key in ("p", "q"):
        assert cache.lookup(key, "m") in (None, answer(key))
        cache.update(key, "m", answer(key))
    assert cache.close() == 0
    assert path.read_bytes() == before
    assert "internal" not in cache.stats().errors


def test_the_file_says_what_it_is_and_is_for_its_owner_only(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        with LLMCache(tmp_path / "a.db", store_timeout=LIMIT) as cache:
            cache.update("p", "m", answer("p"))
            modes = {f.name: oct(stat.S_IMODE(f.stat().st_mode)) for f in tmp_path.glob("a.db*")}
    finally:
        os.umask(umask)
    assert set(modes) - {"a.db-lock"} == {"a.db", "a.db-wal", "a.db-shm"}
    assert set(modes.values()) == {"0o600"}
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        facts = {"application_id": 0x6C6D656D, "user_version": 4, "journal_mode": "wal"}
        for name, value in {**facts, "auto_vacuum": 2}.items():
            assert connection.execute(f"PRAGMA {name}").fetchone() == (value,), name


def test_a_closed_cache(make_cache: MakeCache, caplog: pytest.LogCaptureFixture) -> None:
    with make_cache(store_timeout=LIMIT) as cache:
        cache.update("p", "m", answer("p"))
    assert cache.close() == 0
    for _ in range(3):
        assert cache.lookup("p", "m") is None
        cache.update("p", "m", answer("p"))
        asyncio.run(cache.aupdate("p", "m", answer("p")))
        assert asyncio.run(cache.alookup("p", "m")) is None
    calls: list[Callable[[], object]] = [cache.clear, lambda: cache.delete("p", "m")]
    calls += [lambda: asyncio.run(cache.aclear()), lambda: asyncio.run(cache.adelete("p", "m"))]
    for remove in calls:
        with pytest.raises(CacheClosedError):
            remove()
    stats = cache.stats()
    assert (stats.misses, stats.hits, stats.updates, stats.entries) == (6, 0, 1, 0)
    assert (stats.skipped, stats.errors) == ({"closed": 6}, {})
    assert len(lines(caplog)) == 1


def test_requests_stay_out_of_files_logs_and_representations(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    canary, path = "canary-5e1f", tmp_path / "a.db"
    cache = LLMCache(path, namespace=f"{canary}-n", secret=f"{canary}-s", store_timeout=LIMIT)
    request = f"{canary}-p", f"{canary}-m"
    cache.update(*request, answer("p"))
    assert cache.lookup(*request) == answer("p")
    cache.lookup(canary.encode(), canary)  # type: ignore[arg-type]
    cache.update(canary, [canary], answer("p"))  # type: ignore[arg-type]
    cache.update(*request, {canary: canary})  # type: ignore[arg-type]
    raw = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert files(tmp_path) == ["a.db", "a.db-shm", "a.db-wal"]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE entries")
    cache.update(*request, answer("p"))
    cache.lookup(canary, canary)
    cache.close()
    cache.update(*request, answer("p"))
    assert sum(cache.stats().errors.values()) == 2
    told = "".join(f"{r.getMessage()} {r.args} {r.exc_text}" for r in caplog.records)
    assert len(lines(caplog)) >= 4
    for text in (told, repr(cache), str(cache.stats()), raw.decode("latin-1")):
        assert canary not in text

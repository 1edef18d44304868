"""A damaged row is removed, one that others can read is left alone, and nobody waits for it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.outputs import Generation
from support.doubles import LIMIT, FakeStore, Fault, Held, answer, lines
from support.payloads import sealed

from llmemo import LLMCache, StoreError
from llmemo._core import compress, encode
from llmemo.stores import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from llmemo.stores import Record

    Damage = Callable[[bytes, bytes], bytes]


def large(key: bytes) -> bytes:
    text = " ".join(map(str, range(3000)))
    return compress(encode([Generation(text=text)], key))


DAMAGE: dict[str, list[Damage]] = {
    "not_a_value": [
        lambda value, key: b"",
        lambda value, key: value[:-1],
        lambda value, key: b'{"lc": 1}',
        lambda value, key: large(key)[:11],
    ],
    "checksum": [
        lambda value, key: value[:50] + bytes([value[50] ^ 1]) + value[51:],
        lambda value, key: compress(value[:50] + b"?" + value[51:], least=0),
    ],
    "wrong_key": [lambda value, key: encode(answer("other"), b"k" * 32)],
    "compression": [lambda value, key: large(key)[:-9], lambda value, key: large(key)[:40]],
    "malformed": [lambda value, key: sealed(b"\x09\1\0\0\0\x7f", key)],
}
OTHERS: dict[str, list[Damage]] = {
    "unknown_version": [
        lambda value, key: sealed(value[44:-8], key, version=2),
        lambda value, key: b"llmz\2" + large(key)[5:],
    ],
    "unknown_encryption_key": [lambda value, key: b"llme\1\0\0\0" + bytes(60)],
}


def cases(table: Mapping[str, list[Damage]]) -> list[Any]:
    return [pytest.param(reason, make) for reason, makers in table.items() for make in makers]


def rows(path: Path) -> list[tuple[bytes, bytes]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT key, value FROM entries ORDER BY id").fetchall()


def rewrite(path: Path, make: Damage) -> None:
    """Damage the first row."""
    key, value = rows(path)[0]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE entries SET value = ? WHERE key = ?", (make(value, key), key))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with two answers."""
    path = tmp_path / "c.db"
    with LLMCache(path, store_timeout=LIMIT) as cache:
        for prompt in ("hurt", "whole"):
            cache.update(prompt, "m", answer(prompt))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("reason", "make"), cases(DAMAGE))
def test_a_damaged_row_is_removed(
    path: Path, reason: str, make: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(path, make)
    whole = rows(path)[1]
    with LLMCache(path, store_timeout=LIMIT) as cache:
        assert cache.lookup("hurt", "m") is None
        assert cache.lookup("whole", "m") == answer("whole")
        assert cache.stats().errors == {f"value_{reason}": 1}
    assert rows(path) == [whole]
    assert lines(caplog) == [f"llmemo: a stored answer cannot be read ({reason}) and is removed"]
    with LLMCache(path, store_timeout=LIMIT) as cache:
        assert cache.lookup("hurt", "m") is None
        assert cache.stats().errors == {}


@pytest.mark.parametrize(("reason", "make"), cases(OTHERS))
def test_a_row_that_others_can_read_is_left_alone(
    path: Path, reason: str, make: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(path, make)
    before = rows(path)
    with LLMCache(path, store_timeout=LIMIT) as cache:
        for _ in range(3):
            assert cache.lookup("hurt", "m") is None
        assert cache.lookup("whole", "m") == answer("whole")
        assert cache.stats().errors == {f"value_{reason}": 3}
    assert rows(path) == before
    assert lines(caplog) == [f"llmemo: a stored answer cannot be read ({reason}) and is left alone"]


class SlowToRemove(FakeStore):
    """Reads on while a removal is held up."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go = threading.Event(), threading.Event()

    async def delete(self, keys: Sequence[bytes] | None) -> int:
        self.reached.set()
        assert await asyncio.to_thread(self.go.wait, LIMIT)
        return await super().delete(keys)


def broken(*prompts: str, store: FakeStore | None = None) -> FakeStore:
    """A store whose every answer is damaged."""
    store = store or FakeStore()
    with LLMCache(store, store_timeout=LIMIT) as cache:
        for prompt in prompts:
            cache.update(prompt, "m", answer(prompt))
    store.records = {key: one._replace(value=b"llmv?") for key, one in store.records.items()}
    return store


def test_what_was_written_in_the_meantime_stays() -> None:
    store = broken("p")
    held = store.before = Held("delete")
    with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        assert cache.lookup("p", "m") is None
        # The new answer may come before the removal begins, or while it is at work.
        updating = threading.Thread(target=cache.update, args=("p", "m", answer("p")))
        updating.start()
        held.go.set()
        updating.join(LIMIT)
        assert cache.lookup("p", "m") == answer("p")
        assert cache.lookup("p", "m") == answer("p")
    assert [record.value[:4] for record in store.records.values()] == [b"llmv"]
    assert held.was_released


def test_what_another_process_wrote_in_the_meantime_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(path, lambda value, key: b"damage")
    written = threading.Event()

    def write_between(*args: object) -> None:
        # Between the reading of the damaged row and its removal.
        with LLMCache(path, store_timeout=LIMIT) as other:
            other.update("hurt", "m", answer("hurt"))
        written.set()

    with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
        monkeypatch.setattr(cache._tiers.tally, "note", write_between)
        assert cache.lookup("hurt", "m") is None
        assert written.is_set()
    with LLMCache(path, store_timeout=LIMIT) as cache:
        assert cache.lookup("hurt", "m") == answer("hurt")
        assert cache.stats().errors == {}


def test_a_lookup_waits_for_no_removal() -> None:
    store = SlowToRemove()
    broken("p", "q", store=store)
    with LLMCache(store, store_timeout=LIMIT) as cache:
        assert cache.lookup("p", "m") is None
        assert store.reached.wait(LIMIT)
        assert cache.lookup("q", "m") is None  # while the removal of the first is held up
        assert len(store.records) == 2
        store.go.set()
    assert store.records == {}


@pytest.mark.parametrize("error", [OSError("full"), StoreUnavailableError("busy"), StoreError("x")])
def test_a_removal_that_fails_is_only_counted(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store = broken("p")
    store.before = Fault("delete", error, times=1)
    with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        assert cache.lookup("p", "m") is None
        cache.update("other", "m", answer("other"))  # behind it
        cache.lookup("other", "m")
        assert cache.lookup("p", "m") is None
    assert cache.stats().errors == {"value_not_a_value": 2, "store_discard": 1}
    assert len(store.records) == 1, "it was met again, and removed"
    assert len(lines(caplog)) == 2
    assert max(record.levelno for record in caplog.records) == logging.WARNING


def test_damage_that_waits_takes_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [str(number) for number in range(700)]
    store = SlowToRemove()
    broken(*prompts, store=store)
    with LLMCache(store, store_timeout=LIMIT) as cache:
        for prompt in prompts:
            assert cache.lookup(prompt, "m") is None
        store.go.set()
    assert max(store.sizes("delete")) <= 256
    assert 0 < len(store.records) < 700
    monkeypatch.setattr("llmemo.store_io.maintenance.MAX_DAMAGED_BYTES", 10)
    for _ in range(2):
        with LLMCache(store, store_timeout=LIMIT) as cache:
            assert cache.lookup(prompts[-1], "m") is None
    assert store.sizes("delete")[-1] == 1


def test_a_row_of_another_name_is_removed_by_the_name_it_was_found_under(path: Path) -> None:
    rewrite(path, lambda value, key: rows(path)[1][1])
    with LLMCache(path, store_timeout=LIMIT) as cache:
        assert cache.lookup("hurt", "m") is None
        assert cache.stats().errors == {"value_wrong_key": 1}
    with LLMCache(path, store_timeout=LIMIT) as cache:
        assert cache.lookup("whole", "m") == answer("whole")
    assert len(rows(path)) == 1


def test_what_a_store_confuses_is_not_removed_for_it() -> None:
    class Confused(FakeStore):
        async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
            return {key: next(iter(self.records.values())) for key in keys}

    store = Confused()
    with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        cache.update("one", "m", answer("one"))
        assert cache.lookup("other", "m") is None
        cache.close()
        assert cache.stats().errors == {"value_wrong_key": 1}
    assert len(store.records) == 1


def test_a_store_that_knows_no_better_looks_before_it_removes() -> None:
    store = broken("hurt", "replaced")
    hurt, replaced = store.records.values()
    asyncio.run(store.set([replaced._replace(value=b"good")]))
    asyncio.run(store.discard([hurt, replaced, hurt._replace(key=b"gone")]))
    assert [record.value for record in store.records.values()] == [b"good"]

"""Callers that block read in their own thread, each with a connection of its own."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import HAS_FORK, LIMIT, answer, run

from llmemo import LLMCache, SQLiteStore
from llmemo.stores.sqlite import thread_reads
from llmemo.stores.sqlite.fast_reads import REST, SLOW, FastReader, Rest
from llmemo.stores.sqlite.thread_reads import ThreadReaders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from llmemo.stores import Record


class Asked(SQLiteStore):
    """Remembers the threads in which it was read, and how often the private thread was asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.threads: list[int] = []
        self.at_once = 0

    def get_in_thread(self, keys: Sequence[bytes]) -> Mapping[bytes, Record] | None:
        found = super().get_in_thread(keys)
        if found is not None:
            self.threads.append(threading.get_ident())
        return found

    def get_at_once(self, keys: Sequence[bytes]) -> Mapping[bytes, Record] | None:
        self.at_once += 1
        return super().get_at_once(keys)


@pytest.fixture
def store(tmp_path: Path) -> Asked:
    return Asked(tmp_path / "a.db")


@pytest.fixture
def cache(store: Asked) -> Iterator[LLMCache]:
    with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as made:
        for number in range(8):
            made.update(f"p{number}", "m", answer(f"p{number}"))
        store.threads.clear()
        store.at_once = 0
        yield made


def readers_of(store: SQLiteStore) -> ThreadReaders:
    return store._session.thread_readers


def in_threads(count: int, work: Callable[[int], object]) -> list[Any]:
    """Run a function in `count` threads at a time; raises what one of them has raised."""
    results: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def one(number: int) -> None:
        barrier.wait(LIMIT)
        try:
            results[number] = work(number)
        except BaseException as error:  # noqa: BLE001 (raised below)
            results[number] = error
        barrier.wait(LIMIT)  # so that none ends, and leaves room for another, before

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def test_a_hit_takes_no_other_thread(cache: LLMCache, store: Asked) -> None:
    assert cache.lookup("p1", "m") == answer("p1")
    assert (store.threads, store.at_once) == ([threading.get_ident()], 0)
    assert cache.stats().store_hits == 1


def test_each_thread_has_a_connection(cache: LLMCache, store: Asked) -> None:
    found = in_threads(8, lambda number: cache.lookup(f"p{number}", "m"))
    assert found == [answer(f"p{number}") for number in range(8)]
    assert len(set(store.threads)) == 8
    assert store.at_once == 0


def test_the_connections_are_bounded(
    cache: LLMCache, store: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_reads, "READERS_MAX", 3)
    found = in_threads(8, lambda number: cache.lookup(f"p{number}", "m"))
    assert found == [answer(f"p{number}") for number in range(8)]
    assert 1 <= len(set(store.threads)) <= 4, "two may look at the bound at a time"
    assert store.at_once > 0


def test_a_thread_that_ends_leaves_no_connection(cache: LLMCache, store: Asked) -> None:
    in_threads(5, lambda number: cache.lookup("p1", "m"))
    assert not any(reader._connection for reader in readers_of(store)._all)


@pytest.mark.anyio
async def test_tasks_go_the_batched_way(cache: LLMCache, store: Asked) -> None:
    assert await cache.alookup("p1", "m") == answer("p1")
    assert (store.threads, store.at_once) == ([], 1)


def test_without_single_flight_a_miss_takes_no_other_thread_either(store: Asked) -> None:
    with LLMCache(store, max_bytes=0, store_timeout=LIMIT, single_flight=False) as cache:
        cache.update("p", "m", answer("p"))
        store.at_once = 0
        assert cache.lookup("other", "m") is None
        assert store.at_once == 0


def test_what_is_locked_is_left_to_the_private_thread(
    cache: LLMCache, store: Asked, tmp_path: Path
) -> None:
    assert cache.lookup("p1", "m") == answer("p1")
    (reader,) = readers_of(store)._all
    connection = reader._connection
    assert connection is not None
    connection.set_progress_handler(lambda: 1, 1)  # as if anything were wrong
    assert cache.lookup("p1", "m") == answer("p1")
    assert store.at_once == 1
    connection.set_progress_handler(None, 1)


def test_after_a_slow_read_no_thread_reads_here_for_a_while(
    cache: LLMCache, store: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, took = [100.0], 0.0

    def clock() -> float:
        now[0] += took
        return now[0]

    monkeypatch.setattr(readers_of(store)._rest, "clock", clock)
    assert cache.lookup("p1", "m") == answer("p1")
    took = 2 * SLOW
    assert cache.lookup("p1", "m") == answer("p1")
    took = 0.0
    store.threads.clear()
    assert in_threads(2, lambda number: cache.lookup("p1", "m")) == [answer("p1")] * 2
    assert store.threads == []
    now[0] += REST
    assert cache.lookup("p1", "m") == answer("p1")
    assert store.threads == [threading.get_ident()]


def test_a_file_that_was_replaced_is_followed(
    cache: LLMCache, store: Asked, tmp_path: Path
) -> None:
    assert cache.lookup("p1", "m") == answer("p1")
    with LLMCache(tmp_path / "other.db") as other:
        other.update("new", "m", answer("new"))
    (tmp_path / "other.db").rename(tmp_path / "a.db")
    cache.update("p9", "m", answer("p9"))  # finds out
    assert cache.lookup("new", "m") == answer("new")
    assert cache.lookup("p9", "m") == answer("p9")
    assert cache.lookup("p1", "m") is None


def test_a_closed_cache_reads_nothing(cache: LLMCache, store: Asked) -> None:
    assert cache.lookup("p1", "m") == answer("p1")
    cache.close()
    assert store.get_in_thread([b"k" * 32]) is None
    assert not any(reader._connection for reader in readers_of(store)._all)


def test_closing_waits_for_a_read_that_is_under_way(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE entries (key, value, namespace, llm, created, expires)")
    readers, reads, go_on = ThreadReaders(Rest()), threading.Event(), threading.Event()
    readers.open(tmp_path / "a.db", None)
    assert readers.get([b"k"]) == {}
    real = FastReader.get

    def slowly(reader: FastReader, keys: Sequence[bytes]) -> dict[bytes, Record] | None:
        reads.set()
        go_on.wait(LIMIT)
        return real(reader, keys)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FastReader, "get", slowly)
        found: list[Any] = []
        reading = threading.Thread(target=lambda: found.append(readers.get([b"k"])))
        reading.start()
        assert reads.wait(LIMIT)
        closing_ = threading.Thread(target=readers.close)
        closing_.start()
        closing_.join(0.05)
        assert closing_.is_alive()
        go_on.set()
        closing_.join(LIMIT)
        reading.join(LIMIT)
    assert found == [None], "there may be another file by now: the private thread says"
    assert readers.get([b"k"]) is None


@pytest.mark.parametrize("is_opened_again", [False, True])
def test_one_that_is_held_up_keeps_no_close_waiting_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_opened_again: bool
) -> None:
    monkeypatch.setattr(thread_reads, "READ_WAIT", 0.02)
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE entries (key, value, namespace, llm, created, expires)")
    readers, reads, go_on = ThreadReaders(Rest()), threading.Event(), threading.Event()
    readers.open(tmp_path / "a.db", None)
    left: list[FastReader] = []

    def held_up(reader: FastReader, keys: Sequence[bytes]) -> None:
        left.append(reader)
        reads.set()
        go_on.wait(LIMIT)

    monkeypatch.setattr(FastReader, "get", held_up)
    reading = threading.Thread(target=readers.get, args=([b"k"],))
    reading.start()
    assert reads.wait(LIMIT)
    readers.close()
    assert left[0]._connection is not None
    if is_opened_again:
        readers.open(tmp_path / "a.db", None)
    go_on.set()
    reading.join(LIMIT)
    assert left[0]._connection is None, "its own thread closes it"


def test_an_interrupt_strands_nothing(cache: LLMCache, store: Asked) -> None:
    real = FastReader.get

    def interrupted(reader: FastReader, keys: Sequence[bytes]) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FastReader, "get", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.lookup("p1", "m")
    assert FastReader.get is real
    assert not any(reader._connection for reader in readers_of(store)._all), "with all it had open"
    assert not any(reader.is_reading for reader in readers_of(store)._all)
    assert cache.lookup("p1", "m") == answer("p1")
    start = time.monotonic()
    cache.close()
    assert time.monotonic() - start < LIMIT / 2


@pytest.mark.process
@pytest.mark.skipif(not HAS_FORK, reason="needs forks")
def test_a_fork_beside_reads(tmp_path: Path) -> None:
    program = """
with LLMCache(path, max_bytes=0, store_timeout=60) as cache:
    for number in range(8):
        cache.update(f"p{number}", "m", answer(f"p{number}"))
    stop = threading.Event()

    def read():
        while not stop.is_set():
            for number in range(8):
                assert cache.lookup(f"p{number}", "m") == answer(f"p{number}")

    threads = [threading.Thread(target=read) for _ in range(3)]
    for one in threads:
        one.start()
    for number in range(10):
        child = os.fork()
        if not child:
            assert cache.lookup("p1", "m") == answer("p1")
            cache.update(f"child {number}", "m", answer(f"child {number}"))
            say(number)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    stop.set()
    for one in threads:
        one.join()
    for number in range(10):
        assert cache.lookup(f"child {number}", "m") == answer(f"child {number}")
    assert cache.stats().errors == {}
"""
    assert run(program, tmp_path / "a.db", seconds=5) == {str(number) for number in range(10)}

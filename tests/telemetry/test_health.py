"""`health()`: what a readiness probe is told, in time, whatever the store does."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import HAS_FORK, LIMIT, FakeStore, Fault, Held, UnspeakableError, answer, run
from support.servers import free_port, wait_until

from llmemo import Health, LLMCache, lifecycle
from llmemo.concurrency import circuit_breaker
from llmemo.store_io import store_check
from llmemo.stores import StoreRefusedError, StoreUnavailableError
from llmemo.stores.reasons import reason_of
from llmemo.telemetry.health import Spell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Ask = Callable[[LLMCache], Health]

SLACK = 0.5
"""Seconds: ten times what is promised, for a busy machine."""


@pytest.fixture(autouse=True)
def asks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_check, "INTERVAL", 0.0)


async def _aasked(cache: LLMCache) -> Health:
    return await cache.ahealth()


@pytest.fixture(params=["health", "ahealth"])
def ask(request: pytest.FixtureRequest) -> Ask:
    def asked(cache: LLMCache) -> Health:
        start = time.monotonic()
        found = cache.health() if request.param == "health" else asyncio.run(_aasked(cache))
        assert time.monotonic() - start < SLACK
        return found

    return asked


CANARY = "the prompt, or the password"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FileNotFoundError(errno.ENOENT, CANARY), "its file or folder is missing"),
        (PermissionError(errno.EACCES, CANARY), "access is denied"),
        (ConnectionRefusedError(errno.ECONNREFUSED, CANARY), "the connection was refused"),
        (TimeoutError(CANARY), "it timed out"),
        (asyncio.TimeoutError(CANARY), "it timed out"),
        (OSError(CANARY), "OSError"),
        (RuntimeError(CANARY), "RuntimeError"),
        (sqlite3.OperationalError(CANARY), "OperationalError"),
        (StoreUnavailableError("no route"), "no route"),
        (StoreRefusedError("it is full"), "it is full"),
        (StoreUnavailableError("database is locked"), "another process keeps its file locked"),
        (UnspeakableError(), "UnspeakableError"),
    ],
)
def test_reasons_are_words(error: Exception, words: str) -> None:
    assert reason_of(error) == words


def test_what_sqlite_says_is_known(tmp_path: Path) -> None:
    connect, damaged = sqlite3.connect, tmp_path / "damaged.db"
    damaged.write_bytes(b"no database" * 1000)

    def reason(path: Path) -> str:
        with pytest.raises(sqlite3.Error) as caught, contextlib.closing(connect(path)) as file:
            file.execute("SELECT * FROM records")
        return reason_of(caught.value)

    cannot_open = "its file cannot be opened: the folder is missing, or access is denied"
    assert reason(tmp_path / "missing" / "a.db") == cannot_open
    assert reason(damaged) == "its file is damaged"
    assert reason(tmp_path / "empty.db") == "its file is damaged: a table is missing"


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_spell_knows_when_it_began_and_when_it_ended() -> None:
    clock = Time()
    spell = Spell(clock)
    assert spell.reason is None
    clock.now = 101.0
    spell.begin("one")
    clock.now = 102.0
    spell.begin("another")
    found: tuple[str | None, float] = spell.state
    assert found == ("another", 101.0)
    clock.now = 103.0
    spell.end()
    clock.now = 104.0
    spell.end()
    found = spell.state
    assert found == (None, 103.0)


def test_memory_alone_is_no_trouble_where_it_was_wanted(ask: Ask) -> None:
    found = ask(LLMCache())
    assert (found.status, found.reason) == ("ok", None)
    assert 0 <= found.since < LIMIT


@pytest.mark.parametrize("is_used", [False, True])
def test_a_store_that_works(tmp_path: Path, ask: Ask, is_used: bool) -> None:
    with LLMCache(tmp_path / "cache.db") as cache:
        if is_used:
            cache.update("p", "m", answer("p"))
        found = ask(cache)
        assert (found.status, found.reason) == ("ok", None)
        assert cache.stats().misses == 0  # asking is no lookup


def test_a_closed_cache(tmp_path: Path, ask: Ask) -> None:
    cache = LLMCache(tmp_path / "cache.db")
    cache.close()
    assert ask(cache).status == "degraded"
    assert "closed" in str(ask(cache).reason)
    assert 0 <= ask(cache).since < LIMIT


def test_a_server_that_is_not_there_is_noticed_though_nobody_looks_up(ask: Ask) -> None:
    pytest.importorskip("redis")
    with LLMCache(f"redis://:secret@127.0.0.1:{free_port()}") as cache:
        ask(cache)
        wait_until(lambda: ask(cache).status == "degraded", "the server's absence is noticed")
        found = ask(cache)
        assert "fails to answer" in str(found.reason)
        assert "secret" not in str(found.reason)
        # It was no model call: nothing is counted.
        assert not any(reason.startswith("store_read") for reason in cache.stats().errors)


def test_a_server_that_never_answers(ask: Ask) -> None:
    pytest.importorskip("redis")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with LLMCache(f"redis://127.0.0.1:{port}", store_timeout=0.3) as cache:
            ask(cache)
            wait_until(lambda: ask(cache).status == "degraded", "silence is noticed")


def test_a_store_that_breaks_and_recovers(ask: Ask) -> None:
    fault = Fault("get", OSError(errno.EIO, "pulled out"))
    with LLMCache(FakeStore(fault)) as cache:
        wait_until(lambda: ask(cache).status == "degraded", "trouble is noticed")
        why = "the store fails to answer: the disk fails to read or write"
        assert ask(cache).reason == why
        fault.times = 0
        wait_until(lambda: ask(cache).status == "ok", "its end is noticed")
        assert ask(cache).since < SLACK + 1


@pytest.mark.parametrize("method", ["open", "get"])
def test_a_store_that_never_answers(ask: Ask, method: str) -> None:
    held = Held(method)
    with LLMCache(FakeStore(held), store_timeout=0.1) as cache:
        try:
            assert ask(cache).status == "ok"  # so far
            wait_until(lambda: ask(cache).status == "degraded", "silence is noticed")
            found = ask(cache)
            assert "does not answer" in str(found.reason)
            assert found.since >= 0.1
        finally:
            held.go.set()
        wait_until(lambda: ask(cache).status == "ok", "the answer is noticed")


def test_breakers_tell_what_is_wrong_and_a_check_closes_that_of_reads(ask: Ask) -> None:
    fault = Fault("get", OSError(errno.ENOSPC, "no disk"))
    store = FakeStore(fault)
    with LLMCache(store) as cache:
        for number in range(circuit_breaker.FAILURES_TO_OPEN):
            cache.lookup(f"p{number}", "m")
        assert cache._tiers.durable is not None
        reads = cache._tiers.durable.health.reads
        assert reads.is_open
        found = ask(cache)
        assert found.status == "degraded"
        assert "reads go past the store" in str(found.reason)
        assert "the disk is full" in str(found.reason)
        fault.times = 0
        wait_until(lambda: ask(cache).status == "ok", "a check closes the breaker")
        assert not reads.is_open


def test_writes_that_fail(ask: Ask) -> None:
    fault = Fault("set", OSError(errno.ENOSPC, "no disk"))
    with LLMCache(FakeStore(fault), single_flight=False) as cache:
        for number in range(circuit_breaker.FAILURES_TO_OPEN):
            cache.update(f"p{number}", "m", answer("p"))
        found = ask(cache)
        assert found.status == "degraded"
        assert "writes wait for the store" in str(found.reason)
        assert "the disk is full" in str(found.reason)
        fault.times = 0
        cache.update("q", "m", answer("q"))
        wait_until(lambda: ask(cache).status == "ok", "a write that gets through is noticed")


def test_the_first_write_that_fails_is_told_until_one_succeeds(ask: Ask) -> None:
    fault = Fault("set", OSError(errno.ENOSPC, "no space"), times=1)
    with LLMCache(FakeStore(fault), single_flight=False) as cache:
        cache.update("p", "m", answer("p"))
        found = ask(cache)
        assert found == Health(
            "degraded", "the store fails to write: the disk is full", found.since
        )
        for number in range(3):
            cache.lookup(f"p{number}", "m")  # reads say nothing of writes
        assert ask(cache).status == "degraded"
        cache.update("q", "m", answer("q"))
        assert ask(cache).status == "ok"


def test_a_write_that_hangs_is_told_until_it_is_done(ask: Ask) -> None:
    held = Held("set")
    with LLMCache(FakeStore(held), store_timeout=0.1, single_flight=False) as cache:
        try:
            cache.update("p", "m", answer("p"))
            assert cache.stats().writes_unconfirmed == 1
            wait_until(lambda: ask(cache).status == "degraded", "one unconfirmed write is told")
            assert ask(cache).reason == "a write takes longer than 0.1 s"
        finally:
            held.go.set()
        wait_until(lambda: ask(cache).status == "ok", "its success is told, though none waits")


def test_a_locked_file_is_told_from_the_first_write(tmp_path: Path, ask: Ask) -> None:
    path = tmp_path / "cache.db"
    with LLMCache(path, store_timeout=0.1) as cache:
        cache.update("p", "m", answer("p"))
        wait_until(lambda: ask(cache).status == "ok", "it is written, however busy the machine")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            cache.update("q", "m", answer("q"))
            wait_until(lambda: ask(cache).status == "degraded", "one unconfirmed write is told")
            assert "write" in str(ask(cache).reason)
            other.execute("ROLLBACK")
        wait_until(lambda: ask(cache).status == "ok", "the write got through by itself")


def test_the_first_read_that_fails_is_told_until_one_succeeds() -> None:
    fault = Fault("get", OSError(errno.EIO, "bad sector"), times=1)
    with LLMCache(FakeStore(fault)) as cache:
        cache.lookup("p", "m")
        found = cache.health()
        assert found.status == "degraded"
        assert "a read failed: the disk fails to read or write" in str(found.reason)
        cache.lookup("p", "m")
        assert cache.health().status == "ok"


def test_writes_that_are_refused(ask: Ask) -> None:
    fault = Fault("set", StoreRefusedError("it is full"), times=1)
    with LLMCache(FakeStore(fault)) as cache:
        cache.update("p", "m", answer("p"))
        found = ask(cache)
        assert found.status == "degraded"
        assert found.reason == "the store refuses to write: it is full"
        cache.update("q", "m", answer("q"))
        assert ask(cache).status == "ok"


def test_a_file_of_a_newer_version_leaves_memory_alone(tmp_path: Path, ask: Ask) -> None:
    path = tmp_path / "cache.db"
    with LLMCache(path) as cache:
        cache.update("p", "m", answer("p"))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9999")
    with LLMCache(path) as cache:
        ask(cache)
        wait_until(lambda: ask(cache).status == "memory_only", "the file is looked at")
        assert "newer" in str(ask(cache).reason)


def test_a_locked_file_can_be_read(tmp_path: Path, ask: Ask) -> None:
    path = tmp_path / "cache.db"
    with LLMCache(path, store_timeout=0.05) as cache:
        cache.update("p", "m", answer("p"))
        wait_until(lambda: ask(cache).status == "ok", "it is written, however busy the machine")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            wait_until(lambda: ask(cache).status == "ok", "a read is answered")
            for number in range(circuit_breaker.FAILURES_TO_OPEN):
                cache.update(f"q{number}", "m", answer("q"))
            found = ask(cache)
            assert found.status == "degraded"
            assert "writes" in str(found.reason)
            other.execute("ROLLBACK")

        def is_well() -> bool:
            cache.update("r", "m", answer("r"))
            return ask(cache).status == "ok"

        wait_until(is_well, "writes go on")


class Away(FakeStore):
    """A store that cannot be reached while it is away."""

    is_away = False

    async def get(self, keys: Any) -> Any:
        if self.is_away:
            raise StoreUnavailableError("no route")
        return await super().get(keys)

    def __repr__(self) -> str:
        return "Away()"


def test_one_store_of_two_is_away(tmp_path: Path, ask: Ask) -> None:
    far = Away()
    with LLMCache([tmp_path / "near.db", far]) as cache:
        wait_until(lambda: ask(cache).status == "ok", "both are there")
        far.is_away = True
        wait_until(lambda: ask(cache).status == "degraded", "it is away")
        for number in range(20):  # which the near store does not have either
            cache.lookup(f"p{number}", "m")
        why = "Away() is away: no route"
        wait_until(lambda: why in str(ask(cache).reason), "its breaker opens")


def test_many_callers_ask_an_idle_store_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_check, "INTERVAL", LIMIT)
    store = FakeStore()
    with LLMCache(store) as cache:
        for _ in range(50):
            assert cache.health().status == "ok"
        assert store.sizes("get") == [1]


def test_the_event_loop_goes_on_meanwhile() -> None:
    held = Held("get")

    async def ticks() -> int:
        count = 0
        asking = asyncio.ensure_future(cache.ahealth())
        while not asking.done():
            await asyncio.sleep(0)
            count += 1
        return count

    with LLMCache(FakeStore(held)) as cache:
        try:
            assert asyncio.run(ticks()) > 5
        finally:
            held.go.set()


def test_a_forked_child_waits_for_no_answer_to_its_parents_question() -> None:
    held = Held("get")
    with LLMCache(FakeStore(held), store_timeout=0.1) as cache:
        try:
            assert cache.health().status == "ok"
            assert cache._tiers.durable is not None
            check = cache._tiers.durable.health.check
            assert check in lifecycle._forkables
            check.after_fork_in_child()
            check._clock = lambda: time.monotonic() + LIMIT
            assert check.state[0] is None
        finally:
            held.go.set()


@pytest.mark.skipif(not HAS_FORK, reason="needs fork")
def test_a_forked_child_asks_for_itself(tmp_path: Path) -> None:
    program = """
with opened() as cache:
    for _ in range(2):
        print(cache.health().status)
    child = os.fork()
    for _ in range(100):
        assert cache.health().status == "ok", cache.health()
    if child:
        assert os.waitpid(child, 0)[1] == 0
"""
    assert run(program, tmp_path / "cache.db") == {"ok"}


@pytest.mark.slow
@pytest.mark.skipif(not HAS_FORK, reason="needs fork")
def test_no_fork_and_no_exit_waits_for_a_store_that_was_only_asked_how_it_is(
    tmp_path: Path,
) -> None:
    program = """
from llmemo import SQLiteStore, lifecycle

lifecycle.FORK_TIMEOUT = lifecycle.EXIT_TIMEOUT = 3600


class Hangs(SQLiteStore):
    async def open(self):
        await asyncio.sleep(3600)


cache = LLMCache(Hangs(path), store_timeout=0.1)
cache.health()
child = os.fork()
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("forked")
"""
    assert run(program, tmp_path / "cache.db") == {"forked"}


@pytest.mark.parametrize("is_write", [False, True])
def test_a_worker_with_other_work_is_waited_for(is_write: bool) -> None:
    held = Held("open")
    with LLMCache(FakeStore(held), store_timeout=0.05, single_flight=False) as cache:
        try:
            cache.health()
            assert cache._tiers.durable is not None
            worker = cache._tiers.durable.executor._worker
            assert worker is not None
            assert worker.only_checks
            if is_write:
                cache.update("p", "m", answer("p"))
            else:
                cache.lookup("p", "m")
            assert not worker.only_checks
        finally:
            held.go.set()

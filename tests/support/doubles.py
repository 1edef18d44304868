"""Stand-ins for what surrounds a cache: programs that use one, what they leave, a store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.outputs import Generation

from llmemo import LLMCache, NotACacheError, Store, StoreError
from llmemo.stores import Record, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

ROUNDS = int(os.environ.get("LLMEMO_ROUNDS", "1"))
"""How often to repeat what chance decides; `make soak` says a hundred."""

HAS_FORK = hasattr(os, "fork")

LIMIT = 120.0
"""Seconds after which something hangs. It costs nothing to be patient until something does."""

# `-X dev -W error` tells of every resource left lying about: an empty stderr means something.
# Python 3.12 and later warn of any fork of a process with threads; nothing else is let through.
STRICT = ["-W", "error", "-W", "ignore:This process (pid=:DeprecationWarning"]
PYTHON = (sys.executable, "-X", "dev", *STRICT)
FAST = (sys.executable, *STRICT)
"""Without the checks of memory and of event loops, which would take most of a soak's time."""

PRELUDE = """
import asyncio, gc, logging, multiprocessing, os, random, sys, threading
from langchain_core.outputs import Generation
from llmemo import LLMCache

path = sys.argv[1]

# In debug mode asyncio reports each step of a loop that takes 0.1 s. On a busy machine any does.
# (Of no module: the logger would keep all of this program, and its finalizers from running.)
logging.getLogger("asyncio").addFilter(eval("lambda record: 'took' not in record.msg", {}))

def answer(key):
    return [Generation(text=f"answer to {key}")]

def say(key):
    os.write(1, f"{key}\\n".encode())

def keep(cache, *keys):
    for key in keys:
        before = cache.stats().writes_unconfirmed
        cache.update(key, "m", answer(key))
        if cache.stats().writes_unconfirmed == before:
            say(key)

async def akeep(cache, key):
    await cache.aupdate(key, "m", answer(key))
    if not cache.stats().writes_unconfirmed:
        say(key)

def names(letter, count):
    return [f"{letter}{n}" for n in range(count)]

def opened(path=path):
    return LLMCache(path, max_bytes=0, store_timeout=60)

"""
"""How the programs of the tests begin. They print a key once its update returned confirmed."""


def patience() -> float:
    """Seconds after which the end of a program counts as hanging.

    Far more than it takes (32 s were seen, on two cores with eight others at work): it costs
    nothing until something does hang. It is not for telling a slow end from a prompt one.
    """
    return 5 * LIMIT / 2


def run(
    program: str | Path,
    *args: object,
    code: int = 0,
    seconds: float = 0.0,
    python: tuple[str, ...] = PYTHON,
    is_forked: bool = True,
    **environment: str,
) -> set[str]:
    """Run a program to its end, which must come, and be silent. Returns what it printed.

    `seconds`: how long it works, when nothing is in its way. `is_forked`: whether it may be forked
    from a process that has done the imports, which take seconds; in a soak none is.
    """
    limit = patience() + 5 * seconds
    words = [str(arg) for arg in args]
    if isinstance(program, str) and is_forked and not environment and ROUNDS == 1 and HAS_FORK:
        from support import nursery  # which needs what is here

        printed, noise, ended = nursery.run(python, PRELUDE + program, words, limit)
    else:
        start = ["-c", PRELUDE + program] if isinstance(program, str) else [str(program)]
        printed, noise, ended = _run_apart([*python, *start, *words], environment, limit)
    if ended is None:
        pytest.fail(f"the process did not end; it printed {printed!r} and {noise!r}")
    if noise or ended != code:
        pytest.fail(f"the process ended with {ended} and said {noise!r}")
    return set(printed.split())


def _run_apart(
    command: Sequence[str], environment: Mapping[str, str], limit: float
) -> tuple[str, str, int | None]:
    """The same, in an interpreter of its own."""
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            return *process.communicate(timeout=limit), process.returncode
        except subprocess.TimeoutExpired:
            # Its children too: one that hangs in a fork would outlive the test.
            os.killpg(process.pid, signal.SIGKILL)
            return *process.communicate(), None


def expect_on_disk(path: Path, keys: Iterable[str]) -> None:
    """Each key has its own answer in the file, and the file is sound."""
    with LLMCache(path, max_bytes=0, store_timeout=60) as cache:
        wrong = [k for k in keys if cache.lookup(k, "m") != answer(k)]
        assert (wrong, cache.stats().errors) == ([], {})
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def files(folder: Path) -> list[str]:
    """What is in a folder, but for the locks that stores leave there."""
    return sorted(name for name in os.listdir(folder) if not name.endswith("-lock"))


def answer(key: str) -> list[Generation]:
    """What `PRELUDE` answers to a key."""
    return [Generation(text=f"answer to {key}")]


class Clock:
    """Unix time that stands still until it is told otherwise."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class FakeStore(Store):
    """A store in a dict, which remembers what it was asked.

    `before` is called with the name of each method that begins, on the store's thread: to raise,
    or to block it.
    """

    lists_recent = True

    def __init__(self, before: Callable[[str], object] = lambda method: None) -> None:
        self.records: dict[bytes, Record] = {}
        self.asked: list[tuple[str, int]] = []
        self.before = before

    def sizes(self, method: str) -> list[int]:
        """How many keys or records each call of a method was given."""
        return [size for name, size in self.asked if name == method]

    def _begin(self, method: str, items: Sequence[object] = ()) -> None:
        self.asked.append((method, len(items)))
        self.before(method)

    async def open(self) -> None:
        self._begin("open")

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        self._begin("get", keys)
        return {key: self.records[key] for key in keys if key in self.records}

    async def recent(self, limit: int) -> Sequence[Record]:
        self._begin("recent")
        return [record._replace(value=b"") for record in self.records.values()][::-1][:limit]

    async def set(self, records: Sequence[Record]) -> None:
        self._begin("set", records)
        self.records.update({record.key: record for record in records})

    async def delete(self, keys: Sequence[bytes] | None) -> int:
        self._begin("delete", keys or ())
        gone = list(self.records) if keys is None else [k for k in keys if k in self.records]
        for key in gone:
            del self.records[key]
        return len(gone)

    async def invalidate(self, selection: Selection) -> int:
        self._begin("invalidate")
        namespace, llm, before = selection
        gone = [
            record.key
            for record in self.records.values()
            if (namespace is None or record.namespace == namespace)
            and (llm is None or record.llm == llm)
            and (before is None or record.created < before)
        ]
        for key in gone:
            del self.records[key]
        return len(gone)

    async def close(self) -> None:
        self._begin("close")


class Garbled(FakeStore):
    """Answers every request with one and the same, whatever it is."""

    def __init__(self, found: Any) -> None:
        super().__init__()
        self.found = found

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        return dict.fromkeys(keys, self.found) if isinstance(self.found, Record) else self.found


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even its text can be had")


FAULTS: list[BaseException] = [ValueError("x"), OSError(5, "x"), TimeoutError("x"), MemoryError()]
FAULTS += [StopIteration(), StoreError("x"), NotACacheError("x"), asyncio.InvalidStateError()]
FAULTS += [asyncio.CancelledError(), UnspeakableError()]
"""What a store may raise."""


class Held:
    """A `before` that holds methods of the store up, in its thread, until it is released."""

    def __init__(self, *methods: str) -> None:
        self.methods = methods
        self.reached, self.go = threading.Event(), threading.Event()
        self.was_released = True

    def __call__(self, method: str) -> None:
        if method in self.methods:
            self.reached.set()
            self.was_released &= self.go.wait(LIMIT)


class Fault:
    """A `before` that raises in one method of a store, until it is healed or so many times."""

    def __init__(self, method: str, error: BaseException, times: int = 10**9) -> None:
        self.method, self.error, self.times = method, error, times

    def __call__(self, method: str) -> None:
        if method == self.method and self.times:
            self.times -= 1
            raise self.error


async def keep_busy(seconds: float, later: int) -> None:
    """Hold an event loop up, so many passes later, as some application may."""
    for _ in range(later):
        await asyncio.sleep(0)
    time.sleep(seconds)  # noqa: ASYNC251 (its own doing)


@contextlib.contextmanager
def no_thread_stays() -> Iterator[None]:
    """Whatever thread starts in here also ends; but for the one that serves all the process."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name != "llmemo-exit":
            thread.join(LIMIT)
            assert not thread.is_alive(), thread


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the library has logged."""
    return [record.getMessage() for record in caplog.records if record.name == "llmemo"]

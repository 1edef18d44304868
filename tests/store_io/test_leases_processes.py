"""Leases between real processes on one file: killed, stopped, forked, racing, slow."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from support.doubles import ROUNDS, patience
from support.nursery import Child

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

PROGRAM = """
import asyncio, os, sys, threading, time
from llmemo import SQLiteStore
from llmemo._core import Memory
from llmemo.store_io.calls import Call, run_inline
from llmemo.store_io.operations import Get, Set
from llmemo.store_io.executor import Executor
from llmemo.store_io.leases.client import acquire, release
from llmemo.telemetry.stats import Tally
from llmemo.stores import Record
from llmemo.stores.sqlite import connection, session
from llmemo.stores.lease_store import Grant

# On a busy machine sixteen processes wait longer for each other than a caller is to.
session.BUSY_TIMEOUT = connection.BUSY_TIMEOUT = 60.0

path, name, count, seconds, slow = sys.argv[1], *map(eval, sys.argv[2:6])
KEY = b"k" * 32
tally = Tally()
memory = Memory(2**20, None, fingerprint_secret=bytes(range(192)))
engine = Executor(SQLiteStore(path), tally, memory, 60)

def say(*words):
    os.write(1, (" ".join(map(str, [name, *words])) + "\\n").encode())

def put(fence, key=KEY):
    call = Call.blocking(Set(Record(key, name.encode(), b"n" * 16, b"l" * 16, 1.0, None), fence))
    engine.submit(call)
    return run_inline(call.wait(60))

def get(key=KEY):
    call = Call.blocking(Get([key]))
    engine.submit(call)
    return run_inline(call.wait(60)).records.get(key)

async def work(key=KEY):
    outcome = await acquire(
        engine.submit, Call.awaited, key,
        seconds=seconds, outcome=lambda call: call.wait(60),
        follow=lambda call, rest: call.wait(rest), lease_timeout=120,
    )
    if isinstance(outcome, Grant):
        say("granted", time.time())
        if slow is not None:
            engine.held.keep(key, outcome.fence, is_kept=True)
            await asyncio.sleep(slow)
        else:
            await asyncio.to_thread(sys.stdin.readline)
        say("superseded" if await asyncio.to_thread(put, outcome.fence) else "stored")
    else:
        say("got", outcome and outcome.value.decode())

async def main():
    say("begins")
    sys.stdin.readline()
    await asyncio.gather(*[work() for _ in range(count)])
    assert tally.snapshot()[-1]["errors"] == {}, tally.snapshot()

"""
END = "asyncio.run(main()); engine.close(60)"


class Peer:
    """A program that asks for one lease with `count` callers, once it is told to."""

    def __init__(
        self, path: Path, name: str, count: int = 1, *,
        seconds: float = 60.0, slow: float | None = None, program: str = END,
    ) -> None:  # fmt: skip
        """`slow`: seconds that its model takes; None if it waits to be told."""
        arguments = map(repr, (name, count, seconds, slow))
        self.process = Child(PROGRAM + program, path, *arguments)
        assert self.line() == ["begins"]

    def go(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def line(self) -> list[str]:
        return self.process.stdout.readline().split()[1:]

    def rest(self) -> list[str]:
        """What it has yet to say until its end, which has to be a good one."""
        printed, _ = self.process.communicate(timeout=10 * patience())
        assert self.process.returncode == 0
        return [line.partition(" ")[2] for line in printed.splitlines()]


@contextlib.contextmanager
def ended(*peers: Peer) -> Iterator[None]:
    try:
        yield
    finally:
        for peer in peers:
            peer.process.kill()
            peer.process.communicate()


def test_four_processes_of_fifty_callers_compute_once(tmp_path: Path) -> None:
    peers = [Peer(tmp_path / "a.db", name, 50, slow=0.5) for name in "abcd"]
    with ended(*peers):
        for peer in peers:
            peer.go()
        lines = [line for peer in peers for line in peer.rest()]
    [granted] = [line for line in lines if line.startswith("granted")]
    [stored] = [line for line in lines if line == "stored"]
    assert granted
    assert stored
    assert len(lines) == 201
    got = {line for line in lines if line.startswith("got")}
    assert len(got) == 1
    assert got <= {f"got {name}" for name in "abcd"}


def test_who_is_killed_is_followed_by_one_other_and_not_before_its_lease_ends(
    tmp_path: Path,
) -> None:
    holder = Peer(tmp_path / "a.db", "a", seconds=2.0)
    others = [Peer(tmp_path / "a.db", name, 50, slow=0.3) for name in "bcd"]
    with ended(holder, *others):
        holder.go()
        start = float(holder.line()[1])
        for other in others:
            other.go()
        holder.process.send_signal(signal.SIGKILL)
        lines = [line for other in others for line in other.rest()]
    [granted] = [line for line in lines if line.startswith("granted")]
    # Its own clock began before it said so: 2 s from then, less what it took to say it.
    assert float(granted.split()[1]) - start > 1.5
    assert len([line for line in lines if line.startswith("got")]) == 149


def test_who_was_stopped_for_too_long_replaces_nothing(tmp_path: Path) -> None:
    holder = Peer(tmp_path / "a.db", "a", seconds=1.0)
    other = Peer(tmp_path / "a.db", "b", 50, slow=0.1)
    with ended(holder, other):
        holder.go()
        assert holder.line()[0] == "granted"
        holder.process.send_signal(signal.SIGSTOP)
        other.go()
        assert sorted({line.split()[0] for line in other.rest()}) == ["got", "granted", "stored"]
        holder.process.send_signal(signal.SIGCONT)
        holder.go()
        assert holder.rest() == ["superseded"]
        last = Peer(tmp_path / "a.db", "c")
        with ended(last):
            last.go()
            assert last.rest() == ["got b"]


def test_a_model_that_is_slower_than_the_lease_keeps_it(tmp_path: Path) -> None:
    # A third of it has to be enough for a busy machine.
    holder = Peer(tmp_path / "a.db", "a", seconds=1.5, slow=4.0)
    others = [Peer(tmp_path / "a.db", name, 20) for name in "bc"]
    with ended(holder, *others):
        holder.go()
        assert holder.line()[0] == "granted"
        for other in others:
            other.go()
        assert holder.rest() == ["stored"]
        for other in others:
            assert other.rest() == ["got a"] * 20


FORKING = """
outcome = run_inline(acquire(
    engine.submit, Call.blocking, KEY,
    seconds=seconds, outcome=lambda call: call.wait(60),
    follow=lambda call, rest: call.wait(rest), lease_timeout=60))
engine.held.keep(KEY, outcome.fence, is_kept=True)
say("begins")
pid = os.fork()
if not pid:
    # The child has no lease, and keeps none.
    assert not engine.held.by_key
    engine.held.keep(KEY, outcome.fence, is_kept=True)
    assert get() is None
    engine.close(60)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
sys.stdin.readline()
say("superseded" if put(outcome.fence) else "stored")
engine.close(60)
"""


def test_a_lease_outlives_a_fork_of_its_holder(tmp_path: Path) -> None:
    holder = Peer(tmp_path / "a.db", "a", seconds=1.5, program=FORKING)
    other = Peer(tmp_path / "a.db", "b", 5)
    with ended(holder, other):
        other.go()
        time.sleep(3.0)  # twice its time
        holder.go()
        assert holder.rest() == ["stored"]
        assert other.rest() == ["got a"] * 5


RACING = """
say("begins")
for number in range(count):
    key = number.to_bytes(32, "big")
    sys.stdin.readline()
    outcome = run_inline(acquire(
        engine.submit, Call.blocking, key, seconds=60,
        outcome=lambda call: call.wait(60),
        follow=lambda call, rest: call.wait(rest), lease_timeout=120))
    if isinstance(outcome, Grant):
        say("granted", number)
        assert put(outcome.fence, key) is False
    else:
        assert outcome.key == key
        say("got", number)
engine.close(60)
assert tally.snapshot()[-1]["errors"] == {}, tally.snapshot()
"""


@pytest.mark.parametrize("count", [5 * ROUNDS])
def test_sixteen_processes_race_for_one_lease_a_round(count: int, tmp_path: Path) -> None:
    peers = [Peer(tmp_path / "a.db", str(n), count, program=RACING) for n in range(16)]
    with ended(*peers):
        for number in range(count):
            for peer in peers:
                peer.go()
            words = sorted(tuple(peer.line()) for peer in peers)
            assert words == [("got", str(number))] * 15 + [("granted", str(number))]
        for peer in peers:
            assert peer.rest() == []

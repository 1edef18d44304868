"""Callers of several processes who ask the same at once make one call of the model."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT
from support.nursery import Child

from llmemo.store_io.leases.manager import LEASE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


class Crowd:
    """Some processes with one store."""

    def __init__(self, folder: Path, count: int, *, callers: int, seconds: float) -> None:
        self.log = folder / "calls"
        self.log.touch()
        arguments = [folder / "cache.db", self.log, callers, seconds]
        self.processes = [
            Child("from support import flight_worker; flight_worker.main()", *arguments)
            for _ in range(count)
        ]
        for process in self.processes:
            assert process.stdout.readline() == "ready\n"

    def go(self) -> None:
        for process in self.processes:
            process.stdin.write("go\n")
            process.stdin.flush()

    def callers(self) -> list[int]:
        """The processes that have called the model, in order."""
        return [int(line) for line in self.log.read_text().split()]

    def first_caller(self) -> int:
        deadline = time.monotonic() + LIMIT
        while not self.callers():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return self.callers()[0]

    def told(self) -> list[dict[str, Any]]:
        """What the processes say in the end; nothing of one that was killed."""
        outputs = [process.communicate(timeout=LIMIT + 5 * LEASE)[0] for process in self.processes]
        return [json.loads(output) for output in outputs if output]


def test_four_processes_make_one_call(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, 4, callers=50, seconds=0.5)
    crowd.go()
    told = crowd.told()
    [caller] = crowd.callers()
    assert len(told) == 4
    assert {answer for each in told for answer in each["answers"]} == {f"{caller} says hello"}
    assert [each["errors"] for each in told] == [{}] * 4


def test_a_caller_that_is_killed_costs_one_call_more(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, 4, callers=50, seconds=1.5)
    crowd.go()
    killed = crowd.first_caller()
    os.kill(killed, signal.SIGKILL)
    told = crowd.told()
    assert len(told) == 3
    callers = crowd.callers()
    assert (callers[0], len(callers)) == (killed, 2)
    assert {answer for each in told for answer in each["answers"]} == {f"{callers[1]} says hello"}


def test_a_model_that_is_slower_than_a_lease_keeps_it(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, 2, callers=5, seconds=1.5 * LEASE)
    crowd.go()
    told = crowd.told()
    [caller] = crowd.callers()
    assert {answer for each in told for answer in each["answers"]} == {f"{caller} says hello"}


def test_the_late_answer_of_a_process_that_was_stopped_is_refused(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path, 2, callers=3, seconds=1.0)
    crowd.go()
    stopped = crowd.first_caller()
    os.kill(stopped, signal.SIGSTOP)
    [other] = [process for process in crowd.processes if process.pid != stopped]
    try:
        output = other.communicate(timeout=LIMIT + 5 * LEASE)[0]
        assert json.loads(output)["answers"] == [f"{other.pid} says hello"]
    finally:
        os.kill(stopped, signal.SIGCONT)
    [late] = [process for process in crowd.processes if process.pid == stopped]
    told = json.loads(late.communicate(timeout=LIMIT)[0])
    assert told["skipped"] == {"superseded": 1}
    # The answer that was stored first is the one that stays.
    last = Crowd(tmp_path, 1, callers=1, seconds=0)
    last.go()
    assert last.told()[0]["answers"] == [f"{other.pid} says hello"]

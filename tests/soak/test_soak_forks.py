"""A process that forks at any moment, again and again: neither side waits for the other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.doubles import FAST, ROUNDS, expect_on_disk, run
from support.figures import tell
from support.supervisors import supervise

if TYPE_CHECKING:
    from pathlib import Path

FORKS = max(4, ROUNDS)
FIRST_USES = 20 * max(1, ROUNDS // 5)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

FORKING = """
answer("p")  # Pydantic, too, makes at first use what a fork must not meet half made.
cache, done, forks = opened(), threading.Event(), int(sys.argv[2])
def work(n):
    turn = 0
    while not done.is_set():
        turn += 1
        keep(cache, f"parent{n}-{turn}")
crew = [threading.Thread(target=work, args=(n,)) for n in range(2)]
for thread in crew:
    thread.start()
for n in range(forks):
    if (pid := os.fork()) == 0:
        keep(cache, f"child{n}")
        asyncio.run(akeep(cache, f"async-child{n}"))
        assert cache.lookup(f"child{n}", "m") == answer(f"child{n}")
        assert cache.stats().errors == {}, cache.stats()
        os._exit(cache.close())
    assert os.waitpid(pid, 0)[1] == 0
done.set()
for thread in crew:
    thread.join()
assert cache.stats().errors == {}, cache.stats()
"""


def test_a_process_that_forks_again_and_again(tmp_path: Path) -> None:
    kept = run(FORKING, tmp_path / "a.db", FORKS, seconds=0.5 * FORKS, python=FAST)
    tell("forks with an open cache", forks=FORKS, acknowledged=len(kept))
    assert {key for key in kept if "child" in key} == {
        f"{kind}{n}" for kind in ("child", "async-child") for n in range(FORKS)
    }
    expect_on_disk(tmp_path / "a.db", kept)


FIRST_USE = """
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from llmemo import _core

answers = [[ChatGeneration(message=AIMessage("x", id="lc_run--1"))], answer("\\udc80")]

def use():
    for generations in answers:
        value = _core.encode(generations, b"k" * 32)
        _core.decode(value, b"k" * 32, fresh_ids=True)

def parent(turn):
    sys.setswitchinterval(1e-6)
    begin = threading.Event()
    def work():
        begin.wait()
        use()
    crew = [threading.Thread(target=work) for _ in range(2)]
    for thread in crew:
        thread.start()
    begin.set()
    time.sleep(turn % 7 * 2e-5)
    if (pid := os.fork()) == 0:
        use()
        os._exit(0)
    end = time.monotonic() + 20
    while not any(os.waitpid(pid, os.WNOHANG)):
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            raise TimeoutError("the child hangs")
        time.sleep(0.001)

forks = int(sys.argv[3])
for turn in range(forks):
    pid, source = child(parent, turn)
    rest(source)
    assert ended(pid) == 0
print(json.dumps({"forks": forks}, separators=(",", ":")))
"""


def test_a_fork_while_another_thread_encodes_for_the_first_time(tmp_path: Path) -> None:
    """Whatever is made once, at first use, must not be copied half made: its maker is not there."""
    found = supervise(FIRST_USE, tmp_path / "unused", 3, FIRST_USES, seconds=0.1 * FIRST_USES)
    tell("forks in the middle of first uses", **found)

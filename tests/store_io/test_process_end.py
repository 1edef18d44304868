"""How a process ends while caches are open: by itself, killed, forked; in real subprocesses."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.doubles import (
    LIMIT,
    PRELUDE,
    FakeStore,
    Held,
    answer,
    expect_on_disk,
    files,
    patience,
    run,
)
from support.nursery import Child

from llmemo import LLMCache, lifecycle

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = int(os.environ.get("LLMEMO_ROUNDS", "1"))
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def names(letter: str, count: int) -> set[str]:
    return {f"{letter}{n}" for n in range(count)}


FORGETFUL = {
    "sync": "keep(cache, *names('p', 100)); assert cache.lookup('p0', 'm') == answer('p0')",
    "an exception": """
keep(cache, *names("p", 100))
sys.excepthook = lambda *_: None  # Its traceback is not ours.
raise ValueError("on purpose")
""",
    "sys.exit": "keep(cache, *names('p', 100)); sys.exit(3)",
    "dropped at once": "keep(cache, *names('p', 100)); del cache",
    "dropped in a cycle": "keep(cache, *names('p', 100)); cache.me = cache; del cache",
    "asyncio.run": """
async def main():
    await asyncio.gather(*[akeep(cache, key) for key in names("p", 100)])
    assert await cache.alookup("p0", "m") == answer("p0")
asyncio.run(main())
""",
    "cancelled by the end of the loop": """
async def main():
    global tasks
    tasks = [asyncio.ensure_future(cache.alookup(f"unknown{n}", "m")) for n in range(20)]
    tasks += [asyncio.ensure_future(cache.aupdate(k, "m", answer(k))) for k in names("p", 100)]
    await asyncio.sleep(0)
asyncio.run(main())
assert any(task.cancelled() for task in tasks)
for key in names("p", 100):
    say(key)  # They were begun, so they are finished, though nobody waits.
""",
    "loop closed in the middle": """
async def main():
    task = asyncio.ensure_future(cache.alookup("unknown", "m"))
    await asyncio.sleep(0)
    task._log_destroy_pending = False  # That complaint would be about this program.
    return task
loop = asyncio.new_event_loop()
task = loop.run_until_complete(main())
loop.close()
assert not task.done()
keep(cache, *names("p", 100))
""",
    "a thread that begins after the main one": """
def work():
    threading.main_thread().join()
    for key in names("p", 100):
        keep(cache, key)
        assert cache.lookup(key, "m") == answer(key)
threading.Thread(target=work).start()
""",
    "threads that outlive the main one": """
begun = threading.Event()
def work(n):
    for key in names("p", 100)[n::10]:
        keep(cache, key)
        begun.set()
        assert cache.lookup(key, "m") == answer(key)
for n in range(10):
    threading.Thread(target=work, args=(n,)).start()
begun.wait()
""",
}


APART = {"sync", "asyncio.run", "threads that outlive the main one"}
"""Those that have an interpreter of their own each time; the others have one in a soak."""


@pytest.mark.parametrize("form", FORGETFUL)
def test_a_process_that_forgets_to_close_ends_promptly_and_loses_nothing(
    form: str, tmp_path: Path
) -> None:
    if form == "a thread that begins after the main one" and sys.version_info[:2] == (3, 12):
        pytest.skip(
            "Python 3.12 starts no thread, ours or aiosqlite's, when the main one has ended"
        )
    path = tmp_path / "a.db"
    code = {"an exception": 1, "sys.exit": 3}.get(form, 0)
    program = f"cache = opened()\n{FORGETFUL[form]}"
    kept = run(program, path, code=code, is_forked=form not in APART)
    assert kept == names("p", 100)
    # SQLite removes -wal and -shm when the last connection is closed.
    assert "dropped" in form or files(tmp_path) == ["a.db"]
    expect_on_disk(path, kept)


def test_a_cache_that_is_never_used_leaves_no_trace(tmp_path: Path) -> None:
    run("cache = opened(); assert threading.active_count() == 1", tmp_path / "a.db")
    assert list(tmp_path.iterdir()) == []


def test_several_forgotten_caches(tmp_path: Path) -> None:
    # Two of them on one file.
    paths = [tmp_path / f"{n}.db" for n in (0, 0, 1, 2, 3)]
    program = """
caches = [opened(p) for p in sys.argv[1:]]
for n, cache in enumerate(caches):
    keep(cache, *names(f"{n}-", 9))
"""
    assert len(run(program, *paths)) == 5 * 9
    for n, path in enumerate(paths):
        expect_on_disk(path, names(f"{n}-", 9))


def test_the_threads_of_a_dropped_cache_go_away(tmp_path: Path) -> None:
    program = """
for turn in range(10):
    before = set(threading.enumerate())
    cache = opened()
    keep(cache, f"p{turn}")
    started = set(threading.enumerate()) - before
    assert started
    del cache
    gc.collect()
    for thread in started:
        if thread.name != "llmemo-exit":  # One for the process, not for the cache.
            thread.join(60)
            assert not thread.is_alive(), thread
"""
    assert run(program, tmp_path / "a.db") == names("p", 10)
    expect_on_disk(tmp_path / "a.db", names("p", 10))


KILLED = """
who, dice = sys.argv[2], random.Random(sys.argv[2])
cache = opened()
async def work(task):
    n = 0
    while True:
        key = f"{who}-{task}-{n}"
        await cache.aupdate(key + "-padding", "m", [Generation(text="x" * dice.randrange(20_000))])
        await akeep(cache, key)
        n += 1
async def main():
    await asyncio.gather(*map(work, range(8)))
asyncio.run(main())
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    dice = random.Random(9)
    path = tmp_path / "a.db"
    for round_ in range(5 * ROUNDS):
        # Two writers: one dies while the other has the file open.
        children = [Child(PRELUDE + KILLED, path, f"r{round_}w{writer}") for writer in range(2)]
        kept: list[str] = []
        for child in children:
            kept += [child.stdout.readline().strip() for _ in range(dice.randrange(1, 100))]
            time.sleep(dice.random() * 0.05)  # The moment is to be any.
            child.kill()
        for child in children:
            kept += child.communicate()[0].split()
            assert child.returncode == -signal.SIGKILL
        expect_on_disk(path, kept)


FORK = """
cache = opened()
keep(cache, "parent0")
if (pid := os.fork()) == 0:
    assert cache.lookup("parent0", "m") == answer("parent0")
    keep(cache, "child0")
    assert cache.stats().errors == {}
    CHILD_ENDS
else:
    keep(cache, "parent1")
    assert os.waitpid(pid, 0)[1] == 0
    assert cache.lookup("child0", "m") == answer("child0")
    keep(cache, "parent2")
    assert cache.stats().errors == {}
"""


@needs_fork
@pytest.mark.parametrize(
    "ending", ["os._exit(0)", "cache.close(); os._exit(0)", "cache.close()", "pass", "del cache"]
)
def test_a_fork_with_an_open_cache(ending: str, tmp_path: Path) -> None:
    program = FORK.replace("CHILD_ENDS", ending)
    kept = run(program, tmp_path / "a.db")
    assert kept == {"parent0", "child0", "parent1", "parent2"}
    expect_on_disk(tmp_path / "a.db", kept)


@needs_fork
@pytest.mark.parametrize("end", ["cache.close()", "del cache", "pass"])
@pytest.mark.parametrize("when", ["before the fork", "after the fork"])
def test_a_child_outlives_its_parents_cache(end: str, when: str, tmp_path: Path) -> None:
    program = """
for turn in range(2):
    cache = opened()
    keep(cache, f"parent{turn}")
    cache.update("padding", "m", [Generation(text="x" * 500_000)])  # Closing takes a while.
    END before the fork
    used, closed = os.pipe(), os.pipe()
    if (pid := os.fork()) == 0:
        cache = opened() if "END before the fork" else cache
        keep(cache, f"childA{turn}")
        os.write(used[1], b"!")
        os.read(closed[0], 1)
        keep(cache, f"childB{turn}")
        assert cache.lookup(f"parent{turn}", "m") == answer(f"parent{turn}")
        sys.exit(cache.close())
    os.read(used[0], 1)
    END after the fork
    for thread in threading.enumerate() if "cache" not in globals() else ():
        if thread.name not in ("MainThread", "llmemo-exit"):
            thread.join()
    os.write(closed[1], b"!")
    assert os.waitpid(pid, 0)[1] == 0
"""
    program = re.sub("END (.* fork)", lambda match: end if match[1] == when else "", program)
    kept = run(program, tmp_path / "a.db")
    assert kept == names("parent", 2) | names("childA", 2) | names("childB", 2)
    expect_on_disk(tmp_path / "a.db", kept)


def test_nothing_is_left_to_be_loaded_at_first_use(tmp_path: Path) -> None:
    """A child that is forked while another thread loads something would wait for it for ever."""
    program = """
opened(path).close()
loaded = []
sys.addaudithook(lambda event, args: event == "import" and loaded.append(args[0]))
cache = LLMCache()
cache.update("p", "m", answer("p"))
assert cache.lookup("p", "m") == answer("p")
assert not loaded, loaded
"""
    run(program, tmp_path / "a.db", is_forked=False)


@needs_fork
@pytest.mark.parametrize("forkers", [1, 3])
def test_forks_in_the_middle_of_writes(forkers: int, tmp_path: Path) -> None:
    program = """
cache, other = opened(), opened()
done = threading.Event()
def work(n):
    while not done.is_set():
        (cache, other)[n % 2].update(f"work{n}", "m", [Generation(text="x" * 5000)])
def fork(n):
    for key in names("child", 12)[n::int(sys.argv[2])]:
        done.wait(random.random() * 0.03)
        if (pid := os.fork()) == 0:
            keep(cache, key)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
crew = [threading.Thread(target=work, args=(n,)) for n in range(3)]
forkers = [threading.Thread(target=fork, args=(n,)) for n in range(int(sys.argv[2]))]
for thread in crew + forkers:
    thread.start()
for thread in forkers:
    thread.join()
done.set()
for thread in crew:
    thread.join()
assert cache.stats().errors == other.stats().errors == {}
"""
    kept = run(program, tmp_path / "a.db", forkers)
    assert kept == names("child", 12)
    expect_on_disk(tmp_path / "a.db", kept)


@needs_fork
def test_processes_that_race_to_create_a_file(tmp_path: Path) -> None:
    program = """
def work(who, barrier):
    for turn in range(int(sys.argv[2])):
        barrier.wait(60)
        with opened(f"{path}{turn}") as cache:
            keep(cache, *[f"{turn}-{who}-{n}" for n in range(20)], *names(f"{turn}-common", 5))
            stats = cache.stats()
            assert (stats.errors, stats.skipped, stats.writes_unconfirmed) == ({}, {}, 0), stats

context = multiprocessing.get_context("fork")
barrier = context.Barrier(4)
crew = [context.Process(target=work, args=(who, barrier)) for who in range(4)]
for process in crew:
    process.start()
for process in crew:
    process.join()
assert [process.exitcode for process in crew] == [0, 0, 0, 0]
"""
    turns = 5 * ROUNDS
    kept = run(program, tmp_path / "db", turns, seconds=turns)
    for turn in range(turns):
        here = {key for key in kept if key.startswith(f"{turn}-")}
        assert len(here) == 4 * 20 + 5
        expect_on_disk(tmp_path / f"db{turn}", here)


CHANGES = {
    "update": 'cache.update, "p", "m", answer("new")',
    "delete": 'cache.delete, "p", "m"',
    "clear": "cache.clear,",
    "invalidate": 'lambda: cache.invalidate(namespace="n"),',
}


@needs_fork
@pytest.mark.parametrize(("how", "is_used"), [("update", False), *((how, True) for how in CHANGES)])
def test_siblings_of_a_fork_are_told_of_each_others_changes(
    how: str, is_used: bool, tmp_path: Path
) -> None:
    program = f"""
import time
cache = LLMCache(path, namespace="n", store_timeout=60)
if {is_used}:
    cache.update("other", "m", answer("other"))
(ready, set_ready), (changed, set_changed) = os.pipe(), os.pipe()
if (reader := os.fork()) == 0:
    cache.update("p", "m", answer("old"))
    assert cache.lookup("p", "m") == answer("old")
    os.write(set_ready, b"!")
    os.read(changed, 1)
    end = time.monotonic() + {patience()}
    while cache.lookup("p", "m") == answer("old"):
        assert time.monotonic() < end
        time.sleep(0.01)
    sys.exit(cache.close())
if (writer := os.fork()) == 0:
    os.read(ready, 1)
    change, *given = {CHANGES[how]}
    change(*given)
    os.write(set_changed, b"!")
    sys.exit(cache.close())
assert [os.waitpid(pid, 0)[1] for pid in (reader, writer)] == [0, 0]
"""
    run(program, tmp_path / "a.db")


LOCKED = '''
import signal, subprocess, time
from llmemo import lifecycle
from llmemo.stores.sqlite import connection
logging.disable()
HOLDER = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
print("!", flush=True)
sys.stdin.read(1)
"""
def unlock():
    with other:
        other.stdin.write(b"!")

connection.BUSY_TIMEOUT = {BUSY}
cache = opened()
keep(cache, *names("before", 5))
# Another process: what this one has open, a fork copies, with the locks that it believes in.
other = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=-1, stdout=-1)
other.stdout.read(1)
pending = threading.Thread(target=keep, args=(cache, "pending"))
pending.start()
while not cache._tiers.executor._worker._writes.in_flight:
    time.sleep(0.001)
'''
"""A program whose cache has a write under way when it finds the file locked."""


@needs_fork
@pytest.mark.parametrize("end", ["close", "kill"])
def test_a_child_that_was_forked_before_the_store_could_close_acknowledges_nothing(
    end: str, tmp_path: Path
) -> None:
    program = f"""
lifecycle.FORK_TIMEOUT = 0.1
free, set_free = os.pipe()
if (pid := os.fork()) == 0:
    os.read(free, 1)
    # What says that it is kept, is.
    for name in names("child", 50):
        keep(cache, name)
        time.sleep(0.005)
    fresh = opened()
    keep(fresh, *names("fresh", 5))
    assert "store_unusable" in cache.stats().errors and "store_unusable" in fresh.stats().errors
    os._exit(0)
unlock()
os.write(set_free, b"!")
pending.join()
keep(cache, *names("parent", 50))
if {end!r} == "close":
    cache.close()
assert os.waitpid(pid, 0)[1] == 0
if {end!r} == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""
    code = 0 if end == "close" else -signal.SIGKILL
    kept = run(LOCKED.replace("{BUSY}", "60") + program, tmp_path / "a.db", code=code)
    assert kept >= {"pending"} | names("before", 5) | names("parent", 50)
    expect_on_disk(tmp_path / "a.db", kept)


@needs_fork
def test_a_fork_while_the_file_is_locked_leaves_the_store_to_both(tmp_path: Path) -> None:
    program = """
free, set_free = os.pipe()
if (pid := os.fork()) == 0:
    os.read(free, 1)
    before = cache.stats().errors.get("store_unusable")
    keep(cache, *names("child", 5))
    assert cache.stats().errors.get("store_unusable") == before
    assert cache.lookup("child0", "m") == answer("child0")
    os._exit(0)
unlock()
os.write(set_free, b"!")
pending.join()
keep(cache, *names("parent", 5))
assert os.waitpid(pid, 0)[1] == 0
"""
    kept = run(LOCKED.replace("{BUSY}", "0.2") + program, tmp_path / "a.db")
    assert kept == {"pending"} | names("before", 5) | names("parent", 5) | names("child", 5)
    expect_on_disk(tmp_path / "a.db", kept)


@pytest.mark.anyio
async def test_what_is_sent_during_a_fork_is_done_when_it_is_over() -> None:
    """And no event loop waits for that: here, one that would then wait for ever."""
    held = Held("close")
    store = FakeStore()
    with LLMCache(FakeStore(held)) as other, LLMCache(store, max_bytes=0) as cache:
        other.update("p", "m", answer("p"))
        cache.update("before", "m", answer("before"))
        before, released = threading.Event(), threading.Event()

        def fork() -> None:
            lifecycle._before_fork()
            before.set()
            released.wait(LIMIT)
            lifecycle._after_fork_in_parent()

        forking = threading.Thread(target=fork)
        forking.start()
        await asyncio.to_thread(held.reached.wait, LIMIT)
        abandoned = asyncio.ensure_future(cache.aupdate("abandoned", "m", answer("abandoned")))
        calls = [asyncio.ensure_future(cache.aupdate(k, "m", answer(k))) for k in ("p0", "p1")]
        looking = asyncio.ensure_future(cache.alookup("before", "m"))
        await asyncio.sleep(0)
        abandoned.cancel()
        held.go.set()
        assert await asyncio.to_thread(before.wait, LIMIT)
        assert not any(call.done() for call in (*calls, looking))
        released.set()
        assert await asyncio.wait_for(looking, LIMIT) == answer("before")
        await asyncio.wait_for(asyncio.gather(*calls), LIMIT)
        for key in ("abandoned", "p0", "p1"):
            assert await cache.alookup(key, "m") == answer(key)
        assert (cache.stats().errors, cache.stats().writes_unconfirmed) == ({}, 0)
        forking.join(LIMIT)


def test_a_fork_does_not_wait_for_a_long_queue_and_loses_none_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifecycle, "FORK_DRAIN", 0.0)
    monkeypatch.setattr("llmemo.store_io.write_loop.MAX_RECORDS_PER_SET", 1)
    held = Held("set")
    store = FakeStore(held)
    with LLMCache(store, max_bytes=0, single_flight=False) as cache:
        threads = [
            threading.Thread(target=cache.update, args=(key, "m", answer(key)))
            for key in names("p", 5)
        ]
        for thread in threads:
            thread.start()
        assert held.reached.wait(LIMIT)
        go_on = threading.Event()

        def fork() -> None:
            lifecycle._before_fork()
            go_on.wait(LIMIT)
            lifecycle._after_fork_in_parent()

        forking = threading.Thread(target=fork)
        forking.start()
        engine = cache._tiers.executor
        assert engine is not None
        worker = engine._worker
        assert worker is not None
        while not worker._shutdown.hands_over:
            time.sleep(0.001)
        held.go.set()
        assert worker.finished.wait(LIMIT)
        assert store.sizes("set") == [1], "it was under way"
        go_on.set()
        for thread in threads:
            thread.join(LIMIT)
        assert store.sizes("set") == [1] * 5
        assert (cache.stats().errors, cache.stats().writes_unconfirmed) == ({}, 0)


def test_an_exit_takes_as_long_as_the_store_gets_on(tmp_path: Path) -> None:
    program = """
from llmemo import lifecycle
from llmemo.store_io import write_loop
from llmemo.stores import SQLiteStore
lifecycle.EXIT_TIMEOUT = 1.5
write_loop.MAX_RECORDS_PER_SET = 1

class Slow(SQLiteStore):
    async def set(self, records):
        await asyncio.sleep(0.2)
        await super().set(records)

async def main():
    global cache
    cache = LLMCache(Slow(path), max_bytes=0, single_flight=False)
    tasks = [asyncio.ensure_future(cache.aupdate(k, "m", answer(k))) for k in names("p", 10)]
    await asyncio.sleep(0)

asyncio.run(main())
for key in names("p", 10):
    say(key)
"""
    kept = run(program, tmp_path / "a.db")
    assert kept == names("p", 10)
    expect_on_disk(tmp_path / "a.db", kept)


def test_a_lookup_when_all_else_has_ended_is_a_miss(tmp_path: Path) -> None:
    program = """
class Late:
    def __del__(self):
        assert cache.lookup("p", "m") is None
        os.write(1, b"looked\\n")

cache, late = opened(), Late()
keep(cache, "p")
logging.disable()
"""
    assert run(program, tmp_path / "a.db") == {"p", "looked"}
    expect_on_disk(tmp_path / "a.db", ["p"])


@pytest.mark.parametrize("threads", [1, 4])
def test_daemons_that_go_on_looking_do_not_put_the_end_off(threads: int, tmp_path: Path) -> None:
    program = f"""
cache = opened()
keep(cache, *names("p", 20))

def go_on():
    while True:
        cache.lookup("p1", "m")

for _ in range({threads}):
    threading.Thread(target=go_on, daemon=True).start()
"""
    for _ in range(2):
        assert run(program, tmp_path / "a.db") == names("p", 20)
    expect_on_disk(tmp_path / "a.db", names("p", 20))

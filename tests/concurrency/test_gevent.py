"""Processes whose threads are greenlets: patched by gevent or eventlet, in real subprocesses."""

from __future__ import annotations

import importlib.util
import itertools
from typing import TYPE_CHECKING

import pytest
from support.doubles import FAST, PRELUDE, expect_on_disk, files, run
from support.slices import some

if TYPE_CHECKING:
    from pathlib import Path

PATCH = {
    name: f"""
import warnings
with warnings.catch_warnings():
    # Of being patched late, of being out of date, of forks.
    warnings.simplefilter("ignore")
    {statement}
warnings.filterwarnings("ignore", category=DeprecationWarning, message="Using fork")
"""
    for name, statement in {
        "gevent": "from gevent import monkey; monkey.patch_all()",
        "eventlet": "import eventlet; eventlet.monkey_patch()",
    }.items()
}
TOOLS = """
import time

async def sleep_a_bit():
    await asyncio.sleep(0.001)
    return "slept"

def crew(work, count):
    threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()

class Beats:
    \"\"\"Counts, in a greenlet of its own, for as long as the block lasts.\"\"\"

    def __enter__(self):
        self.count, self.is_over = 0, False
        self.thread = threading.Thread(target=self.beat)
        self.thread.start()
        return self

    def beat(self):
        while not self.is_over:
            self.count += 1
            time.sleep(0.001)

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join()
"""


# Each program costs an interpreter, with imports of its own: one library a day.
@pytest.fixture(params=some(list(PATCH), 2))
def library(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not here")
    return str(request.param)


def patched(
    library: str, program: str, tmp_path: Path, *, when: str = "first", seconds: float = 5
) -> set[str]:
    """Run a program on `tmp_path / "a.db"`, patched first, after the import, or where it says."""
    parts = [PRELUDE, TOOLS, program.replace("PATCH", PATCH[library])]
    parts.insert({"first": 0, "after the import": 1, "later": 3}[when], PATCH[library])
    if when == "later":
        del parts[3]
    script = tmp_path / "program.py"
    script.write_text("".join(parts))
    printed = run(script, tmp_path / "a.db", seconds=seconds, python=FAST)
    script.unlink()
    return printed


TWO_CACHES = """
assert asyncio.run(sleep_a_bit()) == "slept"
first, second = opened(), opened()
PATCH_HERE
for turn in range(3):
    keep(first, f"first{turn}")
    assert asyncio.run(sleep_a_bit()) == "slept"
    keep(second, f"second{turn}")
    assert second.lookup(f"first{turn}", "m") == answer(f"first{turn}")
    async def main():
        await akeep(second, f"async{turn}")
        assert await first.alookup(f"second{turn}", "m") == answer(f"second{turn}")
    asyncio.run(main())
for cache in (first, second):
    assert cache.stats().errors == {}, cache.stats()
assert first.close() == 0
assert asyncio.run(sleep_a_bit()) == "slept"
keep(second, "last")
"""


# It would say on stderr that it found locks which it could not patch: eventlet comes first.
@pytest.mark.parametrize(
    ("when", "library"),
    some([("first", "eventlet"), ("first", "gevent"), ("after the import", "gevent"),
          ("later", "gevent")], 2),
    indirect=["library"],
)  # fmt: skip
def test_the_users_event_loops_run_beside_two_caches(
    when: str, library: str, tmp_path: Path
) -> None:
    program = TWO_CACHES.replace("PATCH_HERE", "PATCH" if when == "later" else "")
    kept = patched(library, program, tmp_path, when=when)
    assert len(kept) == 10
    # Closed in order, though nobody has closed the second: SQLite removes -wal and -shm then.
    assert files(tmp_path) == ["a.db"]
    expect_on_disk(tmp_path / "a.db", kept)


def test_a_greenlet_that_waits_for_the_store_holds_up_no_other(
    library: str, tmp_path: Path
) -> None:
    program = """
import sqlite3
cache = opened()
keep(cache, "first")
lock = sqlite3.connect(path, isolation_level=None)
lock.execute("BEGIN IMMEDIATE")
with Beats() as beats:
    writer = threading.Thread(target=keep, args=(cache, "second"))
    writer.start()
    while beats.count < 100:  # For as long as the store is locked.
        time.sleep(0.001)
    assert writer.is_alive()
    lock.execute("ROLLBACK")
    writer.join(60)
def work(n):
    cache.update(f"w{n}", "m", answer(f"w{n}"))
    assert cache.lookup(f"w{n}", "m") == answer(f"w{n}")
crew(work, 50)
assert cache.stats().errors == {}, cache.stats()
"""
    assert patched(library, program, tmp_path, seconds=10) == {"first", "second"}
    expect_on_disk(tmp_path / "a.db", {"first", "second", *(f"w{n}" for n in range(50))})


def test_a_greenlet_waits_no_longer_than_the_time_out(library: str, tmp_path: Path) -> None:
    program = """
import sqlite3
cache = LLMCache(path, store_timeout=0.2)
keep(cache, "first")
lock = sqlite3.connect(path, isolation_level=None)
lock.execute("BEGIN IMMEDIATE")
logging.disable()
with Beats() as beats:
    cache.update("late", "m", answer("late"))
assert beats.count > 10
assert cache.stats().writes_unconfirmed == 1
lock.execute("ROLLBACK")
assert cache.close() == 0
"""
    patched(library, program, tmp_path, seconds=10)
    expect_on_disk(tmp_path / "a.db", {"first", "late"})


@pytest.mark.parametrize(
    ("store", "library"),
    some(list(itertools.product(["opened()", "LLMCache()"], PATCH)), 2),
    indirect=["library"],
)
def test_one_greenlet_computes_and_the_others_wait(
    store: str, library: str, tmp_path: Path
) -> None:
    program = f"""
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel
calls = []
class Slow(FakeListChatModel):
    def _generate(self, *args, **kwargs):
        calls.append(1)
        while beats.count < 50:
            time.sleep(0.001)
        return super()._generate(*args, **kwargs)
cache = {store}
set_llm_cache(cache)
model = Slow(responses=["one"])
said = []
with Beats() as beats:
    crew(lambda n: said.append(model.invoke("Count.").content), 20)
assert said == ["one"] * 20
assert len(calls) == 1, calls
assert cache.stats().hits == 19, cache.stats()
"""
    patched(library, program, tmp_path)


def test_a_time_out_of_gevents_ends_the_wait(tmp_path: Path) -> None:
    pytest.importorskip("gevent")
    program = """
import gevent
cache = LLMCache()
entered = gevent.event.Event()
def compute():
    assert cache.lookup("p", "m") is None
    entered.wait()
    cache.update("p", "m", answer("p"))
def impatient():
    with gevent.Timeout(0.05, False):
        cache.lookup("p", "m")
        return "too late"
    return "gave up"
def patient():
    return cache.lookup("p", "m")
holder = gevent.spawn(compute)
gevent.sleep(0)
asking = [gevent.spawn(impatient), gevent.spawn(patient)]
assert asking[0].get(timeout=60) == "gave up"
killed = gevent.spawn(patient)
gevent.sleep(0.01)
killed.kill()
entered.set()
assert asking[1].get(timeout=60) == answer("p")
holder.get()
"""
    patched("gevent", program, tmp_path)


def test_a_fork_of_a_patched_process(library: str, tmp_path: Path) -> None:
    program = """
cache = opened()
keep(cache, "parent0")
if (pid := os.fork()) == 0:
    assert cache.lookup("parent0", "m") == answer("parent0")
    keep(cache, "child0")
    assert cache.stats().errors == {}
    assert asyncio.run(sleep_a_bit()) == "slept"
    os._exit(cache.close())
assert os.waitpid(pid, 0)[1] == 0
keep(cache, "parent1")
assert cache.lookup("child0", "m") == answer("child0")
"""
    kept = patched(library, program, tmp_path)
    assert kept == {"parent0", "parent1", "child0"}
    expect_on_disk(tmp_path / "a.db", kept)


def test_the_threads_of_a_dropped_cache_end(library: str, tmp_path: Path) -> None:
    program = """
def real_threads():
    return len(os.listdir("/proc/self/task"))
def open_files():
    return len(os.listdir("/proc/self/fd"))
def one_cache(n):
    cache = opened(f"{path}{n}")
    keep(cache, f"p{n}")
one_cache(0)
before = None
for n in range(1, 6):
    one_cache(n)
    gc.collect()
    # A greenlet that yields, so that the interpreter is free.
    for _ in range(5000):
        if before is None or (real_threads(), open_files()) == before:
            break
        time.sleep(0.001)
    else:
        raise AssertionError((before, real_threads(), open_files()))
    if before is None:
        for _ in range(5000):
            if real_threads() == 1:
                break
            time.sleep(0.001)
        before = real_threads(), open_files()
"""
    if not __import__("pathlib").Path("/proc/self/task").is_dir():
        pytest.skip("needs /proc")
    assert len(patched(library, program, tmp_path, seconds=10)) == 6


def test_neither_is_imported_for_who_has_not(tmp_path: Path) -> None:
    program = """
cache = opened()
keep(cache, "p")
cache.close()
assert not {"gevent", "eventlet", "greenlet"} & set(sys.modules)
"""
    run(program, tmp_path / "a.db", is_forked=False)

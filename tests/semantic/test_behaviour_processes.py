"""Near matches of several processes on one file, after a fork, and when a process just ends."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from support import TESTS
from support.doubles import LIMIT, ROUNDS, run
from support.near import certify, keep, look, near_cache, semantic, told, wording

if TYPE_CHECKING:
    from pathlib import Path

    from llmemo import LLMCache

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

NEAR = f"""
sys.path.insert(0, {str(TESTS)!r})
from support.near import *
"""

CHECKS = 12 * ROUNDS
PROCESSES = 3


def elsewhere(program: str, path: Path, *args: object, **options: Any) -> set[str]:
    return run(NEAR + program, path, *args, **options)


def test_what_one_process_learns_another_serves(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with near_cache(path) as cache:
        assert look(cache, wording(1, "tides")) is None
        elsewhere(
            """
with near_cache(path) as cache:
    certify(cache)
    keep(cache, wording(0, "tides"))
""",
            path,
        )
        _eventually(cache, wording(2, "tides"), "all about tides")
        # What comes later is found at once.
        elsewhere("with near_cache(path) as cache: keep(cache, wording(0, 'moons'))", path)
        assert look(cache, wording(1, "moons")) == "all about moons"


def _eventually(cache: LLMCache, text: str, answer: str | None) -> None:
    """The certificates of other processes are looked at a few times a second."""
    end = time.monotonic() + LIMIT
    while look(cache, text) != answer:
        assert time.monotonic() < end
        time.sleep(0.02)


ADD = """
who, count = sys.argv[2], int(sys.argv[3])
with near_cache(path, semantic=semantic(max_error=0.01, confidence=0.99)) as cache:
    for number in range(count):
        topic = f"{who}topic" + "x" * number
        assert ask(cache, wording(0, topic)) is None
        assert ask(cache, wording(1, topic), answer="another" if number % 4 == 3 else None) is None
    assert told(cache).checks == count
    assert cache.stats().errors == {}, cache.stats()
"""


def test_the_verdicts_of_all_processes_add_up(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    names = [chr(ord("a") + number) for number in range(PROCESSES)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        list(pool.map(lambda name: elsewhere(ADD, path, name, CHECKS), names))
    with near_cache(path, semantic=semantic(max_error=0.01, confidence=0.99)) as cache:
        look(cache, wording(0, "tides"))
        tier = cache._tiers.semantic
        assert tier is not None
        certificate = tier.certification.certificate
        assert certificate.checks == PROCESSES * CHECKS
        assert certificate.wrong == PROCESSES * (CHECKS // 4)


REMOVALS = {
    "clear": "cache.clear()",
    "delete": "assert cache.delete(wording(0, 'tides'), 'm')",
    "invalidate": "assert cache.invalidate(llm_string='m')",
}


@pytest.mark.parametrize("removal", ["clear", "delete", "invalidate"])
@pytest.mark.parametrize("settings", [{}, {"max_bytes": 0}])
def test_what_another_process_removes_is_not_served(
    tmp_path: Path, removal: str, settings: dict[str, Any]
) -> None:
    path = tmp_path / "cache.db"
    with near_cache(path, **settings) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
        assert look(cache, wording(1, "tides")) == "all about tides"
        elsewhere(f"with near_cache(path) as cache: {REMOVALS[removal]}", path)
        if settings:
            assert look(cache, wording(2, "tides")) is None
        else:
            # The memory of a process follows its file within some milliseconds.
            _eventually(cache, wording(2, "tides"), None)
        assert look(cache, wording(3, "tides")) is None


FORK = """
cache = near_cache(path if sys.argv[2] == "store" else None)
certify(cache)
keep(cache, wording(0, "tides"))
stop = threading.Event()
def work():
    number = 0
    while not stop.is_set():
        number += 1
        ask(cache, f"explain busy{number}")
crew = [threading.Thread(target=work) for _ in range(2)]
for thread in crew:
    thread.start()
for turn in range(int(sys.argv[3])):
    if (pid := os.fork()) == 0:
        assert look(cache, wording(1, "tides")) == "all about tides"
        topic = f"child{turn}" + "x" * turn
        assert ask(cache, wording(0, topic)) is None
        assert look(cache, wording(1, topic)) == f"all about {topic}"
        assert cache.stats().errors == {}, cache.stats()
        os._exit(cache.close())
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in crew:
    thread.join()
assert look(cache, wording(2, "tides")) == "all about tides"
assert cache.stats().errors == {}, cache.stats()
cache.close()
"""


@needs_fork
@pytest.mark.parametrize("where", ["memory", "store"])
def test_both_sides_of_a_fork_go_on(tmp_path: Path, where: str) -> None:
    elsewhere(FORK, tmp_path / "cache.db", where, 4 * ROUNDS, seconds=2 * ROUNDS)


ENDS = """
logging.getLogger("llmemo").setLevel(logging.ERROR)  # It tells of a slow embedder.
hangs, never = threading.Event(), threading.Event()
def hang(*args):
    hangs.set()
    never.wait()
    return True
kind = sys.argv[2]
settings = semantic(Meaning(hang), timeout=0.05) if kind == "embedder" else semantic(judge=hang)
cache = near_cache(path, semantic=settings)
keep(cache, wording(0, "tides"))
assert ask(cache, wording(1, "tides")) is None
assert hangs.wait(60)

"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["pass", "sys.exit(0)", "del cache", "cache.close(0.1)"])
@pytest.mark.parametrize("kind", ["embedder", "judge"])
def test_a_process_ends_whatever_hangs(tmp_path: Path, kind: str, end: str) -> None:
    begun = time.monotonic()
    elsewhere(ENDS + end, tmp_path / "cache.db", kind)
    assert time.monotonic() - begun < LIMIT
    with near_cache(tmp_path / "cache.db", max_bytes=0) as cache:
        assert look(cache, wording(0, "tides")) == "all about tides"
        assert look(cache, wording(1, "tides")) == "all about tides"


def test_a_cache_of_async_code_in_two_processes(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with near_cache(path) as cache:
        certify(cache)
    elsewhere("with near_cache(path) as cache: keep(cache, wording(0, 'tides'))", path)

    async def main() -> str | None:
        async with near_cache(path) as cache:
            hit = await cache.alookup(wording(1, "tides"), "m")
            assert told(cache).hits == (hit is not None)
            return None if hit is None else hit[0].text

    assert asyncio.run(main()) == "all about tides"


def test_other_settings_have_certificates_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with near_cache(path) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
    for other in ({"max_error": 0.4}, {"confidence": 0.6}, {"judge": lambda stored, fresh: True}):
        with near_cache(path, semantic=semantic(**other)) as cache:
            assert look(cache, wording(1, "tides")) is None
            assert told(cache).threshold is None
    for same in ({"shadow": 1e-8}, {"timeout": 20}, {}):
        with near_cache(path, semantic=semantic(**same)) as cache:
            assert look(cache, wording(1, "tides")) == "all about tides"

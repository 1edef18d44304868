"""What a new process waits for: the import, and its first lookup beside later ones.

    .venv/bin/python benches/cold_start.py [ROUNDS]

Each figure is of a fresh process, in turns, with bytecode that was written before. By default 15
rounds. Prints medians and minima: on a busy machine, compare the minima. Before the lookups, Python
collects garbage: else a collection of all that was imported (20 ms) may fall into the first one.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

CLOCK = """
import sys, time
clock = time.perf_counter
start = clock()
"""

IMPORTS = {
    "import langchain_core.caches": "import langchain_core.caches",
    "import llmemo": "import llmemo",
    "import LLMCache": "from llmemo import LLMCache",
    "import a chat model": "import langchain_core.language_models.chat_models",
    "import a chat model, and LLMCache": (
        "import langchain_core.language_models.chat_models\nfrom llmemo import LLMCache"
    ),
}
TELL_IMPORT = "\nprint(clock() - start)"

LATER = 40
"""Lookups after the first."""

LOOKUPS = """
import gc, statistics
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from llmemo import LLMCache, SQLiteStore

def answer(number):
    return [ChatGeneration(message=AIMessage(f"answer {number}"))]

def timed(run, *arguments):
    start = clock()
    found = run(*arguments)
    taken.append(clock() - start)
    return found

taken = []
gc.collect()
"""
TELL_LOOKUPS = "\nprint(taken[0], statistics.median(taken[1:]))"

IN_MEMORY = f"""
cache = LLMCache()
for number in range({LATER} + 1):
    cache.update(f"prompt {{number}}", "model", answer(number))
assert all(timed(cache.lookup, f"prompt {{number}}", "model") for number in range({LATER} + 1))
"""

MISSES = f"""
cache = LLMCache()
assert not any(timed(cache.lookup, f"prompt {{number}}", "model") for number in range({LATER} + 1))
"""

IN_FILE = f"""
cache = LLMCache(sys.argv[1])
assert all(timed(cache.lookup, f"prompt {{number}}", "model") for number in range({LATER} + 1))
cache.close()
"""

FILL = f"""
with LLMCache(sys.argv[1]) as cache:
    for number in range({LATER} + 1):
        cache.update(f"prompt {{number}}", "model", answer(number))
"""

INVOKED = f"""
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListChatModel
model = FakeListChatModel(responses=["answer"], cache={{cache}})
for number in range({LATER} + 1):
    timed(model.invoke, f"prompt {{{{number}}}}")
"""

FIRST = {
    "hit in memory": IN_MEMORY,
    "miss in memory": MISSES,
    "hit in an SQLite file": IN_FILE,
    "invoke with LLMCache": INVOKED.format(cache="LLMCache()"),
    "invoke with InMemoryCache": INVOKED.format(cache="InMemoryCache()"),
}


class Runner:
    """Runs programs, each in a fresh process, whose bytecode is kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "cache.db"
        self._environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder)}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(self, program: str) -> list[float]:
        """The numbers that a program prints."""
        done = subprocess.run(
            [sys.executable, "-c", CLOCK + program, self._path],
            capture_output=True,
            text=True,
            check=True,
            env=self._environment,
        )
        return [float(number) for number in done.stdout.split()]

    def in_turns(self, programs: dict[str, str], rounds: int) -> dict[str, list[list[float]]]:
        """What each of these prints in each round."""
        for program in programs.values():
            self.run(program)
        found: dict[str, list[list[float]]] = {name: [] for name in programs}
        for _ in range(rounds):
            for name, program in programs.items():
                found[name].append(self.run(program))
        return found


def shown(seconds: list[float], others: list[float]) -> str:
    """Median and minimum, each also by that of the others."""
    return "  ".join(
        f"{word} {of(seconds) * 1e3:8.2f} ms ({of(seconds) / of(others):6.2f}x)"
        for word, of in (("median", statistics.median), ("minimum", min))
    )


def report_imports(runner: Runner, rounds: int) -> None:
    """Print how long imports take."""
    programs = {name: program + TELL_IMPORT for name, program in IMPORTS.items()}
    found = {
        name: [it[0] for it in all_] for name, all_ in runner.in_turns(programs, rounds).items()
    }
    for name, seconds in found.items():
        base = "import a chat model" if "chat" in name else "import langchain_core.caches"
        print(f"{name:32} {shown(seconds, found[base])}")


def report_lookups(runner: Runner, rounds: int) -> None:
    """Print how long the first lookup takes, and a later one."""
    runner.run(LOOKUPS + FILL)
    programs = {name: LOOKUPS + program + TELL_LOOKUPS for name, program in FIRST.items()}
    for name, all_ in runner.in_turns(programs, rounds).items():
        first, later = [it[0] for it in all_], [it[1] for it in all_]
        print(f"first {name:26} {shown(first, later)}")


def main() -> None:
    """See the module."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Path(folder))
        report_imports(runner, rounds)
        print("The first of a process, and how many times a later one that is:")
        report_lookups(runner, rounds)


if __name__ == "__main__":
    main()

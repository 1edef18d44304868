"""Two builds of llmemo side by side, in turns: what a change costs.

    python benches/builds.py OLD_PYTHON NEW_PYTHON

Each argument is the interpreter of an environment with one of the builds and langchain-openai. A
process for each build answers the same calls; the two take turns, round by round, so that whatever
else the machine does meets both. Prints the median of each, and the median of their ratios.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 60
"""How often each build does each row."""

ROW_SECONDS = 0.05
"""About how long a round takes."""

ASKED = {"memory hit, by hand": 1.1, "accelerated ainvoke": 1.03}
"""The largest ratio that was asked for."""


def rows() -> dict[str, Callable[[int], None]]:
    """What is measured: each does so many calls."""
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration, ChatResult
    from langchain_openai import ChatOpenAI

    from llmemo import LLMCache, accelerate

    generations = [ChatGeneration(message=AIMessage("x" * 1000))]
    cache = LLMCache()
    prompt, text = "p" * 1000, "[('model', 'gpt-4o'), ('stop', None)]"
    cache.update(prompt, text, generations)

    async def answer(*args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=generations)

    # Not in a subclass: people use the class itself.
    ChatOpenAI._agenerate = answer  # type: ignore[method-assign]
    model = ChatOpenAI(model="gpt-4o", api_key="k", cache=cache)  # type: ignore[arg-type]
    accelerate()
    loop = asyncio.new_event_loop()

    async def ask(count: int, messages: Any) -> None:
        for _ in range(count):
            await model.ainvoke(messages)

    def by_hand(count: int) -> None:
        lookup = cache.lookup
        for _ in range(count):
            lookup(prompt, text)

    history = [("human", f"message {number} " + "x" * 400) for number in range(100)]
    return {
        "memory hit, by hand": by_hand,
        "accelerated ainvoke": lambda count: loop.run_until_complete(ask(count, "hello")),
        "accelerated ainvoke, 100 messages": lambda count: loop.run_until_complete(
            ask(count, history)
        ),
    }


def work() -> None:
    """Answer lines `row count` with the seconds that they took."""
    known = rows()
    for row in known.values():
        row(20)
    print("ready", flush=True)
    for line in sys.stdin:
        name, _, count = line.rpartition(" ")
        start = time.perf_counter()
        known[name](int(count))
        print(time.perf_counter() - start, flush=True)


class Build:
    """A process with one of the builds."""

    def __init__(self, python: str) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [str(Path(python).absolute()), str(Path(__file__).resolve()), "--work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        self._answer()

    def seconds(self, row: str, count: int) -> float:
        """How long so many calls take."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{row} {count}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def compare(old_python: str, new_python: str) -> None:
    """Print a line for each row."""
    old, new = Build(old_python), Build(new_python)
    names = ["memory hit, by hand", "accelerated ainvoke", "accelerated ainvoke, 100 messages"]
    for name in names:
        count = max(1, int(20 * ROW_SECONDS / old.seconds(name, 20)))
        pairs = []
        for turn in range(ROUNDS):
            builds = (old, new) if turn % 2 else (new, old)
            took = {build: build.seconds(name, count) / count for build in builds}
            pairs.append((took[old], took[new]))
        before, after = (statistics.median(it) * 1e6 for it in zip(*pairs, strict=True))
        ratio = statistics.median(it[1] / it[0] for it in pairs)
        asked = f" (asked: <= {ASKED[name]})" if name in ASKED else ""
        print(f"{name}: {before:.2f} us before, {after:.2f} us now, {ratio:.3f}x{asked}")
    old.stop()
    new.stop()


if __name__ == "__main__":
    if sys.argv[1:] == ["--work"]:
        work()
    else:
        compare(*sys.argv[1:3])

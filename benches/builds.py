"""Two builds of llmemo side by side, in turns: what a change costs.

    python benches/builds.py OLD_PYTHON NEW_PYTHON [ROW…]

Each argument is the interpreter of an environment with one of the builds and langchain-openai. A
process for each build answers the same calls; the two take turns, round by round, so that whatever
else the machine does meets both. Prints the median of each, the median of their ratios, and the
ratio of their minima, which noise moves least.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

ROUNDS = 60
"""How often each build does each row."""

ROW_SECONDS = 0.05
"""About how long a round takes."""

FEW_ROUNDS = 20
"""The same, of what takes longer than a round."""

WARM_UP = 50
"""Calls before the first round."""

TEXT = "[('model', 'gpt-4o'), ('stop', None)]"

ASKED = {"memory hit, by hand": 1.1, "accelerated ainvoke": 1.03}
"""The largest ratio that was asked for."""


def rows(folder: str, caches: contextlib.ExitStack) -> dict[str, Callable[[int], None]]:
    """The rows: each function makes `count` calls. `folder`: where stores may be made."""
    return {
        **memory_rows(),
        **store_rows(folder, caches),
        **model_rows(),
        "import llmemo": import_often,
    }


def memory_rows() -> dict[str, Callable[[int], None]]:
    """By hand, without a store."""
    from llmemo import LLMCache
    from llmemo._core import decode, encode

    cache, generations, numbers = LLMCache(), answer(), itertools.count()
    prompt, key = "p" * 1000, bytes(32)
    cache.update(prompt, TEXT, generations)
    value = encode(generations, key)

    def hit(count: int) -> None:
        lookup = cache.lookup
        for _ in range(count):
            lookup(prompt, TEXT)

    def miss(count: int) -> None:
        for _ in range(count):
            name = f"{next(numbers)} {prompt}"
            cache.lookup(name, TEXT)
            cache.update(name, TEXT, generations)

    def encoded(count: int) -> None:
        for _ in range(count):
            encode(generations, key)

    def decoded(count: int) -> None:
        for _ in range(count):
            decode(value, key)

    return {
        "memory hit, by hand": hit,
        "memory miss and update": miss,
        "encode": encoded,
        "decode": decoded,
    }


def store_rows(folder: str, caches: contextlib.ExitStack) -> dict[str, Callable[[int], None]]:
    """A file without a memory tier: each call goes to the store."""
    from llmemo import LLMCache

    cache = caches.enter_context(LLMCache(f"{folder}/c.db", max_bytes=0))
    generations, numbers = answer(), itertools.count()
    loop = asyncio.new_event_loop()
    names = [f"{number} " + "p" * 1000 for number in range(64)]
    for name in names:
        cache.update(name, TEXT, generations)

    def hit(count: int) -> None:
        for number in range(count):
            cache.lookup(names[number % 64], TEXT)

    async def hits() -> None:
        await asyncio.gather(*(cache.alookup(name, TEXT) for name in names))

    def update(count: int) -> None:
        for _ in range(count):
            cache.update(f"{next(numbers)} new", TEXT, generations)

    def miss(count: int) -> None:
        for _ in range(count):
            cache.lookup(f"{next(numbers)} never", TEXT)

    async def misses(count: int) -> None:
        for _ in range(count):
            # In a task of its own, as a service has one for each request.
            await asyncio.create_task(cache.alookup(f"{next(numbers)} never", TEXT))

    async def updates() -> None:
        new = [f"{next(numbers)} new" for _ in names]
        await asyncio.gather(*(cache.aupdate(name, TEXT, generations) for name in new))

    def repeat(work: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
        for _ in range(count):
            loop.run_until_complete(work())

    return {
        "persistent hit, sync": hit,
        "64 persistent hits at once": functools.partial(repeat, hits),
        "persistent miss, sync": miss,
        "persistent miss, async": lambda count: loop.run_until_complete(misses(count)),
        "durable update, sync": update,
        "64 durable updates at once": functools.partial(repeat, updates),
    }


def model_rows() -> dict[str, Callable[[int], None]]:
    """A chat model of langchain-openai that hits, in memory."""
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.outputs import ChatResult
    from langchain_openai import ChatOpenAI

    from llmemo import LLMCache, accelerate

    async def generate(*args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=answer())

    # Not in a subclass: people use the class itself.
    ChatOpenAI._agenerate = generate  # type: ignore[method-assign]
    model = ChatOpenAI(model="gpt-4o", api_key="k", cache=LLMCache())  # type: ignore[arg-type]
    loop = asyncio.new_event_loop()
    install = functools.cache(accelerate)
    history = [("human", f"message {number} " + "x" * 400) for number in range(100)]

    async def ask(count: int, messages: Any, config: Any = None) -> None:
        for _ in range(count):
            await model.ainvoke(messages, config)

    def plain(messages: Any, count: int, *handlers: Any) -> None:
        loop.run_until_complete(ask(count, messages, {"callbacks": list(handlers)}))

    def handled(count: int) -> None:
        plain("hello", count, BaseCallbackHandler())

    def traced(count: int) -> None:
        from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

        plain("hello", count, RunCollectorCallbackHandler())

    def accelerated(messages: Any, count: int) -> None:
        # For good: the rows before this one are measured by now.
        install()
        loop.run_until_complete(ask(count, messages))

    return {
        "ainvoke": functools.partial(plain, "hello"),
        "ainvoke, a handler that traces nothing": handled,
        "ainvoke, a tracer": traced,
        "ainvoke, 100 messages": functools.partial(plain, history),
        "accelerated ainvoke": functools.partial(accelerated, "hello"),
        "accelerated ainvoke, 100 messages": functools.partial(accelerated, history),
    }


def answer() -> list[Any]:
    """1 KB."""
    from langchain_core.messages import AIMessage
    from langchain_core.outputs import ChatGeneration

    return [ChatGeneration(message=AIMessage("x" * 1000))]


def import_often(count: int) -> None:
    """In a process of its own each."""
    for _ in range(count):
        subprocess.run([sys.executable, "-c", "import llmemo"], check=True)


def work() -> None:
    """Answer lines `row count` with the seconds that they took."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as caches:
        known = rows(folder, caches)
        print("|".join(known), flush=True)
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
        self.rows = self._answer().strip().split("|")

    def seconds(self, row: str, count: int) -> float:
        """Time for `count` calls, in seconds."""
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


def compare(old_python: str, new_python: str, *names: str) -> None:
    """Print a line for each row, or for those of these names."""
    old, new = Build(old_python), Build(new_python)
    for name in names or old.rows:
        for build in (old, new):
            build.seconds(name, 1 if "import" in name else WARM_UP)
        count = max(1, int(5 * ROW_SECONDS / old.seconds(name, 5)))
        pairs = []
        for turn in range(ROUNDS if count > 1 else FEW_ROUNDS):
            builds = (old, new) if turn % 2 else (new, old)
            took = {build: build.seconds(name, count) / count for build in builds}
            pairs.append((took[old], took[new]))
        before, after = (statistics.median(it) * 1e6 for it in zip(*pairs, strict=True))
        ratio = statistics.median(it[1] / it[0] for it in pairs)
        asked = f" (asked: <= {ASKED[name]})" if name in ASKED else ""
        best = min(it[1] for it in pairs) / min(it[0] for it in pairs)
        print(
            f"{name}: {before:.2f} us before, {after:.2f} us now, {ratio:.3f}x,"
            f" of minima {best:.3f}x{asked}",
            flush=True,
        )
    old.stop()
    new.stop()


if __name__ == "__main__":
    if sys.argv[1:] == ["--work"]:
        work()
    else:
        compare(*sys.argv[1:])

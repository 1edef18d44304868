"""Processes that share a Redis server: each calls a model through a cache, and says what it did."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from support.doubles import LIMIT
from support.nursery import Child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORK = """
import asyncio, json, logging, os, random, sys, threading
from langchain_core.outputs import Generation
from llmemo import LLMCache

url, callers, keys, model_seconds, text_bytes, settings = sys.argv[1], *map(eval, sys.argv[2:])
logging.disable()
calls, wrong, rounds, is_over = {}, [], 0, threading.Event()

def answer(key):
    # Such that it hardly gets smaller.
    padding = random.Random(key).randbytes(text_bytes // 2).hex()
    return [Generation(text=f"answer to {key} {padding}")]

async def ask(cache, key):
    found = await cache.alookup(key, "m")
    if found is None:
        calls[key] = calls.get(key, 0) + 1
        await asyncio.sleep(model_seconds)
        await cache.aupdate(key, "m", answer(key))
    elif found != answer(key):
        wrong.append((key, str(found)))

async def main():
    global rounds
    async with LLMCache(url, **settings) as cache:
        os.write(1, b"ready\\n")
        await asyncio.to_thread(sys.stdin.readline)
        threading.Thread(target=lambda: (sys.stdin.readline(), is_over.set())).start()
        while True:
            await asyncio.gather(*[ask(cache, f"k{n}") for n in range(keys) for _ in range(callers)])
            rounds += 1
            if is_over.is_set():
                break
            await asyncio.sleep(0.02)
        stats = cache.stats()
    os.write(1, json.dumps(dict(
        calls=calls, wrong=wrong, rounds=rounds, errors=stats.errors,
    )).encode() + b"\\n")

asyncio.run(main(), debug=False)
"""


class Fleet:
    """Some processes on one URL, each of N callers for each of K keys, again and again."""

    def __init__(
        self,
        url: str,
        processes: int = 4,
        *,
        callers: int = 50,
        keys: int = 10,
        model_seconds: float = 0.2,
        text_bytes: int = 0,
        **settings: Any,
    ) -> None:
        """Start them. They wait for `go`."""
        words = map(repr, (callers, keys, model_seconds, text_bytes, settings))
        arguments = [url, *words]
        self._crew = [Child(WORK, *arguments) for _ in range(processes)]
        for one in self._crew:
            assert one.stdout.readline() == "ready\n"

    def go(self) -> None:
        """Have all begin at about the same time."""
        self._tell()

    def _tell(self) -> None:
        for one in self._crew:
            one.stdin.write("go\n")
            one.stdin.flush()

    def told(self) -> list[dict[str, Any]]:
        """End them after the round under way; what each has done."""
        self._tell()
        said = [json.loads(one.communicate(LIMIT)[0]) for one in self._crew]
        assert [one.returncode for one in self._crew] == [0] * len(said)
        return said

    def kill(self) -> None:
        """End what has not ended."""
        for one in self._crew:
            one.kill()
            one.communicate()


@contextlib.contextmanager
def fleet(url: str, processes: int = 4, **options: Any) -> Iterator[Fleet]:
    """A fleet of which nothing is left behind."""
    made = Fleet(url, processes, **options)
    try:
        yield made
    finally:
        made.kill()


def calls_of(told: list[dict[str, Any]]) -> Counter[str]:
    """How often all of them together have called the model, by key."""
    return sum((Counter(one["calls"]) for one in told), Counter())


def within(seconds: float, is_so: Callable[[], Any]) -> float:
    """Wait until it is so; returns after how many seconds, or fails."""
    start = time.monotonic()
    while not is_so():
        passed = time.monotonic() - start
        assert passed < seconds, f"not within {seconds:g} s"
        time.sleep(0.01)
    return time.monotonic() - start

"""What a miss in memory takes in a task that has looked up thousands, and has updated none of them.

    .venv/bin/python benches/held.py

Prints a line for each kind of caller, with a column for each number of earlier lookups. A line
should have about the same figure in all columns. The figures are the best of some turns, in which
the columns alternate.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import time
from typing import TYPE_CHECKING

from langchain_core.language_models import FakeListChatModel
from langchain_core.outputs import Generation
from rich.console import Console
from rich.table import Table

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

HELD = (0, 1_000, 5_000)
"""Earlier lookups."""

MISSES = 200
TURNS = 15

numbers = itertools.count()


def names(count: int) -> list[str]:
    """Prompts of 1 KB that were never asked before."""
    return [f"{next(numbers)} " + "p" * 1000 for _ in range(count)]


def look_up(cache: LLMCache, count: int) -> float:
    """Seconds for one miss."""
    prompts = names(count)
    start = time.perf_counter()
    for prompt in prompts:
        cache.lookup(prompt, "model")
    return (time.perf_counter() - start) / max(1, count)


async def await_lookups(cache: LLMCache, count: int) -> float:
    """The same of a task."""
    prompts = names(count)
    start = time.perf_counter()
    for prompt in prompts:
        await cache.alookup(prompt, "model")
    return (time.perf_counter() - start) / max(1, count)


def in_thread(cache: LLMCache, held: int) -> float:
    look_up(cache, held)
    return look_up(cache, MISSES)


def with_update(cache: LLMCache, held: int) -> float:
    look_up(cache, held)
    prompts, answer = names(MISSES), [Generation(text="an answer")]
    start = time.perf_counter()
    for prompt in prompts:
        cache.lookup(prompt, "model")
        cache.update(prompt, "model", answer)
    return (time.perf_counter() - start) / MISSES


def by_model(cache: LLMCache, held: int) -> float:
    """Calls of a model: each begins a run, to stand behind what has none."""
    look_up(cache, held)
    model = FakeListChatModel(responses=["an answer"], cache=cache)
    prompts = names(MISSES // 10)
    start = time.perf_counter()
    for prompt in prompts:
        model.invoke(prompt)
    return (time.perf_counter() - start) / len(prompts)


async def in_task(cache: LLMCache, held: int) -> float:
    await await_lookups(cache, held)
    return await await_lookups(cache, MISSES)


async def in_child(cache: LLMCache, held: int) -> float:
    await await_lookups(cache, held)
    return await asyncio.create_task(await_lookups(cache, MISSES))


async def beside_parent(cache: LLMCache, held: int) -> float:
    """In a child that was begun before its parent looked all that up."""
    go = asyncio.Event()

    async def child() -> float:
        await go.wait()
        return await await_lookups(cache, MISSES)

    await await_lookups(cache, 1)
    task = asyncio.create_task(child())
    await await_lookups(cache, held)
    go.set()
    return await task


def awaited(
    work: Callable[[LLMCache, int], Coroutine[None, None, float]],
) -> Callable[[LLMCache, int], float]:
    return lambda cache, held: asyncio.run(work(cache, held))


ROWS: dict[str, Callable[[LLMCache, int], float]] = {
    "a thread": in_thread,
    "a thread, miss and update": with_update,
    "a thread, call of a model": by_model,
    "a task": awaited(in_task),
    "a task, its parent has looked up": awaited(in_child),
    "a task, its parent goes on": awaited(beside_parent),
}


def measure(work: Callable[[LLMCache, int], float], held: int) -> float:
    """Seconds for one operation, in a context that holds nothing else."""
    with LLMCache() as cache:
        gc.collect()
        gc.disable()
        try:
            return contextvars.Context().run(work, cache, held)
        finally:
            gc.enable()


def main() -> None:
    table = Table(title="a miss in memory, by what its caller has looked up before")
    table.add_column("")
    for held in HELD:
        table.add_column(f"{held:,}", justify="right")
    for name, work in ROWS.items():
        taken: dict[int, list[float]] = {held: [] for held in HELD}
        for _ in range(TURNS):
            for held in HELD:
                taken[held].append(measure(work, held))
        table.add_row(name, *(f"{min(taken[held]) * 1e6:.1f} µs" for held in HELD))
    Console().print(table)


if __name__ == "__main__":
    main()

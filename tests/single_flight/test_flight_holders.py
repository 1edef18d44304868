"""Who is trusted to bring an answer: a holder that gets on, for as long as it takes."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from support.callers import slots_of
from support.doubles import LIMIT
from support.scripted import Scripted, queued, said
from test_flight_executors import SyncOnly, beside, in_time, native, small_pool

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Tool = Callable[[], object]
    Atool = Callable[[], Awaitable[object]]

pytestmark = pytest.mark.anyio

WORKS = 0.8
"""Seconds that a model works: more than what one that stands still is given, twice."""


async def _in_executor(tool: Tool, atool: Atool) -> None:
    await asyncio.get_running_loop().run_in_executor(None, tool)


async def _in_executor_for_a_time(tool: Tool, atool: Atool) -> None:
    await asyncio.wait_for(_in_executor(tool, atool), LIMIT)


async def _among_others(tool: Tool, atool: Atool) -> None:
    await asyncio.gather(asyncio.sleep(0), asyncio.shield(_in_executor(tool, atool)))


async def _in_a_loop_of_its_own(tool: Tool, atool: Atool) -> None:
    await _in_executor(lambda: asyncio.run(atool()), atool)  # type: ignore[arg-type]


async def _back_on_the_loop(tool: Tool, atool: Atool) -> None:
    loop = asyncio.get_running_loop()

    def run() -> None:
        asyncio.run_coroutine_threadsafe(atool(), loop).result()  # type: ignore[arg-type]

    await _in_executor(run, atool)


@pytest.mark.slow
@pytest.mark.parametrize(
    "use",
    [
        _in_executor,
        _in_executor_for_a_time,
        _among_others,
        _in_a_loop_of_its_own,
        _back_on_the_loop,
    ],
)
async def test_an_async_holders_tool_that_asks_what_it_asks(
    use: Callable[[Tool, Atool], Awaitable[None]],
) -> None:
    async def act() -> None:
        if len(model.asked) == 1:
            await use(lambda: model.invoke("Hello."), lambda: model.ainvoke("Hello."))

    model = native(act)
    with in_time(model):
        await model.ainvoke("Hello.")


def _batch(model: Scripted) -> None:
    model.batch(["Hello."] * 2)


def _run_elsewhere(model: Scripted) -> None:
    with ThreadPoolExecutor(1) as executor:
        executor.submit(asyncio.run, model.ainvoke("Hello.")).result()


@pytest.mark.slow
@pytest.mark.parametrize("call", [_batch, _run_elsewhere])
async def test_a_holder_whose_loop_is_blocked_by_what_waits_for_it(
    call: Callable[[Scripted], None],
) -> None:
    async def act() -> None:
        await asyncio.sleep(0)

    model = native(act)
    first = asyncio.ensure_future(model.ainvoke("Hello."))
    while not model.asked:  # noqa: ASYNC110
        await asyncio.sleep(0)
    with in_time(model):
        call(model)
        await first


def _work(text: str) -> str:
    time.sleep(WORKS)
    return "Good day."


def briefly(text: str) -> str:
    time.sleep(WORKS / 4)
    return "Good day."


def _threads(model: Scripted) -> None:
    threads = [threading.Thread(target=model.invoke, args=("Hello.",)) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _queue(model: Scripted) -> None:
    with ThreadPoolExecutor(3) as executor:
        list(executor.map(model.invoke, ["Hello."] * 12))


def _small_batch(model: Scripted) -> None:
    model.batch(["Hello."] * 12, {"max_concurrency": 3})


def _busy_helper(model: Scripted) -> None:
    """A model that has a thread of its own work, as those do that wrap an async client."""
    with ThreadPoolExecutor(1) as executor:
        model.act = lambda text: executor.submit(_work, text).result()
        _threads(model)


@pytest.mark.slow
@pytest.mark.parametrize("call", [_threads, _queue, _small_batch, _busy_helper])
def test_a_thread_that_works_is_waited_for(call: Callable[[Scripted], None]) -> None:
    model = Scripted(act=_work, cache=LLMCache())
    with in_time(model, 1, is_trusted=True):
        call(model)


@pytest.mark.slow
async def test_a_task_that_waits_for_the_network_is_waited_for_by_threads() -> None:
    async def act() -> None:
        await asyncio.sleep(WORKS)

    small_pool(3)
    model = native(act)
    with in_time(model, 1, is_trusted=True):
        await beside(model, *(asyncio.to_thread(model.invoke, "Hello.") for _ in range(3)))


@pytest.mark.slow
@pytest.mark.parametrize("in_thread", [asyncio.to_thread, anyio.to_thread.run_sync])
async def test_a_task_whose_thread_works_is_waited_for(in_thread: Any) -> None:
    small_pool(3)
    model = SyncOnly(act=_work, cache=LLMCache())
    with in_time(model, 1, is_trusted=True):
        await beside(model, *(in_thread(model.invoke, "Hello.") for _ in range(2)))


@pytest.mark.slow
async def test_a_queue_of_work_is_no_reason_to_work_twice() -> None:
    small_pool(1)
    model = SyncOnly(act=briefly, cache=LLMCache())
    with in_time(model, 5, is_trusted=True):
        await asyncio.gather(*(model.ainvoke(f"Hello {n % 5}.") for n in range(10)))


@pytest.mark.slow
async def test_the_view_of_another_cache_on_the_same_file(tmp_path: Path) -> None:
    """The lease is the store's here; the threads are the same."""

    async def act() -> None:
        while not others.stats().misses and not waits.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.get_running_loop().run_in_executor(None, int)

    waits = threading.Event()
    small_pool(1)
    model = native(act)
    async with (
        LLMCache(tmp_path / "a.db", store_timeout=60) as cache,
        LLMCache(tmp_path / "a.db", store_timeout=60) as others,
    ):
        model.cache = cache
        another = model.model_copy(update={"cache": others})

        def ask() -> object:
            waits.set()
            return another.invoke("Hello.")

        begun = time.monotonic()
        await beside(model, asyncio.to_thread(ask))
        assert time.monotonic() - begun < 5 * 1.0
        assert len(model.asked) == 2


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
async def test_what_the_store_knows_of_a_lease_goes_along(tmp_path: Path, fails: bool) -> None:
    """Whoever takes it over, fails with it or brings the answer: it ends, for all processes."""

    async def act() -> None:
        await queued(cache, 1)
        await asyncio.get_running_loop().run_in_executor(None, int)

    loop = small_pool(1)
    model = native(act)
    either = model.act

    def answer(text: str) -> Any:
        if fails and threading.current_thread() is not threading.main_thread():
            raise ValueError(text)
        return either(text)

    model.act = answer
    async with LLMCache(tmp_path / "a.db", store_timeout=60) as cache:
        model.cache = cache
        first = asyncio.ensure_future(model.ainvoke("Hello."))
        while not model.asked:  # noqa: ASYNC110
            await asyncio.sleep(0)
        [other] = await asyncio.gather(
            loop.run_in_executor(None, model.invoke, "Hello."), return_exceptions=True
        )
        assert isinstance(other, ValueError) == fails
        assert said(await first) == "Good day."
        assert len(model.asked) == 2
        assert cache.stats().errors == {"holder_stuck": 1}
        assert cache._tiers.executor is not None
        with anyio.fail_after(LIMIT):
            # Closing would give back what is held.
            while cache._tiers.executor.held.by_key:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        assert [slot for slot in slots_of(tmp_path / "a.db") if slot.expires > time.time()] == []
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (1,)

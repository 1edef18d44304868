"""Streams of a cached model, and the event loops that they are read in."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage
from support import virtual_time
from support.doubles import LIMIT
from support.streaming import (
    Streams,
    is_idle,
    script,
    steady,
    streams,
    texts,
    whole,
)

from llmemo import LLMCache, cached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from langchain_core.outputs import ChatGenerationChunk


pytestmark = pytest.mark.anyio


async def read(model: Any, question: str = "q") -> list[str]:
    return texts([each async for each in model.astream(question)])


def test_a_wait_for_one_chunk_that_takes_too_long() -> None:
    cache = LLMCache()
    model = cached(streams(script(3, before=steady(10))), cache)

    async def main() -> None:
        other = asyncio.create_task(read(model))
        chunks = model._astream([HumanMessage("q")])
        await asyncio.sleep(0)
        for _ in range(3):
            with pytest.raises((asyncio.TimeoutError, StopAsyncIteration)):
                await asyncio.wait_for(chunks.__anext__(), 0.1)
        [reference] = cache._tiers.live._streams.values()
        stream = reference()
        assert stream is not None
        assert len(stream._waiting) == 1
        assert await other == whole(model.streams[0])

    virtual_time.run(main())


async def test_a_cancel_scope_around_a_chunk() -> None:
    import anyio

    cache = LLMCache()
    model = cached(streams(script(3, before=steady(0.05))), cache)
    with anyio.move_on_after(0.01) as scope:
        await read(model)
    assert scope.cancelled_caught
    await asyncio.sleep(0.1)
    assert model.streams[0].how == "closed"
    assert is_idle(cache)
    async with anyio.create_task_group() as group:
        group.start_soon(read, model)
        group.start_soon(read, model)
    assert len(model.streams) == 2


async def test_readers_do_not_starve_the_loop() -> None:
    model = cached(streams(script(1_000)), LLMCache())
    await read(model)
    passes = 0

    async def count() -> None:
        nonlocal passes
        while True:
            await asyncio.sleep(0)
            passes += 1

    counting = asyncio.create_task(count())
    await read(model)
    counting.cancel()
    assert passes >= 10
    assert len(model.streams) == 1


def test_a_replay_can_be_cancelled() -> None:
    model = cached(streams(script(400)), LLMCache())

    async def main() -> None:
        await read(model)
        task = asyncio.create_task(read(model))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    virtual_time.run(main())


def test_a_paced_replay_takes_the_models_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = LLMCache()
    inner = streams(script(4, before=steady(0.5)))
    model = cached(inner, cache, replay="recorded")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr("llmemo.single_flight.chunk_log.time.monotonic", loop.time)
        async for _ in model.astream("q"):
            # The reader's own time.
            await asyncio.sleep(100 if len(inner.streams[0].made) == 4 else 0.1)
        began, ticks = loop.time(), 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.1)
                ticks += 1

        ticking = asyncio.create_task(tick())
        await read(model)
        ticking.cancel()
        assert 1.9 <= loop.time() - began <= 2.1
        assert ticks >= 18
        began = loop.time()
        await read(cached(inner, cache))
        assert loop.time() == began

    virtual_time.run(main())


def test_without_an_event_loop_the_model_is_asked() -> None:
    cache = LLMCache()
    model = cached(streams(script(2)), cache, replay="recorded")

    def drive(chunks: Any) -> list[str]:
        got = []
        while True:
            step = chunks.__anext__()
            try:
                step.send(None)
            except StopIteration as stop:
                got.append(stop.value.text)
            except StopAsyncIteration:
                return got

    for count in (1, 2):
        assert drive(model._astream([HumanMessage("q")])) == whole(model.streams[-1])
        assert len(model.streams) == count
        assert cache.stats().bypassed == {"no_event_loop": count}
    assert cache.stats().errors == {}
    kept = asyncio.run(read(model))
    assert drive(model._astream([HumanMessage("q")])) == kept


@pytest.mark.parametrize("loops", ["asyncio", "uvloop"])
def test_a_loop_that_is_closed_in_the_middle_leaves_nothing(loops: str) -> None:
    cache = LLMCache(lease_timeout=10 * LIMIT)

    class Closing(Streams):
        async def _astream(
            self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
        ) -> AsyncIterator[ChatGenerationChunk]:
            try:
                async for each in super()._astream(messages):
                    yield each
            finally:
                # Nothing can be awaited then.
                await asyncio.sleep(0)

    model = cached(streams(script(3, before=steady(60)), kind=Closing), cache)
    new = asyncio.new_event_loop
    if loops == "uvloop":
        new = pytest.importorskip("uvloop").new_event_loop
    loop = new()

    async def begin() -> Any:
        chunks = model._astream([HumanMessage("q")])
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(ensure(chunks)), 0.01)
        return chunks

    async def step(chunks: Any) -> Any:
        return await chunks.__anext__()

    def ensure(chunks: Any) -> Any:
        task = asyncio.ensure_future(step(chunks))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        return task

    chunks = loop.run_until_complete(begin())
    loop.close()
    reference = weakref.ref(loop) if loops == "asyncio" else None
    del chunks, loop
    gc.collect()
    assert is_idle(cache)
    assert reference is None or reference() is None
    model.script.act = script(2)
    assert asyncio.run(read(model)) == whole(model.streams[1])
    assert cache.stats().errors == {}


def test_an_end_of_all_tasks_in_the_middle() -> None:
    cache = LLMCache()
    model = cached(streams(script(3, before=steady(60))), cache)

    async def main() -> None:
        for _ in range(2):
            asyncio.create_task(read(model)).add_done_callback(lambda task: None)
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert [each.how for each in model.streams] == ["closed"]
    gc.collect()
    assert is_idle(cache)

"""Streams of a cached model: what they leave behind, and how much they keep."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from support import virtual_time
from support.streaming import (
    BrokenError,
    Stream,
    chunk,
    script,
    steady,
    streams,
    texts,
    whole,
)

from llmemo import LLMCache, cached
from llmemo.single_flight import chunk_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


pytestmark = pytest.mark.anyio


async def read(model: Any, question: str = "q") -> list[str]:
    return texts([each async for each in model.astream(question)])


async def test_one_who_gives_up_waiting_does_not_end_the_lease_of_another() -> None:
    cache = LLMCache()
    model = cached(streams(script(3, before=steady(0.03))), cache)
    asking = asyncio.create_task(model.ainvoke("q"))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(read(model))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    await asyncio.sleep(0.01)
    other = await model.ainvoke("q")
    assert other.content == (await asking).content
    assert len(model.streams) == 1


async def test_the_frames_of_those_who_were_told_of_an_error_are_let_go() -> None:
    """An error has those of the last, but must not keep what they were reading besides."""
    model = cached(streams(script(3, fails_at=2, before=steady(0.001))), LLMCache())
    gone: list[weakref.ref[Any]] = []

    class Thing:
        pass

    async def fail() -> None:
        thing = Thing()
        gone.append(weakref.ref(thing))
        with pytest.raises(BrokenError):
            async for _ in model._astream([HumanMessage("q")]):
                pass

    gc.disable()
    try:
        failing = [asyncio.create_task(fail()) for _ in range(3)]
        chunks: Any = model._astream([HumanMessage("q")])
        await chunks.__anext__()
        await chunks.__anext__()
        with pytest.raises(BrokenError) as kept:
            await chunks.__anext__()
        await asyncio.wait(failing)
        await asyncio.sleep(0.01)
        # Who keeps the error keeps the frames of the last at most.
        assert sum(each() is None for each in gone) >= 2
        del kept, chunks
        await asyncio.sleep(0.01)
        assert [each() for each in gone] == [None, None, None]
    finally:
        gc.enable()


def test_one_who_keeps_an_error_keeps_nobodys_stream() -> None:
    model = streams()

    def act(stream: Stream) -> Any:
        return script(4, fails_at=None if stream.number else 0, before=steady(0.01))(stream)

    model.script.act = act
    ours = cached(model, LLMCache())

    async def leave() -> None:
        async for _ in ours.astream("q"):
            break

    async def main() -> None:
        leading = asyncio.create_task(read(ours))
        await asyncio.sleep(0)
        await leave()
        with pytest.raises(BrokenError) as kept:
            await leading
        await asyncio.sleep(0.1)
        assert [each.how for each in model.streams] == ["failed", "closed"]
        assert kept.value

    gc.disable()
    try:
        virtual_time.run(main())
    finally:
        gc.enable()


def test_an_answer_waits_for_a_slow_reader_for_a_second_at_most() -> None:
    model = cached(streams(script(3)), LLMCache())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        slow = model.astream("q")
        await slow.__anext__()
        said = await model.ainvoke("q")
        assert said.content == "".join(whole(model.streams[0]))
        assert loop.time() <= 1
        assert texts([each async for each in slow]) == whole(model.streams[0])[1:]
        assert len(model.streams) == 1

    virtual_time.run(main())


def test_what_is_odd() -> None:
    """Chunks that are none, and some that cannot be put together: as without a cache."""
    cache = LLMCache()

    async def act(stream: Stream) -> AsyncIterator[Any]:
        for each in (None, "text"):
            yield each

    model = cached(streams(act), cache)

    async def main() -> list[Any]:
        return [each async for each in model._astream([HumanMessage("q")])]

    first, second = asyncio.run(main()), asyncio.run(main())
    assert first == second == [None, "text"]
    assert len(model.streams) == 2
    assert cache.stats().errors == {"internal": 2}


@pytest.mark.slow
def test_a_stream_of_100_000_chunks() -> None:
    bound, count, most = 8 * 2**20, 100_000, 0
    cache = LLMCache(max_bytes=bound)
    model = cached(streams(), cache)

    async def act(stream: Stream) -> AsyncIterator[ChatGenerationChunk]:
        nonlocal most
        for at in range(count):
            yield chunk("word ")
            if at % 20_000 == 10_000:
                kept = sum(isinstance(each, ChatGenerationChunk) for each in gc.get_objects())
                most = max(most, kept)

    model.script.act = act

    async def main() -> None:
        for _ in range(2):
            got = 0
            async for _ in model._astream([HumanMessage("q")]):
                got += 1
            assert got == count

    asyncio.run(main())
    assert len(model.streams) == 1
    # A few are on their way; all the rest are recorded.
    assert 0 < most <= 3 * chunk_log.RECENT_MAX
    assert 0 < cache.stats().bytes <= bound

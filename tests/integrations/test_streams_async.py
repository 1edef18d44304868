"""Streams of a cached model that tasks read."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from support import virtual_time
from support.streaming import (
    BrokenError,
    Stream,
    Streams,
    is_idle,
    script,
    script_sync,
    steady,
    streams,
    texts,
    whole,
)

from llmemo import LLMCache, cached

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from langchain_core.outputs import ChatGenerationChunk


pytestmark = pytest.mark.anyio


async def read(model: Any, question: str = "q") -> list[str]:
    return texts([each async for each in model.astream(question)])


async def is_kept(cache: LLMCache, model: Streams, question: str = "q") -> bool:
    """Whether the next caller asks no model."""
    before = len(model.streams)
    await read(model, question)
    return len(model.streams) == before


@pytest.mark.parametrize("seconds", [None, 0.0, 0.01])
@pytest.mark.parametrize("how", ["break", "close", "cancel", "raise"])
def test_what_is_aborted_at_chunk_2_is_not_kept(how: str, seconds: float | None) -> None:
    cache = LLMCache()
    before = (lambda stream, at: None) if seconds is None else steady(seconds)
    model = cached(streams(script(5, before=before)), cache)

    async def abort() -> None:
        got = 0
        if how == "close":
            chunks: Any = model.astream("q")
            await chunks.__anext__()
            await chunks.__anext__()
            await chunks.aclose()
            return
        # In no variable: an exception would keep it.
        async for _ in model.astream("q"):
            got += 1
            if got == 2:
                if how == "break":
                    break
                if how == "cancel":
                    task = asyncio.current_task()
                    assert task is not None
                    task.cancel()
                    await asyncio.sleep(0)
                else:
                    raise BrokenError

    async def main() -> None:
        await asyncio.wait([asyncio.create_task(abort())])
        await asyncio.sleep(0.1)
        if seconds:
            # (One that never waits is at its end before its readers have begun.)
            assert [each.how for each in model.streams] == ["closed"]
        assert is_idle(cache)
        assert cache.stats().updates == 0
        assert not await is_kept(cache, model)

    virtual_time.run(main())


async def test_a_failure_at_chunk_3_comes_after_the_same_chunks(
    make_cache: Callable[..., LLMCache],
) -> None:
    cache = make_cache()
    model = cached(streams(script(5, fails_at=2)), cache)
    for _ in range(2):
        chunks = model.astream("q")
        got = [await chunks.__anext__(), await chunks.__anext__()]
        with pytest.raises(BrokenError):
            await chunks.__anext__()
        assert texts(got) == model.streams[-1].made
    assert len(model.streams) == 2
    assert cache.stats().updates == 0
    assert is_idle(cache)


async def test_fifty_ask_once(make_cache: Callable[..., LLMCache]) -> None:
    model = cached(streams(script(9, before=steady(0.001))), make_cache())
    got = await asyncio.gather(*[read(model) for _ in range(50)])
    [stream] = model.streams
    assert got == [whole(stream)] * 50
    assert await read(model) == whole(stream)


async def test_fifty_share_a_model_that_only_streams_in_threads() -> None:
    cache = LLMCache()

    class SyncOnly(Streams):
        async def _astream(
            self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
        ) -> AsyncIterator[ChatGenerationChunk]:
            async for each in super(Streams, self)._astream(messages, stop, **_):
                yield each

    model = cached(streams(act_sync=script_sync(5), kind=SyncOnly), cache)
    got = await asyncio.gather(*[read(model) for _ in range(50)])
    assert got == [whole(model.streams[0])] * 50
    assert len(model.streams) == 1
    stats = cache.stats()
    # One lookup each, not two.
    assert (stats.misses, stats.coalesced, stats.updates) == (1, 49, 1)


def test_one_who_comes_late_reads_along() -> None:
    model = cached(streams(script(10, before=steady(0.02))), LLMCache())

    async def main() -> None:
        leader = asyncio.create_task(read(model))
        await asyncio.sleep(0.045)
        chunks = model.astream("q")
        first = await chunks.__anext__()
        assert not leader.done()
        rest = [each async for each in chunks]
        assert texts([first, *rest]) == await leader == whole(model.streams[0])
        assert len(model.streams) == 1

    virtual_time.run(main())


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_the_leader_leaves_and_the_others_go_on(how: str) -> None:
    model = cached(streams(script(5, before=steady(0.01))), LLMCache())

    async def main() -> None:
        chunks: Any = model.astream("q")
        await chunks.__anext__()
        followers = [asyncio.create_task(read(model)) for _ in range(3)]
        await asyncio.sleep(0)
        if how == "close":
            await chunks.aclose()
        else:
            step = asyncio.ensure_future(chunks.__anext__())
            await asyncio.sleep(0)
            step.cancel()
        assert await asyncio.gather(*followers) == [whole(model.streams[0])] * 3
        assert len(model.streams) == 1

    virtual_time.run(main())


def test_with_no_reader_left_the_models_stream_is_closed_and_nobody_waits_for_that() -> None:
    cache = LLMCache()
    closed: list[float] = []

    async def act(stream: Stream) -> AsyncIterator[ChatGenerationChunk]:
        try:
            async for each in script(5, before=steady(0.01))(stream):
                yield each
        finally:
            closed.append(asyncio.get_running_loop().time())
            if stream.number == 0:
                await asyncio.sleep(30)

    model = cached(streams(act), cache)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        readers = [asyncio.create_task(read(model)) for _ in range(2)]
        await asyncio.sleep(0.025)
        for reader in readers:
            reader.cancel()
        left = loop.time()
        await asyncio.wait(readers)
        await asyncio.sleep(0.1)
        [at] = closed
        assert at - left < 0.1
        # It takes 30 s more.
        assert model.streams[0].how == "open"
        assert await read(model) == whole(model.streams[1])
        assert await model.ainvoke("q")
        assert loop.time() < 1
        assert len(model.streams) == 2

    virtual_time.run(main())


def test_a_stream_that_takes_no_notice_of_being_closed_is_not_kept() -> None:
    cache = LLMCache()

    async def act(stream: Stream) -> AsyncIterator[ChatGenerationChunk]:
        async for each in script(3)(stream):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
            yield each

    model = cached(streams(act), cache)

    async def main() -> None:
        async for _ in model.astream("q"):
            break
        await asyncio.sleep(1)
        assert model.streams[0].how == "closed"
        assert cache.stats().updates == 0

    virtual_time.run(main())

"""Streams of a cached model: their readers, slow, late, and their failures."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage
from support import virtual_time
from support.doubles import LIMIT
from support.streaming import (
    BrokenError,
    Stream,
    is_idle,
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

    from langchain_core.outputs import ChatGenerationChunk


pytestmark = pytest.mark.anyio


async def read(model: Any, question: str = "q") -> list[str]:
    return texts([each async for each in model.astream(question)])


def test_one_who_has_been_given_nothing_takes_over() -> None:
    cache = LLMCache()
    fails: list[int | None] = [0, None]
    model = streams()

    def act(stream: Stream) -> Any:
        return script(4, fails_at=fails[stream.number], before=steady(0.01))(stream)

    model.script.act = act
    ours = cached(model, cache)

    async def main() -> None:
        tasks = [asyncio.create_task(read(ours)) for _ in range(4)]
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[0], BrokenError)
        assert done[1:] == [whole(model.streams[1])] * 3
        assert len(model.streams) == 2

    virtual_time.run(main())


def test_a_model_that_always_fails_is_not_asked_for_ever() -> None:
    model = cached(streams(script(4, fails_at=0, before=steady(0.01))), LLMCache())

    async def main() -> None:
        done = await asyncio.gather(*[read(model) for _ in range(9)], return_exceptions=True)
        assert {type(each) for each in done} == {BrokenError}
        # Two for all, then each on its own.
        assert len(model.streams) <= 2 + 9

    virtual_time.run(main())


@pytest.mark.parametrize("odd_at", [None, 150])
def test_a_slow_reader_holds_up_nobody(odd_at: int | None) -> None:
    """Not even one whose chunks cannot be recorded, and one task reads both."""
    count = chunk_log.TAIL_MAX + 200
    model = cached(streams(script(count, odd_at=odd_at)), LLMCache())

    async def main() -> None:
        slow, fast = model.astream("q"), model.astream("q")
        first = await slow.__anext__()
        got = texts([each async for each in fast])
        assert texts([first, *[each async for each in slow]]) == got
        assert len(got) == count
        assert len(model.streams) == 1

    virtual_time.run(main())


def test_what_cannot_be_recorded_is_passed_on_and_counted() -> None:
    cache = LLMCache()
    model = cached(streams(script(6, odd_at=2, before=steady(0.01))), cache)

    async def main() -> None:
        early = [asyncio.create_task(read(model)) for _ in range(3)]
        await asyncio.sleep(0.035)
        # By now the first chunks may be gone.
        late = asyncio.create_task(read(model))
        assert await asyncio.gather(*early) == [whole(model.streams[0])] * 3
        assert await late == whole(model.streams[1])
        assert cache.stats().skipped == {"unsupported_type": 2}
        assert cache.stats().errors == {}

    virtual_time.run(main())


def test_a_stream_that_is_not_recorded_waits_for_its_only_reader() -> None:
    cache = LLMCache()
    model = cached(streams(script(2_000, odd_at=0)), cache)

    async def main() -> None:
        chunks = model.astream("q")
        for _ in range(3):
            await chunks.__anext__()
        await asyncio.sleep(1)
        assert len(model.streams[0].made) <= chunk_log.TAIL_MAX + chunk_log.RECENT_MAX
        assert len([each async for each in chunks]) == 2_000 - 3 + 1

    virtual_time.run(main())


def test_chunks_are_each_readers_own() -> None:
    model = cached(streams(script(4, before=steady(0.01))), LLMCache())

    async def spoil() -> list[str]:
        got: list[str] = []
        async for each in model._astream([HumanMessage("q")]):
            got.append(str(each.message.content))
            each.message.content = "spoilt"
            each.message.additional_kwargs["spoilt"] = True
        return got

    async def main() -> None:
        got = await asyncio.gather(*[spoil() for _ in range(3)])
        assert [*got, await spoil()] == [whole(model.streams[0])] * 4

    virtual_time.run(main())


@pytest.mark.parametrize("how", ["ended", "break"])
def test_a_break_at_the_last_chunk(how: str) -> None:
    """Whether it is kept depends on whether the model had said that it was the last."""
    cache = LLMCache()
    seconds = 0.0 if how == "ended" else 0.01
    model = cached(streams(script(3, before=steady(seconds))), cache)

    async def main() -> None:
        count = 0
        async for _ in model.astream("q"):
            count += 1
            if count == 3:
                break
        await asyncio.sleep(1)
        assert is_idle(cache)
        assert model.streams[0].how == ("ended" if cache.stats().updates else "closed")
        await read(model)

    virtual_time.run(main())


async def test_a_stream_of_no_chunks_is_not_kept() -> None:
    cache = LLMCache()
    model = cached(streams(script(0)), cache)
    for count in (1, 2):
        # LangChain's.
        with pytest.raises(ValueError, match="No generation chunks"):
            await read(model)
        assert len(model.streams) == count
    assert [each async for each in model._astream([HumanMessage("q")])] == []
    assert is_idle(cache)
    assert cache.stats().errors == {}


async def test_the_same_question_in_the_body_of_the_loop() -> None:
    model = cached(streams(script(4, before=steady(0.001))), LLMCache())
    async for _ in model.astream("q"):
        assert await asyncio.wait_for(read(model), LIMIT) == whole(model.streams[0])
        assert (await asyncio.wait_for(model.ainvoke("q"), LIMIT)).content
    assert len(model.streams) == 1


def test_a_model_that_asks_within_its_stream() -> None:
    """Itself the same, and two that ask each other: each goes on without waiting for itself."""
    cache = LLMCache()
    depth = 0

    async def act(stream: Stream) -> AsyncIterator[ChatGenerationChunk]:
        nonlocal depth
        async for each in script(2)(stream):
            await asyncio.sleep(0.01)
            yield each
            if depth < 3:
                depth += 1
                for other in ("a", "b"):
                    await read(model, other)

    model = cached(streams(act), cache)

    async def main() -> None:
        await asyncio.wait_for(asyncio.gather(read(model, "a"), read(model, "b")), 30)
        assert is_idle(cache)

    virtual_time.run(main())

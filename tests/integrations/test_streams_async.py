"""Streams of a cached model that tasks read."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from support import virtual_time
from support.doubles import LIMIT
from support.streaming import (
    BrokenError,
    OddChunk,
    Stream,
    Streams,
    chunk,
    is_idle,
    script,
    script_sync,
    steady,
    streams,
    texts,
    whole,
)

from llmemo import LLMCache, cached
from llmemo.single_flight import chunk_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


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
        got = []
        async for each in model._astream([HumanMessage("q")]):
            got.append(each.text)
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
    model = cached(streams(script(3, before=steady(60))), cache)
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
    """An error has them; it must not keep what they were reading besides."""
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
        await asyncio.gather(fail(), fail())
        await asyncio.sleep(0.01)
        assert [each() for each in gone] == [None, None]
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
        for each in (None, "text", object()):
            yield each

    model = cached(streams(act), cache)

    async def main() -> list[Any]:
        return [each async for each in model._astream([HumanMessage("q")])]

    first, second = asyncio.run(main()), asyncio.run(main())
    assert first[:2] == second[:2] == [None, "text"]
    assert len(model.streams) == 2
    assert OddChunk not in {type(each) for each in first}


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

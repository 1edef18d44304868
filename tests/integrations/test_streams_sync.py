"""Streams of a cached model that threads read."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT
from support.streaming import (
    BrokenError,
    Stream,
    chunk,
    is_idle,
    script_sync,
    streams,
    texts,
    whole,
)

from llmemo import LLMCache, cached
from llmemo.single_flight.holding import holds_anything

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.outputs import ChatGenerationChunk


def read(model: Any, question: str = "q") -> list[str]:
    return texts(list(model.stream(question)))


class Gate:
    """A `before` that holds the model up at one chunk, until it is opened."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, stream: Stream, at: int) -> None:
        if at == self.at and stream.number == 0:
            self.reached.set()
            assert self.go.wait(LIMIT)


@pytest.mark.parametrize("how", ["break", "close", "raise"])
def test_what_is_aborted_at_chunk_2_is_not_kept(
    how: str, make_cache: Callable[..., LLMCache]
) -> None:
    cache = make_cache()
    model = cached(streams(act_sync=script_sync(5)), cache)

    def abort() -> None:
        chunks = model.stream("q")
        next(chunks)
        next(chunks)
        if how == "close":
            chunks.close()  # type: ignore[attr-defined]
        elif how == "raise":
            raise BrokenError

    if how == "raise":
        with pytest.raises(BrokenError):
            abort()
    else:
        abort()
    gc.collect()
    assert [each.how for each in model.streams] == ["closed"]
    assert len(model.streams[0].made) == 2
    assert is_idle(cache)
    assert not holds_anything()
    assert cache.stats().updates == 0
    assert read(model) == whole(model.streams[1])


def test_a_failure_at_chunk_3_comes_after_the_same_chunks(
    make_cache: Callable[..., LLMCache],
) -> None:
    cache = make_cache()
    model = cached(streams(act_sync=script_sync(5, fails_at=2)), cache)
    for count in (1, 2):
        chunks = model.stream("q")
        got = [next(chunks), next(chunks)]
        with pytest.raises(BrokenError):
            next(chunks)
        assert texts(got) == model.streams[-1].made
        assert len(model.streams) == count
    assert cache.stats().updates == 0
    assert is_idle(cache)


def test_fifty_threads_ask_once(make_cache: Callable[..., LLMCache]) -> None:
    cache = make_cache()
    begun = threading.Barrier(50)
    model = cached(streams(act_sync=script_sync(9)), cache)

    def one(_: int) -> list[str]:
        begun.wait(LIMIT)
        return read(model)

    with ThreadPoolExecutor(50) as pool:
        got = list(pool.map(one, range(50)))
    assert got == [whole(model.streams[0])] * 50
    assert len(model.streams) == 1
    assert read(model) == got[0]


def test_one_who_comes_late_reads_along_and_the_leader_may_leave() -> None:
    gate = Gate(3)
    model = cached(streams(act_sync=script_sync(5, before=gate)), LLMCache())
    leader = model.stream("q")
    assert texts([next(leader), next(leader)]) == model.streams[0].made
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(read, model)
        assert gate.reached.wait(LIMIT)
        # It took the step, and the leader leaves meanwhile.
        leader.close()  # type: ignore[attr-defined]
        gate.go.set()
        assert late.result(LIMIT) == whole(model.streams[0])
    assert len(model.streams) == 1
    assert read(model) == whole(model.streams[0])


def test_a_reader_that_stands_still_holds_up_nobody() -> None:
    """It has the lease, and is between two chunks for however long."""
    cache = LLMCache(lease_timeout=10 * LIMIT)
    model = cached(streams(act_sync=script_sync(5)), cache)
    slow = model.stream("q")
    first = next(slow)
    with ThreadPoolExecutor(1) as pool:
        # This thread gets on with something else.
        invoking, end = pool.submit(model.invoke, "q"), time.monotonic() + LIMIT
        while not invoking.done():
            assert time.monotonic() < end
            time.sleep(0.01)
        assert invoking.result().content
        assert asyncio.run(model.ainvoke("q")).content
        assert pool.submit(read, model).result(LIMIT)
    assert texts([first, *slow]) == whole(model.streams[0])
    assert len(model.streams) == 2


def test_the_same_question_in_the_body_of_the_loop() -> None:
    cache = LLMCache(lease_timeout=10 * LIMIT)
    model = cached(streams(act_sync=script_sync(4)), cache)
    for _ in model.stream("q"):
        assert read(model) == whole(model.streams[0])
        assert model.invoke("q").content
    assert len(model.streams) == 1
    for _ in model.stream("other"):
        assert model.invoke("other").content
    assert is_idle(cache)


def test_two_streams_are_read_in_turns_by_two_threads() -> None:
    cache = LLMCache(lease_timeout=10 * LIMIT)
    model = cached(streams(act_sync=script_sync(20)), cache)
    begun = threading.Barrier(2)

    def in_turns(names: tuple[str, str]) -> list[list[str]]:
        one, other = (model.stream(name) for name in names)
        begun.wait(LIMIT)
        pairs = list(zip(one, other, strict=True))
        return [texts([pair[at] for pair in pairs]) for at in (0, 1)]

    with ThreadPoolExecutor(2) as pool:
        [a, b], [d, c] = pool.map(in_turns, [("a", "b"), ("b", "a")])
    assert (a, b) == (c, d)
    assert len(model.streams) == 2


def test_a_thread_goes_on_with_something_else_while_its_stream_does() -> None:
    """What it holds, it holds apart: its next calls are shared with others again."""
    cache = LLMCache()
    gate = Gate(2)
    model = cached(streams(act_sync=script_sync(5, before=gate)), cache)
    # So that the thread has held something.
    cached(streams(act_sync=script_sync(1)), cache).invoke("before")
    leader = model.stream("q")
    next(leader)
    assert not holds_anything()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(read, model)
        assert gate.reached.wait(LIMIT)
        leader.close()  # type: ignore[attr-defined]
        assert not holds_anything()
        gate.go.set()
        other.result(LIMIT)


def test_a_model_that_asks_within_its_stream() -> None:
    cache = LLMCache()
    depth = 0

    def act(stream: Stream) -> Iterator[ChatGenerationChunk]:
        nonlocal depth
        for each in script_sync(2)(stream):
            yield each
            if depth < 3:
                depth += 1
                read(model, "a")
                read(model, "b")

    model = cached(streams(act_sync=act), cache)
    with ThreadPoolExecutor(2) as pool:
        for name in [pool.submit(read, model, name) for name in ("a", "b")]:
            assert name.result(LIMIT)
    assert is_idle(cache)


def test_without_a_lease_a_model_does_not_read_its_own_stream() -> None:
    """After an answer that is not for others, all go alone: it would wait for itself."""
    cache = LLMCache()
    asked = 0

    def act(stream: Stream) -> Iterator[ChatGenerationChunk]:
        nonlocal asked
        asked += 1
        if asked == 2:
            assert read(model)
        yield chunk(stream.text(), is_odd=True)

    model = cached(streams(act_sync=act), cache)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(read, model).result(LIMIT)
        assert pool.submit(read, model).result(LIMIT)
    assert asked == 3

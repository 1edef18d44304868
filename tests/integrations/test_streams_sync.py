"""Streams of a cached model that threads read."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage
from support.doubles import LIMIT
from support.interrupts import SoftTimeLimit
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
from llmemo.single_flight import chunk_log, shared_iterator
from llmemo.single_flight.holding import holds_anything
from llmemo.single_flight.live_streams import StreamLostError

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
        assert pool.submit(model.invoke, "q").result(LIMIT).content
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


def test_one_who_has_been_given_nothing_takes_over() -> None:
    gate = Gate(0)

    def act(stream: Stream) -> Iterator[ChatGenerationChunk]:
        return script_sync(4, before=gate, fails_at=0 if stream.number == 0 else None)(stream)

    model = cached(streams(act_sync=act), LLMCache())
    with ThreadPoolExecutor(4) as pool:
        leader = pool.submit(read, model)
        assert gate.reached.wait(LIMIT)
        followers = [pool.submit(read, model) for _ in range(3)]
        cache_has(model, 4)
        gate.go.set()
        with pytest.raises(BrokenError):
            leader.result(LIMIT)
        assert [each.result(LIMIT) for each in followers] == [whole(model.streams[1])] * 3
    assert len(model.streams) == 2


def cache_has(model: Any, readers: int) -> None:
    """Wait until so many read the only stream that is live."""
    [reference] = _live(model)._streams.values()
    shared = reference()
    end = time.monotonic() + LIMIT
    while len(shared._joined) < readers:
        assert time.monotonic() < end
        time.sleep(0.001)


def _live(model: Any) -> Any:
    return getattr(type(model), "__llmemo_caching__").cache._tiers.live  # noqa: B009


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SoftTimeLimit])
@pytest.mark.parametrize("at", [0, 2])
def test_an_interrupt_is_for_its_own_thread(kind: type[BaseException], at: int) -> None:
    """The others who read along get an error that they can handle, or ask again."""
    gate = Gate(at)
    interrupted = threading.Event()

    def act(stream: Stream) -> Iterator[ChatGenerationChunk]:
        def before(stream: Stream, now: int) -> None:
            gate(stream, now)
            if now == at and stream.number == 0:
                interrupt(2, None)

        return script_sync(4, before=before)(stream)

    def interrupt(number: int, frame: Any) -> None:
        raise kind

    def one() -> BaseException | list[str]:
        try:
            return read(model)
        except BaseException as error:  # noqa: BLE001
            return error

    import signal

    model = cached(streams(act_sync=act), LLMCache())
    old = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with ThreadPoolExecutor(2) as pool:
            leader = pool.submit(one)
            assert gate.reached.wait(LIMIT)
            follower = pool.submit(one)
            cache_has(model, 2)
            if at:
                # It has been given the first chunks, and waits.
                [reference] = _live(model)._streams.values()
                log = reference().log
                end = time.monotonic() + LIMIT
                while sorted(log._positions()) != [2, 2]:
                    assert time.monotonic() < end
                    time.sleep(0.001)
            gate.go.set()
            assert isinstance(leader.result(LIMIT), kind)
            found = follower.result(LIMIT)
        if at:
            assert isinstance(found, StreamLostError)
        else:
            assert found == whole(model.streams[1])
        assert not interrupted.is_set()
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_a_pool_that_is_full_of_waiting_readers() -> None:
    """The model of the one whose turn it is needs a thread of it."""
    cache = LLMCache(lease_timeout=10 * LIMIT)
    pool = ThreadPoolExecutor(2)
    needs = threading.Event()

    def act(stream: Stream) -> Iterator[ChatGenerationChunk]:
        for each in script_sync(2)(stream):
            if stream.number == 0:
                assert needs.wait(LIMIT)
                pool.submit(len, ()).result(LIMIT)
            yield each

    model = cached(streams(act_sync=act), cache)
    leader = ThreadPoolExecutor(1)
    try:
        leading = leader.submit(read, model)
        while not len(cache._tiers.live):
            time.sleep(0.001)
        readers = [pool.submit(read, model) for _ in range(2)]
        cache_has(model, 3)
        needs.set()
        began = time.monotonic()
        assert [each.result(LIMIT) for each in readers]
        assert leading.result(LIMIT) == whole(model.streams[0])
        # Far less than after which one gives up.
        assert time.monotonic() - began < shared_iterator.STUCK / 2
    finally:
        pool.shutdown()
        leader.shutdown()


def test_in_the_thread_of_an_event_loop_nothing_waits() -> None:
    cache = LLMCache(lease_timeout=10 * LIMIT)
    gate = Gate(2)
    model = cached(streams(act_sync=script_sync(5, before=gate)), cache, replay="recorded")

    async def main() -> None:
        assert len(read(model)) == 5

    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(read, model)
        assert gate.reached.wait(LIMIT)
        asyncio.run(main())
        gate.go.set()
        assert leader.result(LIMIT) == whole(model.streams[0])
    assert len(model.streams) == 2


def test_pacing_does_not_hold_up_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    now = 0.0
    inner = streams()

    def act(stream: Stream) -> Iterator[ChatGenerationChunk]:
        nonlocal now
        for each in script_sync(3)(stream):
            now += 0.5
            yield each

    inner.script.act_sync = act
    model = cached(inner, LLMCache(), replay="recorded")
    with monkeypatch.context() as patch:
        patch.setattr("llmemo.single_flight.chunk_log.time.monotonic", lambda: now)
        for _ in model.stream("q"):
            # The reader's own time.
            now += 100
    monkeypatch.setattr("llmemo.integrations.cached_model.stream_sync.time.sleep", naps.append)

    async def main() -> None:
        assert read(model) == whole(model.streams[0])

    asyncio.run(main())
    assert naps == []
    assert read(model) == whole(model.streams[0])
    assert naps == [0.5, 0.5, 0.5]


def test_what_cannot_be_recorded_keeps_no_more_than_it_must() -> None:
    cache = LLMCache()
    most = 0

    def act(stream: Stream) -> Iterator[ChatGenerationChunk]:
        nonlocal most
        for each in script_sync(1_000, odd_at=3)(stream):
            yield each
            for reference in list(cache._tiers.live._streams.values()):
                shared: Any = reference()
                most = max(most, len(shared.log._tail))

    model = cached(streams(act_sync=act), cache)
    assert read(model) == whole(model.streams[0])
    assert 0 < most <= chunk_log.TIDY_EVERY + 1
    assert cache.stats().skipped == {"unsupported_type": 1}
    assert read(model) == whole(model.streams[1])


def test_a_stream_of_no_chunks_is_not_kept() -> None:
    cache = LLMCache()
    model = cached(streams(act_sync=script_sync(0)), cache)
    for count in (1, 2):
        assert list(model._stream([HumanMessage("q")])) == []
        assert len(model.streams) == count
        assert is_idle(cache)
    assert cache.stats().errors == {}

"""Streams of a cached model that threads read: failures, interrupts, and who waits for whom."""

from __future__ import annotations

import asyncio
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
    is_idle,
    script_sync,
    streams,
    texts,
    whole,
)

from llmemo import LLMCache, cached
from llmemo.single_flight import chunk_log, shared_iterator
from llmemo.single_flight.live_streams import StreamLostError

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def cache_has(model: Any, readers: int) -> None:
    """Wait until this number of callers read the only stream that is live."""
    [reference] = _live(model)._streams.values()
    shared = reference()
    end = time.monotonic() + LIMIT
    while len(shared._joined) < readers:
        assert time.monotonic() < end
        time.sleep(0.001)


def _live(model: Any) -> Any:
    return getattr(type(model), "__llmemo_caching__").cache._tiers.live  # noqa: B009


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

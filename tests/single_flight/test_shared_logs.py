"""The log of a stream's chunks, the table of streams, and interrupts between their steps."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT
from support.interrupts import Interrupts
from support.slices import first
from support.streaming import OddChunk, chunk

from llmemo.single_flight.chunk_log import NOTHING_YET, RECENT_MAX, TIDY_EVERY, ChunkLog
from llmemo.single_flight.live_streams import THREADS, LiveStreams, StreamLostError
from llmemo.single_flight.shared_iterator import SharedIterator
from llmemo.single_flight.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator


def all_of(reader: Any) -> list[str]:
    return [each.text for each in iter(reader.next, NOTHING_YET)]


def shared(chunks: Any, **options: Any) -> SharedIterator:
    log = ChunkLog(2**20, **options)
    return SharedIterator(log, lambda _: chunks, contextvars.copy_context())


@pytest.mark.parametrize("odd_at", [None, 0, 5, 200])
def test_readers_at_any_distance_get_the_same(odd_at: int | None) -> None:
    log = ChunkLog(2**20)
    readers = [log.reader(is_first=True), log.reader(is_first=False), log.reader(is_first=False)]
    got: list[list[str]] = [[], [], []]
    count = 3 * TIDY_EVERY + RECENT_MAX
    for at in range(count):
        log.add(chunk(str(at), is_odd=at == odd_at))
        for place, every in ((0, 1), (1, 7)):
            if at % every == 0:
                got[place] += all_of(readers[place])
    for place, reader in enumerate(readers):
        got[place] += all_of(reader)
    assert got == [[str(at) for at in range(count)]] * 3


def test_no_reader_joins_once_chunks_may_be_gone() -> None:
    told: list[tuple[object, ...]] = []
    log = ChunkLog(2**20, refused=lambda refusal: told.append(refusal.args))
    log.add(chunk("a"))
    reader = log.reader(is_first=False)
    assert reader is not None
    log.add(OddChunk(message=chunk("b").message))
    assert told == [("unsupported_type", "support.streaming.Odd")]
    assert log.reader(is_first=False) is None
    assert all_of(reader) == ["a", "b"]


def test_a_full_recording_is_passed_on() -> None:
    log = ChunkLog(2_000)
    reader = log.reader(is_first=False)
    for at in range(200):
        log.add(chunk(f"{at} {'x' * (at * 7 % 50)}"))
    assert log.refusal is not None
    assert [each.split()[0] for each in all_of(reader)] == [str(at) for at in range(200)]


def test_a_stream_that_nobody_keeps_is_not_in_the_table() -> None:
    table: LiveStreams[Any] = LiveStreams()
    one = shared(iter(()))
    assert table.begin(b"k", one) is one
    assert table.find(b"k", THREADS) is one
    assert table.find(b"k", "elsewhere") is None
    other = shared(iter(()))
    assert table.begin(b"k", other) is one
    one.has_ended = True
    assert table.find(b"k", THREADS) is None
    assert table.begin(b"k", other) is other
    table.end(b"k", one)
    assert table.find(b"k", THREADS) is other
    del other
    gc.collect()
    assert len(table) == 0


def test_the_end_comes_after_the_last_chunk() -> None:
    """A thread looks for a chunk, then others add the last one and come to the end."""

    def chunks() -> Iterator[Any]:
        yield chunk("a")
        yield chunk("b")

    stream = shared(chunks())
    one, other = stream.join(is_first=True), stream.join()
    assert one is not None
    assert other is not None
    assert other.next().text == "a"
    plain = other._reader
    looked = plain.next

    class Late:
        position = property(lambda _: plain.position)

        def next(self) -> Any:
            found = looked()
            if found is NOTHING_YET:
                all_of(one)
            return found

    late: Any = Late()
    other._reader = late
    assert other.next().text == "b"
    assert other.next() is NOTHING_YET
    other._reader = plain


def test_a_turn_that_is_not_given_back_twice() -> None:
    turns = Turns()
    assert turns.take()
    assert not turns.take()
    with pytest.raises(RuntimeError):
        turns.wait()
    turns.give_back()
    turns.give_back()
    assert turns.thread == 0
    assert turns.wait()
    turns.give_back()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tracing of opcodes differs")
# One in a finalizer is reported, and goes no further.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_anywhere_in_a_read() -> None:
    """Another thread that reads along gets what is true, or an error: it does not wait for ever."""

    def chunks() -> Iterator[Any]:
        for text in "abc":
            yield chunk(text)

    at, step = first(3), 3
    while True:
        stream = shared(chunks())
        one, other = stream.join(is_first=True), stream.join()
        assert one is not None
        assert other is not None
        with Interrupts(at, KeyboardInterrupt, is_signal=False) as interrupts:
            all_of(one)
            one.leave()
        got: list[Any] = []

        def read_along(other: Any = other, got: list[Any] = got) -> None:
            try:
                while (each := other.next()) is not NOTHING_YET:
                    got.append(each.text)
                got.append("end")
            except StreamLostError:
                got.append("lost")

        thread = threading.Thread(target=read_along, daemon=True)
        thread.start()
        thread.join(LIMIT)
        assert not thread.is_alive(), interrupts.where
        *read, how = got
        assert read == list("abc")[: len(read)], interrupts.where
        assert how == "lost" or len(read) == 3, interrupts.where
        if not interrupts.was_raised:
            break
        at += step


def test_loops_do_not_share() -> None:
    table: LiveStreams[Any] = LiveStreams()

    class Stream:
        is_open = True

        def __init__(self, place: object) -> None:
            self.place = place

    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
    stream = Stream(one)
    table.begin(b"k", stream)
    assert table.find(b"k", one) is stream
    assert table.find(b"k", two) is None
    one.close()
    two.close()

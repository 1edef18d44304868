"""Recorded streams: what is played is what was recorded, whatever happened to it since."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, Generation
from support.strategies import examples
from support.streaming import OddChunk

from llmemo._core import (
    Memory,
    Playback,
    Recorder,
    ValueDamaged,
    ValueRefused,
    decode,
    encode,
    recording_of,
)

KEY = bytes(32)
ROOM = 1 << 20


def chunk(content: Any = "word", info: Any = None, **fields: Any) -> ChatGenerationChunk:
    message = AIMessageChunk(content=content, **fields)
    return ChatGenerationChunk(message=message, generation_info=info)


CALL = {"type": "tool_call_chunk", "name": "f", "args": '{"a"', "id": "1", "index": 0}
USAGE = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}

CHUNKS = st.builds(
    chunk,
    # "", "text" and "stop" are words of the value format, and have no text of their own.
    st.sampled_from(
        ["", " ", "text", "stop", "word", "été", "\N{GRINNING FACE}", "x" * 300, "\udcff"]
    )
    | st.just([{"type": "text", "text": "block", "index": 0}]),
    st.sampled_from([None, {}, {"finish_reason": "stop"}, {"n": 1}, {"n": True}]),
    response_metadata=st.sampled_from(
        [{}, {"model_provider": "openai"}, {"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": 1}]
    ),
    id=st.sampled_from([None, "chatcmpl-1", "lc_run-1"]),
    tool_call_chunks=st.sampled_from([[], [CALL]]),
    usage_metadata=st.sampled_from([None, USAGE]),
    chunk_position=st.sampled_from([None, "last"]),
)


def played(source: Recorder | bytes) -> list[Any]:
    playback, steps = Playback(source), []
    while (step := playback.next()) is not None:
        steps.append(step[0])
    return steps


def whole(step: Any) -> Any:
    """All of a chunk, types and set fields included."""
    inner = step.message
    return (
        repr(step.__dict__),
        repr(inner.__dict__),
        step.__pydantic_fields_set__,
        inner.__pydantic_fields_set__,
        type(step.__dict__["text"]),
    )


@given(st.lists(CHUNKS, max_size=12))
@examples(200)
def test_chunks_come_back_as_they_passed(chunks: list[ChatGenerationChunk]) -> None:
    recorder = Recorder(ROOM)
    for number, each in enumerate(chunks):
        assert recorder.add(each, number) == number + 1
    assert list(map(whole, played(recorder))) == list(map(whole, chunks))
    assert played(recorder.bytes()) == chunks


@given(st.lists(CHUNKS, max_size=12))
@examples(100)
def test_runs_have_all_chunks(chunks: list[ChatGenerationChunk]) -> None:
    recorder = Recorder(ROOM)
    for each in chunks:
        recorder.add(each)
    expanded = []
    for first, texts in recorder.runs():
        assert not texts or texts[0] == first.message.content
        for text in texts or [first.message.content]:
            message = copy.deepcopy(first.message)
            message.content = text
            expanded.append(
                ChatGenerationChunk(message=message, generation_info=first.generation_info)
            )
    assert expanded == chunks


def test_a_plain_stream_is_one_run() -> None:
    if type(chunk().__dict__["text"]) is str:
        pytest.skip("this langchain-core has the text of a chunk twice")
    recorder = Recorder(ROOM)
    for number in range(100):
        recorder.add(chunk(f"word{number}", response_metadata={"model_provider": "openai"}))
    ((first, texts),) = recorder.runs()
    assert first.message.content == "word0"
    assert texts == [f"word{number}" for number in range(100)]
    assert len(recorder.bytes()) < 100 * 20 + 300


@pytest.mark.parametrize("field", ["additional_kwargs", "response_metadata"])
def test_what_a_reader_changes_is_not_taken_for_what_passed(field: str) -> None:
    recorder, first = Recorder(ROOM), chunk("one", **{field: {"a": "1"}})
    recorder.add(first)
    getattr(first.message, field)["a"] = "2"
    recorder.add(chunk("two", **{field: {"a": "2"}}))
    assert [getattr(it.message, field)["a"] for it in played(recorder)] == ["1", "2"]


def test_a_chunk_of_another_class_is_refused_and_leaves_the_rest() -> None:
    recorder = Recorder(ROOM)
    recorder.add(chunk("one"))
    for wrong in (OddChunk(message=AIMessageChunk(content="two")), object()):
        with pytest.raises(ValueRefused):
            recorder.add(wrong)
    recorder.add(chunk("three"))
    assert [it.message.content for it in played(recorder)] == ["one", "three"]


def test_a_recorder_has_a_bound() -> None:
    recorder = Recorder(1_000)

    def fill() -> None:
        for _ in range(1_000):
            recorder.add(chunk("word"))

    with pytest.raises(ValueRefused, match="too_large"):
        fill()
    assert 1 < len(recorder) < 1_000
    assert len(recorder.bytes()) <= 1_000
    with pytest.raises(ValueRefused, match="too_large"):
        recorder.add(chunk("x" * 2_000))


def test_a_playback_follows_a_recorder_and_may_skip() -> None:
    recorder = Recorder(ROOM)
    playback = Playback(recorder)
    assert playback.next() is None
    for number in range(5):
        recorder.add(chunk(f"word{number}"), 7)
    first = playback.next()
    assert first is not None
    assert (first[0].message.content, first[1]) == ("word0", 7)
    playback.skip(2)
    assert [(step := playback.next()) and step[0].message.content for _ in range(3)] == [
        "word3",
        "word4",
        None,
    ]
    recorder.add(chunk("more"))
    last = playback.next()
    assert last is not None
    assert last[0].message.content == "more"


def test_all_chunks_of_a_playback_have_one_fresh_id() -> None:
    recorder = Recorder(ROOM)
    for number in range(3):
        recorder.add(chunk(f"word{number}", id="lc_run-1"))
    ids = []
    for _ in range(2):
        playback = Playback(recorder, fresh_ids=True)
        ids.append({step[0].message.id for _ in range(3) if (step := playback.next())})
    assert [len(each) for each in ids] == [1, 1]
    assert len({"lc_run-1"}.union(*ids)) == 3


def test_a_value_has_answer_and_recording() -> None:
    recorder = Recorder(ROOM)
    recorder.add(chunk("one"))
    answer = [Generation(text="one")]
    value = encode(answer, KEY, recording=recorder.bytes())
    assert decode(value, KEY) == answer
    assert recording_of(value, KEY) == recorder.bytes()
    assert recording_of(encode(answer, KEY), KEY) is None
    for at in range(0, len(value), 7):
        damaged = bytearray(value)
        damaged[at] ^= 4
        with pytest.raises(ValueDamaged):
            recording_of(bytes(damaged), KEY)


@pytest.mark.parametrize("for_streams", [False, True])
def test_memory_gives_answers_for_streams_to_streams_only(*, for_streams: bool) -> None:
    recorder = Recorder(ROOM)
    recorder.add(chunk("one"))
    answer = [Generation(text="one")]
    value = encode(answer, KEY, recording=recorder.bytes(), for_streams=for_streams)
    memory = Memory(ROOM, fingerprint_secret=bytes(192))
    request = ("prompt", "model", "")
    memory.put(*request, KEY, value)
    assert memory.lookup(*request) == (None if for_streams else answer)
    assert memory.lookup_key(*request, KEY) == (None if for_streams else answer)
    assert memory.stale(*request, KEY) == (None if for_streams else answer)
    assert memory.lookup(*request, streams=True) == answer
    assert memory.lookup_key(*request, KEY, streams=True) == answer
    assert memory.recording(KEY) == recorder.bytes()
    hits = memory.counts().hits
    assert hits == (2 if for_streams else 4)
    epoch = memory.epoch(bytes(31) + b"1")
    other = encode(answer, bytes(31) + b"1", recording=b"", for_streams=for_streams)
    filled = memory.fill("other", "model", "", bytes(31) + b"1", other, 0.0, None, epoch)
    assert filled == (False if for_streams else answer)

"""The stream that an answer came by, as JSON: chunks that differ in their text alone are told once.

[[first chunk, [text, text, …]], [another chunk, []], …]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.outputs import ChatGenerationChunk

from llmemo._core import Playback, Recorder, decode, encode, recording_of
from llmemo.integrations.cached_model.as_langchain import with_text
from llmemo.testing import recorded_answer
from llmemo.testing.recorded_answer import NotReadableError, built, model_json

if TYPE_CHECKING:
    from llmemo.testing.redaction import Redaction

Json = Any

ROOM = 64 * 2**20
"""Largest recording, in bytes."""

FOR_STREAMS = 2
"""The flag in the header of a value (docs/values.md) that serves streams only."""


def to_json(value: bytes, key: bytes, redaction: Redaction) -> Json:
    """An answer in the value format as JSON, with its stream if it came by one; without secrets.

    Raises:
        NotReadableError: It holds a secret, and has no readable form without.
    """
    recording = recording_of(value, key)
    if recording is None:
        return recorded_answer.to_json(value, key, redaction)
    plain = encode(decode(value, key), key)
    answer = recorded_answer.to_json(plain, key, redaction)
    found = {"answer": answer, "for_streams": bool(value[5] & FOR_STREAMS)}
    try:
        stream = _stream_json(recording)
        # A secret may be in several chunks, where nothing finds it: then the answer is one chunk.
        is_clean = recorded_answer.from_json(answer, key) == plain
        if is_clean and redaction.answer(stream) == stream and _recording(stream):
            found["stream"] = stream
    except (NotReadableError, ValueError):
        pass
    return found


def from_json(answer: Json, key: bytes) -> bytes:
    """The answer of a line in the value format. Raises as `recorded_answer.from_json`."""
    if not (isinstance(answer, dict) and "for_streams" in answer):
        return recorded_answer.from_json(answer, key)
    plain = recorded_answer.from_json(answer["answer"], key)
    stream = answer.get("stream")
    if stream is None:
        return plain
    for_streams = bool(answer["for_streams"])
    recording = _recording(stream)
    return encode(decode(plain, key), key, recording=recording, for_streams=for_streams)


def _stream_json(recording: bytes) -> Json:
    recorder, playback = Recorder(ROOM), Playback(recording)
    while (step := playback.next()) is not None:
        recorder.add(step[0])
    return [[model_json(first), texts] for first, texts in recorder.runs()]


def _recording(stream: Json) -> bytes:
    recorder = Recorder(ROOM)
    try:
        for first, texts in stream:
            for text in texts or [None]:
                chunk = built(first, ChatGenerationChunk)
                if text is not None:
                    chunk = with_text(chunk, text)
                recorder.add(chunk)
    except (TypeError, ValueError) as error:
        msg = f'its "stream" cannot be read: {error}'
        raise NotReadableError(msg) from error
    return recorder.bytes()

"""Streams of events: what some models make themselves in the place of chunks.

A class may have `_stream_chat_model_events` and `_astream_chat_model_events`, which LangChain 1.4
and later prefers where a handler wants such events (`stream_events(version="v3")`, graphs). Their
answers have entries of their own: version 1 of contents, which a call without events has not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import ChatGeneration

from llmemo._core import Playback
from llmemo.keys.model_class import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.language_models import BaseChatModel

    from llmemo._core import Recorder
    from llmemo.integrations.cached_model.replay import Replay
    from llmemo.keys.request import Request

LAST = "message-finish"

LANGUAGE_MODELS = "langchain_core.language_models"


class Events:
    """The events of a stream."""

    stream, astream = "_stream_chat_model_events", "_astream_chat_model_events"
    tells_tokens = False
    """LangChain itself tells of events."""

    def request(self, request: Request) -> Request:
        """The request of an answer in this form.

        Raises:
            RequestBypassed: It has none.
        """
        return request.supplemented(Place.OPTION, {"llmemo events": True})

    def steps(self, replay: Replay, *, fresh_ids: bool) -> Iterator[tuple[Any, float]]:
        """Fresh events of a hit, each with the seconds that it took to come."""
        recording = replay.recording
        if recording is None or replay.is_near:
            # The recorded events of a similar question name its response.
            bridge = importlib.import_module(f"{LANGUAGE_MODELS}._compat_bridge")
            message = getattr(replay.hit[0], "message", None)
            yield from ((event, 0.0) for event in bridge.message_to_events(message))
            return
        playback = Playback(recording, fresh_ids=fresh_ids)
        while (step := playback.next()) is not None:
            yield step[0], step[1] / 1000

    def to_its_end(self, steps: Iterator[Any]) -> Iterator[Any]:
        """The same steps: LangChain asks for no more after an event that ends the message."""
        for step in steps:
            if step.get("event") == LAST:
                # What is to be done at the end is done now.
                rest = list(steps)
                yield step
                yield from rest
            else:
                yield step

    def answer(
        self,
        recorder: Recorder,
        model: BaseChatModel,  # noqa: ARG002 (as of `Chunks`)
        run_manager: Any,  # noqa: ARG002 (as of `Chunks`)
    ) -> list[ChatGeneration]:
        """What the events amount to; empty if that is no answer."""
        streams = importlib.import_module(f"{LANGUAGE_MODELS}.chat_model_stream")
        whole = streams.ChatModelStream()
        playback = Playback(recorder)
        while (step := playback.next()) is not None:
            whole.dispatch(step[0])
        if not whole.done and whole.has_events:
            # As LangChain does where a model leaves out the last one.
            whole.dispatch({"event": LAST})
        message = whole.output_message
        return [] if message is None else [ChatGeneration(message=message)]


EVENTS = Events()

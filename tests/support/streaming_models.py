"""Chat models that stream what a test says, and count how often they are asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langchain_core.messages import BaseMessage


class Asked(BaseChatModel):
    """Notes what it is asked, by which method; has no streams."""

    words: tuple[str, ...] = ("one ", "two ", "three")
    asked: list[str] = Field(default_factory=list, exclude=True)

    @property
    def _llm_type(self) -> str:
        return "asked"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"words": list(self.words)}

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append("_generate")
        return self.whole()

    def whole(self) -> ChatResult:
        """All of the words."""
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(self.words)))])

    def chunks(self) -> Iterator[ChatGenerationChunk]:
        """The words."""
        for word in self.words:
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))


class SyncStreams(Asked):
    """Streams for threads only: LangChain reads it in threads, for tasks."""

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        self.asked.append("_stream")
        for chunk in self.chunks():
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


class Streams(SyncStreams):
    """Streams, for threads and for tasks."""

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        self.asked.append("_astream")
        for chunk in self.chunks():
            await asyncio.sleep(0)
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


class OnlyStreams(SyncStreams):
    """Its `_generate` is its stream, put together."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append("_generate")
        list(self._stream(messages))
        return self.whole()


class Beside(Streams):
    """Goes on to its base class's streams, as clients of providers do."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        return super()._stream(*args, **kwargs)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in super()._astream(*args, **kwargs):
            yield chunk


class Elsewhere(Asked):
    """Its streams come of another method of its own."""

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        self.asked.append("_stream")
        return self._stream_words(run_manager)

    def _stream_words(self, run: Any) -> Iterator[ChatGenerationChunk]:
        for chunk in self.chunks():
            if run:
                run.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


class Silent(Streams):
    """Tells its run nothing."""

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        self.asked.append("_stream")
        yield from self.chunks()

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        self.asked.append("_astream")
        for chunk in self.chunks():
            yield chunk

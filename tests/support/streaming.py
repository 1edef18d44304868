"""Models that stream what a test tells them to, and remember how each of their streams went."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from langchain_core.messages import BaseMessage

    from llmemo import LLMCache


class BrokenError(Exception):
    """What the models here raise."""


class Odd:
    """What no value can hold."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd)

    __hash__ = None  # type: ignore[assignment]


class OddChunk(ChatGenerationChunk):
    """One that cannot be recorded."""

    odd: Any = Field(default_factory=Odd)


def chunk(text: str, *, is_odd: bool = False) -> ChatGenerationChunk:
    kind = OddChunk if is_odd else ChatGenerationChunk
    return kind(message=AIMessageChunk(content=text))


class Stream:
    """One stream of a model, as it went."""

    def __init__(self, question: str, number: int) -> None:
        self.question, self.number = question, number
        self.made: list[str] = []
        self.how = "open"
        """What became of it: "ended", "failed", or "closed"."""
        self.began = time.monotonic()

    def text(self) -> str:
        """What the next chunk says: no two chunks are alike."""
        said = f"{self.question}/{self.number}/{len(self.made)} "
        self.made.append(said)
        return said


class Script:
    """What a model does."""

    def __init__(self) -> None:
        self.act: Any = None
        self.act_sync: Any = None
        self.made: list[Stream] = []


# By name: it is no setting of a model, and not part of what is asked.
_scripts: dict[str, Script] = {}


def streams(act: Any = None, act_sync: Any = None, kind: type[Streams] | None = None) -> Streams:
    """A model that streams by `act` (async) and `act_sync`: given the stream, they yield chunks."""
    name = f"model {len(_scripts)}"
    _scripts[name] = Script()
    model = (kind or Streams)(name=name)
    model.script.act, model.script.act_sync = act, act_sync
    return model


class Streams(BaseChatModel):
    """See `streams`."""

    name: str = ""

    @property
    def script(self) -> Script:
        return _scripts[self.name]

    @property
    def streams(self) -> list[Stream]:
        return self.script.made

    @property
    @override
    def _llm_type(self) -> str:
        return "streams"

    def _begin(self, messages: Sequence[BaseMessage]) -> Stream:
        stream = Stream(str(messages[-1].content), len(self.streams))
        self.streams.append(stream)
        return stream

    @override
    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Any:
        stream = self._begin(messages)
        whole = "".join(each.text for each in self._steps(stream))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(whole))])

    @override
    async def _agenerate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
    ) -> Any:
        stream = self._begin(messages)
        whole = [each.text async for each in self._asteps(stream)]
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(whole)))])

    @override
    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
    ) -> Iterator[ChatGenerationChunk]:
        yield from self._steps(self._begin(messages))

    @override
    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for each in self._asteps(self._begin(messages)):
            yield each

    def _steps(self, stream: Stream) -> Iterator[ChatGenerationChunk]:
        try:
            yield from self.script.act_sync(stream)
            stream.how = "ended"
        except Exception:
            stream.how = "failed"
            raise
        finally:
            stream.how = "closed" if stream.how == "open" else stream.how

    async def _asteps(self, stream: Stream) -> AsyncIterator[ChatGenerationChunk]:
        try:
            async for each in self.script.act(stream):
                yield each
            stream.how = "ended"
        except Exception:
            stream.how = "failed"
            raise
        finally:
            stream.how = "closed" if stream.how == "open" else stream.how


def script(
    count: int,
    *,
    fails_at: int | None = None,
    odd_at: int | None = None,
    before: Callable[[Stream, int], Any] = lambda stream, at: None,
) -> Callable[[Stream], AsyncIterator[ChatGenerationChunk]]:
    """`act`: makes this number of chunks; awaits what `before` returns before each and the end."""

    async def act(stream: Stream) -> AsyncIterator[ChatGenerationChunk]:
        for at in range(count):
            pause = before(stream, at)
            if pause is not None:
                await pause
            if at == fails_at:
                raise BrokenError(stream.number)
            yield chunk(stream.text(), is_odd=at == odd_at)
        pause = before(stream, count)
        if pause is not None:
            await pause
        if fails_at == count:
            raise BrokenError(stream.number)

    return act


def script_sync(
    count: int,
    *,
    fails_at: int | None = None,
    odd_at: int | None = None,
    before: Callable[[Stream, int], Any] = lambda stream, at: None,
) -> Callable[[Stream], Iterator[ChatGenerationChunk]]:
    """As `script`, for `act_sync`."""

    def act(stream: Stream) -> Iterator[ChatGenerationChunk]:
        for at in range(count):
            before(stream, at)
            if at == fails_at:
                raise BrokenError(stream.number)
            yield chunk(stream.text(), is_odd=at == odd_at)
        before(stream, count)
        if fails_at == count:
            raise BrokenError(stream.number)

    return act


def steady(seconds: float) -> Callable[[Stream, int], Any]:
    """A `before` that takes so long each time."""
    return lambda stream, at: asyncio.sleep(seconds)


def texts(chunks: Sequence[Any]) -> list[str]:
    """What chunks say; LangChain adds an empty one at the end."""
    return [str(each.content) for each in chunks if each.content]


def whole(stream: Stream) -> list[str]:
    """All chunks of a stream that came to its end."""
    assert stream.how == "ended"
    return stream.made


def is_idle(cache: LLMCache) -> bool:
    """Whether nothing is under way any more."""
    tiers = cache._tiers
    return not len(tiers.live) and (tiers.flights is None or not tiers.flights._flights)

"""Hits of calls that nobody observes: no handler is to be told, so LangChain's path is not taken.

Most of the time of a cached call is LangChain's: its callback managers, and what they would be
told. With any handler but llmemo's own, of the call, the model, the chain around it, a tracer or a
global setting, the call goes LangChain's way and each callback comes as always.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio
from langchain_core.runnables.config import var_child_runnable_config
from typing_extensions import Self

from llmemo.config.options import current
from llmemo.integrations.cached_model.as_langchain import chat_generations, completed
from llmemo.integrations.cached_model.calls import Question, call_of
from llmemo.integrations.cached_model.chunks import chunks_of
from llmemo.langchain.model_runs import RunWatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk, Generation

    from llmemo.integrations.cached_model.calls import ModelCall
    from llmemo.pipeline.tiers import Tiers
    from llmemo.store_io.client import MakeCall

TOLD_ONLY = frozenset({"metadata", "tags", "configurable", "max_concurrency", "recursion_limit"})
"""Keys of a config that matter to handlers, and to graphs, but not to a model."""

FOR_TRACES = ("ls_structured_output_format", "structured_output_format")
"""Options of a call that LangChain takes out before it asks the model."""


class Asked:
    """A call as the user makes it."""

    __slots__ = ("config", "input", "make_call", "model", "options", "plain", "stop", "tiers")

    def __init__(  # noqa: PLR0917 (as LangChain has them)
        self,
        model: Any,
        plain: Any,
        tiers: Tiers,
        make_call: MakeCall,
        input: object,  # noqa: A002
        config: Any,
        stop: Any,
        options: dict[str, Any],
    ) -> None:
        """`model`: the cached one; `plain`: its twin; the rest as for `invoke`."""
        self.model = model
        self.plain = plain
        self.tiers = tiers
        self.make_call = make_call
        self.input = input
        self.config = config
        self.stop = stop
        self.options = options

    def message(self) -> AIMessage | None:
        """The answer, if it is a hit in memory that nobody observes."""
        found = self._find(streams=False)
        return None if found is None else chat_generations(found[1])[0].message  # type: ignore[return-value]

    def chunks(self, *, is_async: bool) -> Iterator[tuple[AIMessageChunk, float]] | None:
        """The chunks of a hit in memory that nobody observes, with the seconds that they took."""
        if not self.plain._should_stream(async_api=is_async, **{**self.options, "stream": True}):  # noqa: SLF001
            return None
        found = self._find(streams=True)
        if found is None:
            return None
        call, hit = found
        fresh_ids = self.tiers.settings.fresh_ids
        return _passed_on(chunks_of(hit, call.recording, fresh_ids=fresh_ids), self.plain)

    def _find(self, *, streams: bool) -> tuple[ModelCall, Sequence[Generation]] | None:
        if current.get() is not None or not _is_unobserved(self.model, self.config):
            return None
        messages = _normalized(self.model._convert_input(self.input).to_messages())  # noqa: SLF001
        options = {name: it for name, it in self.options.items() if name not in FOR_TRACES}
        question = Question(self.plain, messages, self.stop, None, options)
        call = call_of(self.tiers, question, self.make_call, streams=streams)
        # A retry, or an answer that a parser refuses, is for the other way.
        if call is None or call.lookup.chain is not None:
            return None
        hit = call.at_once()
        return (call, hit) if hit else None


def _is_unobserved(model: Any, config: Any) -> bool:
    if config is not None and not TOLD_ONLY.issuperset(
        name for name, value in config.items() if value is not None
    ):
        return False
    around = var_child_runnable_config.get()
    if around is not None and around.get("callbacks") is not None:
        return False
    manager = _managers().configure(None, model.callbacks, model.verbose)
    return all(type(handler) is RunWatch for handler in manager.handlers)


def _managers() -> Any:
    return importlib.import_module("langchain_core.callbacks.manager").CallbackManager


def _normalized(messages: list[Any]) -> list[Any]:
    utils = importlib.import_module("langchain_core.language_models._utils")
    return utils._normalize_messages(messages)  # type: ignore[no-any-return] # noqa: SLF001


def _passed_on(
    chunks: Iterator[tuple[ChatGenerationChunk, float]], model: Any
) -> Iterator[tuple[AIMessageChunk, float]]:
    """The messages of chunks as LangChain's `stream` passes them on."""
    run_id = f"lc_run--{uuid4()}"
    delays: list[float] = []

    def untimed() -> Iterator[ChatGenerationChunk]:
        for chunk, delay in chunks:
            delays.append(delay)
            if chunk.message.id is None:
                chunk.message.id = run_id
            yield chunk

    message: Any = None
    for chunk in completed(untimed(), model):
        message = chunk.message
        yield message, delays.pop()
    if message is not None and not getattr(message, "chunk_position", None):
        content = "" if isinstance(message.content, str) else []
        yield type(message)(content=content, chunk_position="last", id=run_id), 0.0


class Replay:
    """The messages of a hit, one by one. No generator: asyncio would have to see to its end."""

    __slots__ = ("_chunks", "_is_paced")

    def __init__(self, chunks: Iterator[tuple[Any, float]], *, is_paced: bool) -> None:
        """`is_paced`: they are as far apart as they came."""
        self._chunks = chunks
        self._is_paced = is_paced

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> Any:
        """The next message."""
        step = next(self._chunks, None)
        if step is None:
            raise StopAsyncIteration
        if self._is_paced and step[1]:
            await anyio.sleep(step[1])
        return step[0]

    async def aclose(self) -> None:
        """Play no more."""
        self._chunks = iter(())


def replayed(chunks: Iterator[tuple[Any, float]], *, is_paced: bool) -> Iterator[Any]:
    """As `Replay`, for a thread."""
    for chunk, delay in chunks:
        if is_paced and delay:
            time.sleep(delay)
        yield chunk

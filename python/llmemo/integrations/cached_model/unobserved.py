"""Calls without a handler: there is nothing to tell, so LangChain's path is not taken.

Most of the time of a cached call is LangChain's: its callback managers, and what they would be
told. With any handler but llmemo's own, of the call, the model, the chain around it, a tracer or a
global setting, the call goes LangChain's way and each callback comes as always.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain_core.runnables.config import var_child_runnable_config
from typing_extensions import Self

from llmemo.config.options import current
from llmemo.integrations.cached_model.as_langchain import Completion, chat_generations, last_after
from llmemo.integrations.cached_model.calls import call_of
from llmemo.integrations.cached_model.question import Question
from llmemo.langchain.model_runs import RunWatch, guards

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.outputs import ChatGenerationChunk

    from llmemo.integrations.cached_model.stream_async import AsyncStream
    from llmemo.pipeline.tiers import Tiers
    from llmemo.store_io.client import MakeCall

TOLD_ONLY = frozenset({"metadata", "tags", "configurable", "max_concurrency", "recursion_limit"})
"""Keys of a config that matter to handlers, and to graphs, but not to a model."""

FOR_TRACES = ("ls_structured_output_format", "structured_output_format")
"""Options of a call that LangChain takes out before it asks the model."""


class Asked:
    """A call as the user makes it."""

    __slots__ = ("config", "input", "model", "options", "plain", "stop")

    def __init__(  # noqa: PLR0917 (as LangChain has them)
        self,
        model: Any,
        plain: Any,
        input: object,  # noqa: A002
        config: Any,
        stop: Any,
        options: dict[str, Any],
    ) -> None:
        """`model`: the cached one; `plain`: its twin; the rest as for `invoke`."""
        self.model = model
        self.plain = plain
        self.input = input
        self.config = config
        self.stop = stop
        self.options = options

    @property
    def is_observed(self) -> bool:
        """Whether a handler other than llmemo's own is to be told of the call."""
        config, model = self.config, self.model
        if guards:
            return True
        if config is not None and not TOLD_ONLY.issuperset(
            name for name, value in config.items() if value is not None
        ):
            return True
        around = var_child_runnable_config.get()
        if around is not None and around.get("callbacks") is not None:
            return True
        manager = _managers().configure(None, model.callbacks, model.verbose)
        return any(type(handler) is not RunWatch for handler in manager.handlers)

    def question(self) -> Question:
        """What LangChain would ask the model."""
        messages = _normalized(self.model._convert_input(self.input).to_messages())  # noqa: SLF001
        options = {name: it for name, it in self.options.items() if name not in FOR_TRACES}
        return Question(self.plain, messages, self.stop, None, options)

    def message(self, tiers: Tiers, make_call: MakeCall) -> AIMessage | None:
        """The answer, if it is a hit in memory and the call has no handler."""
        if current.get() is not None or self.is_observed:
            return None
        call = call_of(tiers, self.question(), make_call)
        # A retry, or an answer that a parser refuses, is for the other way.
        hit = None if call is None or call.lookup.chain is not None else call.at_once()
        return chat_generations(hit)[0].message if hit else None  # type: ignore[return-value]

    def may_stream(self, *, is_async: bool) -> bool:
        """Whether it is a stream without a handler."""
        options = {**self.options, "stream": True}
        return (
            self.plain._should_stream(async_api=is_async, **options)  # noqa: SLF001
            and not self.is_observed
        )


def _managers() -> Any:
    return importlib.import_module("langchain_core.callbacks.manager").CallbackManager


def _normalized(messages: list[Any]) -> list[Any]:
    utils = importlib.import_module("langchain_core.language_models._utils")
    return utils._normalize_messages(messages)  # type: ignore[no-any-return] # noqa: SLF001


class Messages:
    """Makes the messages of a stream of its chunks, as LangChain's `stream` passes them on."""

    def __init__(self, model: Any) -> None:
        """Begin a stream of this model."""
        self._run_id = f"lc_run--{uuid4()}"
        self._complete = Completion(model)
        self._last: Any = None

    def of(self, chunk: ChatGenerationChunk) -> AIMessageChunk:
        """The message of the next chunk."""
        message: Any = chunk.message
        if message.id is None:
            message.id = self._run_id
        self._complete(chunk)
        self._last = message = chunk.message
        return message  # type: ignore[no-any-return]

    def end(self) -> AIMessageChunk | None:
        """The message after the last chunk, if there has to be one.

        Raises:
            ValueError: There was no chunk.
        """
        last = self._last
        if last is None:
            msg = "No generation chunks were returned"  # as LangChain says
            raise ValueError(msg)
        after = last_after(last, self._run_id)
        self._last = after or last
        return after


class Unobserved:
    """The messages of a stream. No generator: asyncio would have to see to its end."""

    __slots__ = ("_chunks", "_messages")

    def __init__(self, chunks: AsyncStream, model: Any) -> None:
        """`chunks`: of this model."""
        self._chunks = chunks
        self._messages = Messages(model)

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> AIMessageChunk:
        """The next message.

        Raises:
            BaseException: Whatever the model raises.
        """
        try:
            chunk = await self._chunks.__anext__()
        except StopAsyncIteration:
            if not self._chunks.came_to_its_end:
                raise
            message = self._messages.end()
            if message is None:
                raise
            return message
        return self._messages.of(chunk)

    async def aclose(self) -> None:
        """Read no more."""
        await self._chunks.aclose()


def unobserved(chunks: Iterator[ChatGenerationChunk], model: Any) -> Iterator[AIMessageChunk]:
    """As `Unobserved`, for a thread."""
    messages = Messages(model)
    for chunk in chunks:
        yield messages.of(chunk)
    last = messages.end()
    if last is not None:
        yield last

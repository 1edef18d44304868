"""Models that do what a test says, and count how often they are asked."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import anyio
from langchain_core.caches import BaseCache
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult
from typing_extensions import override

from support.doubles import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import BaseMessage

    from llmemo import LLMCache


class Passing(BaseCache):
    """A cache of a user's that passes on what it is asked."""

    def __init__(self, inner: LLMCache) -> None:
        self.inner = inner

    @override
    def lookup(self, prompt: str, llm_string: str) -> Any:
        return self.inner.lookup(prompt, llm_string)

    @override
    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        self.inner.update(prompt, llm_string, return_val)

    @override
    def clear(self, **kwargs: Any) -> None:
        self.inner.clear()


def _result(text: str) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


class Scripted(BaseChatModel):
    """Answers with what `act` returns for the last message's text, or awaits it."""

    act: Any
    asked: list[str] = []  # noqa: RUF012 (Pydantic copies it)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"name": "scripted"}

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append(messages[-1].text)
        return _result(self.act(messages[-1].text))

    async def _agenerate(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> ChatResult:
        self.asked.append(messages[-1].text)
        answer = self.act(messages[-1].text)
        return _result(await answer if inspect.isawaitable(answer) else answer)


class ScriptedLLM(BaseLLM):
    """The same, of a completion model: it asks a cache for all prompts before it begins."""

    act: Any
    asked: list[str] = []  # noqa: RUF012 (Pydantic copies it)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"name": "scripted"}

    def _generate(self, prompts: list[str], *args: Any, **kwargs: Any) -> LLMResult:
        self.asked += prompts
        return LLMResult(generations=[[Generation(text=self.act(prompt))] for prompt in prompts])

    async def _agenerate(self, prompts: list[str], *args: Any, **kwargs: Any) -> LLMResult:
        self.asked += prompts
        texts = []
        for prompt in prompts:
            answer = self.act(prompt)
            texts.append(await answer if inspect.isawaitable(answer) else answer)
        return LLMResult(generations=[[Generation(text=text)] for text in texts])


def said(answer: Any) -> str:
    """An answer's text."""
    return str(getattr(answer, "content", answer))


def raising(error: BaseException) -> Callable[[str], str]:
    """An `act` that always fails."""

    def act(text: str) -> str:
        raise error

    return act


def waiters(cache: LLMCache) -> int:
    """How many wait for somebody else's answer."""
    flights = cache._tiers.flights
    assert flights is not None
    return sum(len(flight.waiters) for flight in flights._flights.values())


async def queued(cache: LLMCache, count: int) -> None:
    """Wait until so many do."""
    with anyio.fail_after(LIMIT):
        while waiters(cache) < count:  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0.001)

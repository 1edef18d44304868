"""`CacheMiddleware`: an agent's model is asked through a cache, and a hit makes a call's events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, ToolCallChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from support.scripted import Scripted

from llmemo import ConfigurationError, LLMCache, options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

agents = pytest.importorskip("langchain.agents")
pytestmark = pytest.mark.clients

from llmemo import CacheMiddleware  # noqa: E402 (it needs langchain)

QUESTION = {"messages": [("user", "How is Oslo?")]}


def weather(city: str) -> str:
    """Weather of a city."""
    return f"rain in {city}"


class Streams(Scripted):
    """Asks for a tool, and answers; streams word by word, and counts how often it is asked."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=[tool.name for tool in tools])

    def _answer(self, messages: list[Any]) -> AIMessage:
        self.asked.append(str(len(messages)))
        if any(isinstance(message, AIMessage) for message in messages):
            return AIMessage("It rains in Oslo.")
        call = {"name": "weather", "args": {"city": "Oslo"}, "id": "call_1"}
        return AIMessage("", tool_calls=[call])

    def _generate(self, messages: list[Any], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages))])

    def _stream(
        self, messages: list[Any], *args: Any, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        answer = self._answer(messages)
        for call in answer.tool_calls:
            part = ToolCallChunk(
                name=call["name"],
                args='{"city": "Oslo"}',
                id=call["id"],
                index=0,
                type="tool_call_chunk",
            )
            message = AIMessageChunk(content="", tool_call_chunks=[part])
            yield ChatGenerationChunk(message=message)
        for word in str(answer.content).split():
            yield ChatGenerationChunk(message=AIMessageChunk(content=f"{word} "))


def agent_of(model: Any, middleware: Any) -> Any:
    return agents.create_agent(model, [weather], middleware=[middleware])


def tokens(agent: Any) -> list[str]:
    streamed = agent.stream(QUESTION, stream_mode="messages")
    return [message.text for message, _ in streamed if isinstance(message, AIMessageChunk)]


async def atokens(agent: Any) -> list[str]:
    streamed = agent.astream(QUESTION, stream_mode="messages")
    return [message.text async for message, _ in streamed if isinstance(message, AIMessageChunk)]


def test_the_second_run_streams_the_same_tokens_and_asks_nothing(tmp_path: Path) -> None:
    model = Streams(act=None)
    with LLMCache(tmp_path / "a.db") as cache:
        agent = agent_of(model, CacheMiddleware(cache))
        cold = tokens(agent)
        assert len(model.asked) == 2
        assert [tokens(agent), asyncio.run(atokens(agent))] == [cold, cold]
        assert len(model.asked) == 2
        assert "rains " in cold
        assert agent.invoke(QUESTION)["messages"][-1].text.strip() == "It rains in Oslo."
        assert len(model.asked) == 2


def test_a_run_without_streams_serves_one_with(tmp_path: Path) -> None:
    model = Streams(act=None)
    with LLMCache() as cache:
        agent = agent_of(model, CacheMiddleware(cache))
        agent.invoke(QUESTION)
        assert "It rains in Oslo." in "".join(tokens(agent))
        assert len(model.asked) == 2


def test_options_of_the_middleware_hold_for_its_agent() -> None:
    model = Streams(act=None)
    with LLMCache() as cache:
        one = agent_of(model, CacheMiddleware(cache, namespace="one"))
        for agent in (one, agent_of(model, CacheMiddleware(cache, namespace="two")), one):
            agent.invoke(QUESTION)
        assert len(model.asked) == 4
        agent_of(model, CacheMiddleware(cache, namespace="one", mode="bypass")).invoke(QUESTION)
        assert len(model.asked) == 6
        with options(namespace="one"):
            agent_of(model, CacheMiddleware(cache)).invoke(QUESTION)
        assert len(model.asked) == 6


@pytest.mark.parametrize(
    "given", [{"cache": "a.db"}, {"mode": "never"}, {"ttl": -1}, {"replay": "slow"}]
)
def test_bad_arguments_are_told_when_it_is_made(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        CacheMiddleware(**given)

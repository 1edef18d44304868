"""An agent that streams, with a checkpointer: the second conversation makes no model call.

    python examples/agent.py

Talks to the real service with OPENAI_API_KEY set, else to the server in `openai_server.py`. Needs
langchain and langchain-openai.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Any

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from openai_server import OpenAIServer
from pydantic import SecretStr

from llmemo import CacheMiddleware, LLMCache

QUESTIONS = (
    "What is the weather in Paris, and what is that temperature in Fahrenheit?",
    "And in Oslo?",
)


def get_weather(city: str) -> str:
    """Look up the current weather in a city."""
    return f"21.5 degrees Celsius and dry in {city}."


def convert_temperature(celsius: float, unit: str) -> str:
    """Convert a temperature in degrees Celsius to another unit."""
    return f"{celsius * 9 / 5 + 32:.1f} degrees {unit}."


async def converse(agent: Any, thread: str) -> list[str]:
    """Ask all questions in one thread of the checkpointer; returns the words as they came."""
    words: list[str] = []
    for question in QUESTIONS:
        state: Any = {"messages": [("user", question)]}
        config: Any = {"configurable": {"thread_id": thread}}
        async for message, _ in agent.astream(state, config, stream_mode="messages"):
            if isinstance(message, AIMessageChunk) and message.text:
                words.append(message.text)
    return words


async def main(path: str) -> tuple[list[str], list[str], int, int]:
    """Hold the same conversation twice: its words, and the model calls of each."""
    with contextlib.ExitStack() as stack:
        given: dict[str, Any] = {}
        if not os.environ.get("OPENAI_API_KEY"):
            server = stack.enter_context(OpenAIServer(latency=0.1))
            given = {"base_url": server.url, "api_key": SecretStr("unused")}
        model = ChatOpenAI(model="gpt-5.4-nano", stream_usage=True, **given)
        async with LLMCache(path) as cache:
            agent = create_agent(
                model,
                [get_weather, convert_temperature],
                middleware=[CacheMiddleware(cache)],
                checkpointer=InMemorySaver(),
            )
            first = await converse(agent, "first")
            cold = cache.stats().misses
            second = await converse(agent, "second")
            return first, second, cold, cache.stats().misses - cold


if __name__ == "__main__":
    words, again, cold, warm = asyncio.run(main(sys.argv[1] if sys.argv[1:] else "agent.db"))
    print(" | ".join(words))
    print(f"first conversation: {cold} model calls; the same again: {warm}")
    sys.exit(0 if words == again and not warm else 1)

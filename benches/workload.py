"""Requests and answers as LangChain makes them: what the caches under test are given.

Requests are kept as bytes and decoded anew for each use, outside the timed section. A str caches
its hash, so one that was used before would spare a dict-based cache the hashing that every real
call pays: LangChain builds both strings afresh for each call.
"""

from __future__ import annotations

import random
from asyncio import gather
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

Request: TypeAlias = tuple[str, str]

# What langchain-openai 1.7 makes of ChatOpenAI(model="gpt-5-mini") with one tool bound.
LLM_STRING = (
    b'{"id": ["langchain", "chat_models", "openai", "ChatOpenAI"], "kwargs": {"model_name": '
    b'"gpt-5-mini", "openai_api_key": {"id": ["OPENAI_API_KEY"], "lc": 1, "type": "secret"}, '
    b'"stream_usage": true}, "lc": 1, "name": "ChatOpenAI", "type": "constructor"}---'
    b"[('stop', None), ('tools', [{'type': 'function', 'function': {'name': 'weather', "
    b"'description': 'Weather of a city.', 'parameters': {'properties': {'city': "
    b"{'type': 'string'}}, "
    b"'required': ['city'], 'type': 'object'}}}])]"
)
_SYLLABLES = ("ka", "ri", "mo", "ten", "lu", "sha", "po", "ne", "vi", "dor", "as", "el")


@cache
def _book() -> str:
    """A long text without a pattern that a cache could profit from."""
    choose = random.Random(0)
    words = ("".join(choose.choices(_SYLLABLES, k=choose.randint(1, 4))) for _ in range(60_000))
    return " ".join(words)


def _text(seed: int, length: int) -> str:
    """`length` characters of the book, elsewhere for each seed."""
    start = seed * 7919 % (len(_book()) - length)
    return _book()[start : start + length]


@cache
def _envelope() -> int:
    return len(dumps([HumanMessage("")]))


def prompt(index: int, size: int) -> bytes:
    """A chat model's prompt: `dumps` of one message, `size` bytes, different for each index."""
    text = f"Question {index}: "
    rest = size - _envelope() - len(text)
    return dumps([HumanMessage(text + _text(index, rest))]).encode()


def fresh(prompts: Iterable[bytes]) -> list[Request]:
    """Requests whose strings nobody has hashed yet."""
    return [(prompt.decode(), LLM_STRING.decode()) for prompt in prompts]


def answer(index: int) -> list[ChatGeneration]:
    """An answer of 1 KB of text, with a tool call and metadata, different for each index."""
    return [
        ChatGeneration(
            message=_reply(index, f"Answer {index}: {_text(index, 1024)}"[:1024]),
            generation_info={"finish_reason": "tool_calls", "logprobs": None},
        )
    ]


def same(found: Sequence[Generation] | None, index: int) -> bool:
    """Whether `found` is the answer of `index`: its text and its tool call."""
    if found is None or len(found) != 1:
        return False
    expected, message = answer(index)[0].message, getattr(found[0], "message", None)
    return (
        isinstance(message, AIMessage)
        and message.content == expected.content
        and message.tool_calls == _reply(index, "").tool_calls
    )


async def spread(
    method: Callable[..., Awaitable[Any]], calls: Sequence[tuple[Any, ...]], width: int
) -> list[Any]:
    """Await one call after the other, or `width` of them at once."""
    if width == 1:
        return [await method(*call) for call in calls]
    results: list[Any] = []
    for start in range(0, len(calls), width):
        results += await gather(*(method(*call) for call in calls[start : start + width]))
    return results


def conversation(length: int) -> list[BaseMessage]:
    """An agent's history of `length` messages: questions, tool calls, tool results, answers."""
    messages: list[BaseMessage] = [HumanMessage(_text(0, 160))]
    if length > 1:
        messages.insert(0, SystemMessage(f"You are a helpful assistant. {_text(1, 200)}"))
    for index in range(len(messages), length):
        match index % 4:
            case 2:
                messages.append(_reply(index, ""))
            case 3:
                messages.append(
                    ToolMessage(
                        _text(index, 300), tool_call_id=f"call_{index - 1:024d}", name="weather"
                    )
                )
            case 0:
                messages.append(AIMessage(_text(index, 450), id=f"chatcmpl-{index:024d}"))
            case _:
                messages.append(HumanMessage(_text(index, 180)))
    return messages


def _reply(index: int, text: str) -> AIMessage:
    return AIMessage(
        text,
        id=f"lc_run--{index:032x}",
        tool_calls=[
            {"name": "weather", "args": {"city": f"City {index}"}, "id": f"call_{index:024d}"}
        ],
        usage_metadata={
            "input_tokens": 812,
            "output_tokens": 263,
            "total_tokens": 1075,
            "input_token_details": {"audio": 0, "cache_read": 0},
            "output_token_details": {"audio": 0, "reasoning": 64},
        },
        response_metadata={
            "model_provider": "openai",
            "model_name": "gpt-5-mini-2025-08-07",
            "system_fingerprint": "fp_44709d6fcb",
            "id": f"chatcmpl-{index:024d}",
            "service_tier": "default",
            "finish_reason": "tool_calls",
            "logprobs": None,
        },
    )

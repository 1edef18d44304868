"""Chains that ask until they get what they want."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.output_parsers import PydanticOutputParser
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel

from support.scripted import Scripted, ScriptedLLM

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo import LLMCache

BAD, GOOD = "no number", '{"age": 7}'


class Person(BaseModel):
    """What is asked for."""

    age: int


PARSER = PydanticOutputParser(pydantic_object=Person)


def answers(*texts: str | Exception) -> Callable[[str], str]:
    """Says these, one after the other, and the last from then on."""
    rest = list(texts)

    def act(_: str) -> str:
        text = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(text, Exception):
            raise text
        return text

    return act


def chat(cache: LLMCache | None, *texts: str | Exception) -> Any:
    return Scripted(act=answers(*texts), cache=cache, asked=[])


def completes(cache: LLMCache | None, *texts: str | Exception) -> Any:
    return ScriptedLLM(act=answers(*texts), cache=cache, asked=[])


def again(chain: Any, attempts: int = 3) -> Any:
    return chain.with_retry(stop_after_attempt=attempts, wait_exponential_jitter=False)


async def asked(chain: Any, value: Any, *, is_async: bool) -> Any:
    return await chain.ainvoke(value) if is_async else chain.invoke(value)


def check(value: Any) -> Any:
    """What a user writes in the place of a parser."""
    if "7" not in getattr(value, "content", value):
        raise ValueError("there is no 7")
    return value


CHECK = RunnableLambda(check)

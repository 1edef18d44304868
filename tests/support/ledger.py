"""Who of a schedule may call a model, and the models that are called."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import ChatResult, Generation, LLMResult

from support.scripted import Scripted, ScriptedLLM

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage


@dataclass
class Account:
    """How often a model may be asked one thing by those who could have waited instead."""

    allowed: int = 1
    begun: int = 0
    failures: int = 0
    is_free: bool = False
    """Whether everybody may ask: after two failures, or if no answer can be handed on.

    In a row, says the cache. Here two are enough, since nobody sees from outside in which order a
    failure and another's update, which its model has answered before, reach the cache.
    """
    history: list[str] = field(default_factory=list)


class Ledger:
    """Every call of a schedule, counted as it begins and ends, from any thread.

    Of those who could have waited there is one call more, at the most, than calls that failed or
    were cancelled; where answers are not kept, than calls that have ended.
    """

    def __init__(self, *, is_kept: bool, is_bounded: bool) -> None:
        self.is_kept, self.is_bounded = is_kept, is_bounded
        self.accounts: dict[str, Account] = {}
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def begin(self, name: str, *, may_wait: bool) -> None:
        with self._lock:
            self.counts["model_calls"] += 1
            account = self.accounts.setdefault(name, Account())
            account.begun += may_wait
            account.history.append("begun" if may_wait else "begun without waiting")
            if self.is_bounded and account.begun > account.allowed and not account.is_free:
                self.wrong.append(f"too many calls for {name}: {account}")

    def end(self, name: str, how: str) -> None:
        with self._lock:
            self.counts[how] += 1
            account = self.accounts.setdefault(name, Account())
            account.history.append(how)
            if how == "answered":
                account.allowed += not self.is_kept
                return
            account.allowed += 1
            account.failures += how == "failed"
            account.is_free |= how == "garbled" or account.failures >= 2

    def answer(self, name: str, text: str) -> None:
        with self._lock:
            self.counts["answers"] += 1
            if text != f"answer to {name}":
                self.wrong.append(f"{name} was answered {text!r}")


class Completion(ScriptedLLM):
    """Its `act` is given all prompts of a batch, which fail or succeed together."""

    def _generate(self, prompts: list[str], *args: Any, **kwargs: Any) -> LLMResult:
        return batch(self.act(prompts))

    async def _agenerate(self, prompts: list[str], *args: Any, **kwargs: Any) -> LLMResult:
        return batch(await self.act(prompts))


class Chat(Scripted):
    """Its `act` may give something that cannot be stored."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return garbled(super()._generate(messages))

    async def _agenerate(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> ChatResult:
        return garbled(await super()._agenerate(messages))


GARBLE = " (garbled)"
"""At the end of an answer: it is to be given to its caller, but cannot be encoded."""


def garbled(result: ChatResult) -> ChatResult:
    message = result.generations[0].message
    if str(message.content).endswith(GARBLE):
        message.content = str(message.content).removesuffix(GARBLE)
        message.response_metadata["lock"] = threading.Lock()
    return result


def batch(texts: list[str]) -> LLMResult:
    return LLMResult(generations=[[generation(text)] for text in texts])


def generation(text: str) -> Generation:
    is_garbled = text.endswith(GARBLE)
    info = {"lock": threading.Lock()} if is_garbled else None
    return Generation(text=text.removesuffix(GARBLE), generation_info=info)

"""A whole cached call, `await model.ainvoke(messages)`, of which the cache is only a part.

LangChain serialises the messages before it asks the cache: at 100 messages, most of the time, which
is what `accelerate` is for.
"""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps
from langchain_core.outputs import ChatResult
from pydantic import PrivateAttr

from benches.rivals import ALL, LANGCHAIN, MEMORY, SUBJECT, Rival, close
from benches.workload import answer, conversation, same
from llmemo import accelerate

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from pathlib import Path

    from langchain_core.callbacks import CallbackManagerForLLMRun
    from langchain_core.messages import AIMessage, BaseMessage

    from benches.conftest import Measure

chat_models: Any = importlib.import_module("langchain_core.language_models.chat_models")

# Calls in a round, by the messages of each.
CALLS = {1: 64, 100: 16}


class AnswersOnce(BaseChatModel):
    """A chat model that answers its first call, and fails any other: that one was no hit."""

    _answered: bool = PrivateAttr(default=False)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        # As the models of provider packages are: LangChain builds their llm_string another way.
        return True

    @property
    def _llm_type(self) -> str:
        return "answers-once"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if self._answered:
            raise AssertionError("the model was called, so it was no hit")
        self._answered = True
        return ChatResult(generations=answer(0))


def counts(name: str) -> pytest.MarkDecorator:
    """A bench for each number of messages, each in a group of its own."""
    groups = {count: f"{name}, {count} message{'s' if count > 1 else ''}" for count in CALLS}
    return pytest.mark.parametrize(
        "messages",
        [
            pytest.param(count, marks=pytest.mark.benchmark(group=group))
            for count, group in groups.items()
        ],
    )


def measure_hits(
    measure: Measure,
    rival: Rival,
    loop: AbstractEventLoop,
    model: Any,
    messages: int,
    config: Any = None,
) -> AIMessage:
    """Time calls that hit. Returns the answer of one."""
    history = conversation(messages)
    reply: AIMessage = loop.run_until_complete(model.ainvoke(history, config))

    async def invoke(calls: int) -> list[AIMessage]:
        return [await model.ainvoke(history, config) for _ in range(calls)]

    def run(calls: int) -> int:
        text = str(answer(0)[0].message.content)
        return sum(reply.content == text for reply in loop.run_until_complete(invoke(calls)))

    measure(rival, run, lambda: CALLS[messages], operations=CALLS[messages])
    (reply,) = loop.run_until_complete(invoke(1))
    return reply


@pytest.mark.parametrize("rival", ALL, ids=str)
@counts("cached ainvoke")
def test_ainvoke(
    measure: Measure,
    rival: Rival,
    folder: Callable[[], Path],
    loop: AbstractEventLoop,
    messages: int,
) -> None:
    opened = rival.open(folder())
    model = AnswersOnce(cache=opened)
    reply = measure_hits(measure, rival, loop, model, messages)
    assert same([answer(0)[0].model_copy(update={"message": reply})], 0)
    close(opened)


@pytest.mark.parametrize("rival", MEMORY[:2], ids=str)
@counts("accelerated ainvoke")
def test_accelerated_ainvoke(
    measure: Measure,
    rival: Rival,
    folder: Callable[[], Path],
    loop: AbstractEventLoop,
    messages: int,
) -> None:
    """llmemo as it can be had, beside a cache as LangChain calls it."""
    with accelerate() if rival.name == SUBJECT else nullcontext() as acceleration:
        test_ainvoke(measure, rival, folder, loop, messages)
    assert acceleration is None or (acceleration.handled > 0 and acceleration.fallbacks == 0)


@pytest.mark.parametrize("rival", [MEMORY[0], LANGCHAIN], ids=str)
@pytest.mark.benchmark(group="dumps, 100 messages")
def test_dumps(measure: Measure, rival: Rival) -> None:
    history = conversation(100)

    def run(calls: int) -> int:
        return sum(len(chat_models.dumps(history)) == len(expected) for _ in range(calls))

    expected = dumps(history)
    with accelerate() if rival.name == SUBJECT else nullcontext():
        measure(rival, run, lambda: 16, operations=16)
        assert chat_models.dumps(history) == expected

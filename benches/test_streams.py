"""`cached(model)`: calls and streams without a handler, and what recording a stream costs.

The rivals are what a user would do instead: a model with LangChain's InMemoryCache, which knows no
streams, and a plain model, whose stream asks no cache.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from benches.rivals import IN_MEMORY, MEMORY, SUBJECT, Rival, close
from benches.test_model import CALLS, AnswersOnce, counts, measure_hits
from benches.workload import conversation
from llmemo import LLMCache, cached

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from benches.conftest import Measure

CHUNKS = 1_000

BY_BASE_CACHE = Rival("set_llm_cache", MEMORY[0].open)
"""llmemo by way of LangChain's `BaseCache`."""

AINVOKE = Rival("its ainvoke", MEMORY[0].open)

PLAIN = Rival("plain stream", IN_MEMORY.open)

CACHED = (MEMORY[0], IN_MEMORY)


class Streams(AnswersOnce):
    """Streams a thousand words, as often as it is asked."""

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        metadata = {"model_provider": "openai"}
        for number in range(CHUNKS):
            message = AIMessageChunk(content=f" word{number}", response_metadata=dict(metadata))
            yield ChatGenerationChunk(message=message)


class Watches(BaseCallbackHandler):
    """A handler that does nothing, so that LangChain's path is taken."""


def model_of(rival: Rival, opened: Any) -> Any:
    """The rival's model; llmemo's is a cached one."""
    plain = AnswersOnce(cache=opened)
    return cached(plain, opened) if rival.name in {SUBJECT, AINVOKE.name} else plain


@pytest.mark.parametrize("rival", CACHED, ids=str)
@counts("cached(model).ainvoke")
def test_ainvoke_of_a_cached_model(
    measure: Measure,
    rival: Rival,
    folder: Callable[[], Path],
    loop: AbstractEventLoop,
    messages: int,
) -> None:
    opened = rival.open(folder())
    measure_hits(measure, rival, loop, model_of(rival, opened), messages)
    close(opened)


@pytest.mark.parametrize("rival", [MEMORY[0], BY_BASE_CACHE], ids=str)
@counts("cached(model).ainvoke with a handler")
def test_ainvoke_that_is_observed(
    measure: Measure,
    rival: Rival,
    folder: Callable[[], Path],
    loop: AbstractEventLoop,
    messages: int,
) -> None:
    opened = rival.open(folder())
    config: Any = {"callbacks": [Watches()]}
    measure_hits(measure, rival, loop, model_of(rival, opened), messages, config)
    close(opened)


@pytest.mark.parametrize("rival", [MEMORY[0], IN_MEMORY, AINVOKE], ids=str)
@counts("first chunk of a cached astream")
def test_first_chunk(
    measure: Measure,
    rival: Rival,
    folder: Callable[[], Path],
    loop: AbstractEventLoop,
    messages: int,
) -> None:
    """Beside a whole `ainvoke` that hits: LangChain has no stream that does."""
    opened: Any = rival.open(folder())
    history = conversation(messages)
    if rival.name == IN_MEMORY.name:
        model: Any = AnswersOnce(cache=opened)
        loop.run_until_complete(model.ainvoke(history))
    else:
        model = cached(Streams(), opened)
        loop.run_until_complete(_drained(model, history))

    async def first(calls: int) -> int:
        found = 0
        for _ in range(calls):
            if rival.name == SUBJECT:
                stream = model.astream(history)
                found += (await anext_of(stream)).content == " word0"
                await stream.aclose()
            else:
                found += bool((await model.ainvoke(history)).content)
        return found

    def run(calls: int) -> int:
        return loop.run_until_complete(first(calls))

    measure(rival, run, lambda: CALLS[messages], operations=CALLS[messages])
    close(opened)


@pytest.mark.parametrize("rival", [MEMORY[0], PLAIN], ids=str)
@pytest.mark.benchmark(group="stream of 1,000 chunks that is recorded, each")
def test_recording(measure: Measure, rival: Rival, loop: AbstractEventLoop) -> None:
    with LLMCache() as cache:
        plain = Streams()
        model = cached(plain, cache) if rival.name == SUBJECT else plain
        numbers = itertools.count()
        measure(
            rival,
            lambda prompt: loop.run_until_complete(_drained(model, prompt)) - 1,
            lambda: f"question {next(numbers)}",
            operations=CHUNKS,
        )
        assert cache.stats().hits == 0


async def anext_of(stream: AsyncIterator[Any]) -> Any:
    """The next item. (Python 3.10 has `anext`, whose awaitable takes longer.)"""
    return await stream.__anext__()


async def _drained(model: Any, prompt: Any) -> int:
    return sum([1 async for _ in model.astream(prompt)])

"""Caches of the user's that stand between LangChain and this one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import LLM
from support.scripted import Passing
from typing_extensions import override

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Iterator


class Model(LLM):
    """Says how it was made; its text does not."""

    n: int = 1

    @property
    def _llm_type(self) -> str:
        return "thin"

    def _call(self, prompt: str, *args: Any, **kwargs: Any) -> str:
        return str(self.n)


class Prefixing(Passing):
    """Passes on another text."""

    @override
    def lookup(self, prompt: str, llm_string: str) -> Any:
        return self.inner.lookup(prompt, f"tenant:{llm_string}")

    @override
    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        self.inner.update(prompt, f"tenant:{llm_string}", return_val)


class Threaded(Passing):
    """Asks from another thread."""

    @override
    async def alookup(self, prompt: str, llm_string: str) -> Any:
        return await asyncio.to_thread(self.inner.lookup, prompt, llm_string)

    @override
    async def aupdate(self, prompt: str, llm_string: str, return_val: Any) -> None:
        await asyncio.to_thread(self.inner.update, prompt, llm_string, return_val)


@pytest.fixture
def cache() -> Iterator[LLMCache]:
    with LLMCache() as cache:
        yield cache


def test_a_model_is_seen_through_a_cache_that_passes_on(cache: LLMCache) -> None:
    passing = Passing(cache)
    answers = [Model(n=n, cache=passing).invoke("q") for n in (1, 2, 1, 2)]
    assert answers == ["1", "2", "1", "2"]
    assert (cache.stats().misses, cache.stats().hits) == (2, 2)


def test_a_model_that_another_text_hides_goes_past_the_cache(cache: LLMCache) -> None:
    prefixing = Prefixing(cache)
    assert [Model(n=n, cache=prefixing).invoke("q") for n in (1, 2)] == ["1", "2"]
    assert cache.stats().bypassed == {"hidden_model": 4}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", [Threaded, Passing])  # the latter's `alookup` is BaseCache's own
async def test_a_model_that_another_thread_hides_goes_past_the_cache(
    cache: LLMCache, kind: type[Passing]
) -> None:
    hiding = kind(cache)
    assert [await Model(n=n, cache=hiding).ainvoke("q") for n in (1, 2)] == ["1", "2"]
    assert cache.stats().bypassed == {"hidden_model": 4}

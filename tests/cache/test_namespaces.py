"""Tenants share a cache, and nothing in it: no answer, no removal, no room."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from langchain_core.outputs import Generation
from support.doubles import ROUNDS
from support.scripted import Scripted, said

from llmemo import LLMCache, options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeCache = Callable[..., LLMCache]

pytestmark = pytest.mark.anyio

# Names that a delimiter, a prefix, a case or a Unicode form could confuse.
AWKWARD = ["", "a", "A", "a\0", "a:b", "a b", " a", "ä", "a\u0308", "\ud800", "m", "a" * 10_000]
NAMES = AWKWARD + [f"tenant-{number}" for number in range(100 - len(AWKWARD))]
PROMPTS = min(1_000, 20 * ROUNDS)


def answer(name: str, prompt: str) -> list[Generation]:
    return [Generation(text=f"{name!a} {prompt}")]


def ask(cache: LLMCache, name: str, prompt: str) -> bool:
    """Whether there is an answer, which is then this tenant's own."""
    with options(namespace=name):
        hit = cache.lookup(prompt, "m")
    assert hit in (None, answer(name, prompt)), (name, prompt)
    return hit is not None


def tell(cache: LLMCache, name: str, prompt: str) -> None:
    with options(namespace=name):
        cache.update(prompt, "m", answer(name, prompt))


@pytest.mark.slow
async def test_a_hundred_tenants_ask_the_same(make_cache: MakeCache) -> None:
    cache = make_cache(single_flight=False)
    prompts = [f"prompt {number}" for number in range(PROMPTS)]

    async def fill(name: str) -> None:
        with options(namespace=name):
            for prompt in prompts:
                assert await cache.alookup(prompt, "m") is None
                await cache.aupdate(prompt, "m", answer(name, prompt))

    # All at once: what one says must not be heard by another.
    await asyncio.gather(*map(fill, NAMES))
    for each in (cache, make_cache(single_flight=False)):
        if each is cache or cache._tiers.executor is not None:
            assert all(ask(each, name, prompt) for name in NAMES for prompt in prompts)

    with options(namespace="a"):
        assert all(cache.delete(prompt, "m") for prompt in prompts)
    assert cache.invalidate(namespace="tenant-1") == PROMPTS
    kept = [name for name in NAMES if name not in ("a", "tenant-1")]
    for name in NAMES:
        assert all(ask(cache, name, prompt) == (name in kept) for prompt in prompts)
    assert cache.stats().evictions == 0
    assert cache.stats().errors == {}


@pytest.mark.slow
async def test_tenants_who_ask_at_once_do_not_wait_for_each_other(make_cache: MakeCache) -> None:
    cache = make_cache()

    async def act(text: str) -> str:
        await asyncio.sleep(0)
        return f"{len(model.asked)}"

    model = Scripted(act=act, cache=cache)

    async def call(name: str) -> str:
        with options(namespace=name):
            return said(await model.ainvoke("p"))

    answers = await asyncio.gather(*(call(name) for name in NAMES for _ in range(3)))
    assert len(model.asked) == len(NAMES)
    for at in range(len(NAMES)):
        assert len(set(answers[3 * at : 3 * at + 3])) == 1


def occupied(cache: LLMCache, name: str) -> int:
    """Bytes that a namespace takes: what is free once it has gone."""
    before = cache.stats().bytes
    with_all = cache._tiers.memory
    with_all.invalidate(with_all.label(name), None, None)
    return before - cache.stats().bytes


@pytest.mark.slow
@pytest.mark.parametrize("has_store", [False, True])
def test_each_namespace_has_its_bound(has_store: bool, tmp_path: Path) -> None:
    bound = 20_000
    with LLMCache(
        tmp_path / "a.db" if has_store else None, namespace_max_bytes=bound, single_flight=False
    ) as cache:
        for number in range(200):
            for name in ("a", "b", ""):
                tell(cache, name, f"prompt {number}")
            tell(cache, "small", f"prompt {number % 3}")
        assert cache.stats().bytes <= 4 * bound
        # Each its own least recently used; and who has little, nothing.
        recent = [f"prompt {number}" for number in range(190, 200)]
        memory = cache._tiers.memory
        known = {name: len(memory.recent(name, 1_000, 2**20)) for name in ("a", "b", "", "small")}
        assert known["small"] == 3
        assert all(10 < known[name] < 100 for name in ("a", "b", ""))
        assert all(ask(cache, name, prompt) for name in ("a", "b", "") for prompt in recent)
        # It is evicted from memory, not from the store.
        assert ask(cache, "a", "prompt 0") == has_store
        for name in ("a", "b", ""):
            assert 0.8 * bound < occupied(cache, name) <= bound
        assert 0 < occupied(cache, "small") < 3_000
        assert (cache.stats().bytes, cache.stats().entries) == (0, 0)


@pytest.mark.parametrize("bound", [{"max_bytes": 100_000}, {"max_entries": 100}])
def test_one_that_floods_drives_out_its_own(bound: dict[str, int]) -> None:
    cache = LLMCache(single_flight=False, **bound)  # type: ignore[arg-type]
    quiet = ["one", "two", "three"]
    prompts = [f"prompt {number}" for number in range(10)]
    for name in quiet:
        for prompt in prompts:
            tell(cache, name, prompt)
    for number in range(1_000 * max(1, ROUNDS // 10)):
        tell(cache, "flood", f"prompt {number}")
        # As if its own model changed with each call.
        with options(namespace="flood"):
            cache.update("p", f"[('seed', {number})]", answer("flood", "p"))
    assert cache.stats().evictions > 1_000
    assert all(ask(cache, name, prompt) for name in quiet for prompt in prompts)
    assert ask(cache, "flood", f"prompt {number}")
    assert not ask(cache, "flood", "prompt 0")


def test_what_is_larger_than_its_namespace_may_be_is_not_kept_in_memory(tmp_path: Path) -> None:
    large = [Generation(text="x" * 20_000)]
    with LLMCache(namespace_max_bytes=10_000) as cache:
        tell(cache, "", "small")
        cache.update("p", "m", large)
        assert cache.stats().skipped == {"too_large": 1}
        assert ask(cache, "", "small")
    with LLMCache(tmp_path / "a.db", namespace_max_bytes=10_000) as cache:
        cache.update("p", "m", large)
        assert cache.lookup("p", "m") == large
        assert (cache.stats().skipped, cache.stats().store_hits) == ({}, 1)


def test_namespaces_that_come_and_go_leave_nothing_behind() -> None:
    seconds = itertools.count(1_700_000_000.0)
    cache = LLMCache(single_flight=False, max_bytes=50_000, clock=lambda: next(seconds))
    for number in range(2_000):
        tell(cache, f"session-{number}", "p")
        if number >= 20:
            assert cache.invalidate(namespace=f"session-{number - 20}") == 1
    assert (cache.stats().entries, cache.stats().evictions) == (20, 0)
    assert cache.invalidate(older_than=0.5) == 20
    assert (cache.stats().bytes, cache.stats().entries) == (0, 0)

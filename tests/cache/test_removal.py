"""What a user has removed is gone: from every tier and every process, and nothing else is."""

from __future__ import annotations

import asyncio
import itertools
import math
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import HumanMessage
from support.callers import until
from support.doubles import LIMIT, Clock, FakeStore, Fault, Held, answer
from support.scripted import Scripted

from llmemo import CacheClosedError, ConfigurationError, LLMCache, StoreError, options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    MakeCache = Callable[..., LLMCache]
    Invalidate = Callable[..., Awaitable[int]]

pytestmark = pytest.mark.anyio

MODELS = ("[('model', 'one')]", "[('model', 'two')]")
NAMESPACES = ("", "a", "ä\ud800")
PROMPTS = ("p", "q")


@pytest.fixture(params=["sync", "async"])
def invalidate(request: pytest.FixtureRequest) -> Invalidate:
    async def call(cache: LLMCache, **what: Any) -> int:
        if request.param == "async":
            return await cache.ainvalidate(**what)
        return await asyncio.to_thread(lambda: cache.invalidate(**what))

    return call


ENTRIES = list(itertools.product(NAMESPACES, MODELS, PROMPTS))


def fill(cache: LLMCache, clock: Clock) -> dict[tuple[str, str, str], float]:
    """An entry for each of them, each 10 seconds after the one before. When they were made."""
    made = {}
    for namespace, model, prompt in ENTRIES:
        clock.now += 10
        with options(namespace=namespace):
            cache.update(prompt, model, answer(f"{namespace!r}{model}{prompt}"))
        made[namespace, model, prompt] = clock.now
    return made


def left(cache: LLMCache) -> set[tuple[str, str, str]]:
    found = set()
    for namespace, model, prompt in ENTRIES:
        with options(namespace=namespace):
            hit = cache.lookup(prompt, model)
        if hit is not None:
            assert hit == answer(f"{namespace!r}{model}{prompt}")
            found.add((namespace, model, prompt))
    return found


# By turns in an event loop and without one.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("namespace", "model", "older_than", "invalidate"),
    [
        (*each, ("sync", "async")[turn % 2])
        for turn, each in enumerate(
            itertools.product(
                [None, *NAMESPACES, "unknown"], [None, MODELS[1], "unknown"], [None, 55.0, 1e9]
            )
        )
        if any(one is not None for one in each)
    ],
    indirect=["invalidate"],
)
async def test_what_matches_all_that_is_given_goes_and_nothing_else(
    namespace: str | None,
    model: str | None,
    older_than: float | None,
    make_cache: MakeCache,
    invalidate: Invalidate,
) -> None:
    clock = Clock()
    cache = make_cache(clock=clock, single_flight=False, namespace="a")
    made = fill(cache, clock)
    before = math.inf if older_than is None else clock.now - older_than
    gone = {
        one
        for one in ENTRIES
        if (namespace is None or one[0] == namespace)
        and (model is None or one[1] == model)
        and made[one] < before
    }
    with options(namespace="whatever", mode="bypass"):  # a removal names what it removes
        what = {"namespace": namespace, "llm_string": model, "older_than": older_than}
        assert await invalidate(cache, **what) == len(gone)
        assert await invalidate(cache, **what) == 0
    assert left(cache) == set(ENTRIES) - gone
    if cache._tiers.executor is not None:
        assert left(make_cache(clock=clock, single_flight=False)) == set(ENTRIES) - gone
    assert cache.stats().errors == {}


async def test_a_model_is_known_by_what_its_description_means(
    make_cache: MakeCache, invalidate: Invalidate
) -> None:
    cache = make_cache(single_flight=False)
    # docs/keys.md: the order of a set depends on the process.
    same = ["[('stop', {'a', 'b'})]", "[('stop', {'b', 'a'})]"]
    other = "[('stop', ['a', 'b'])]"
    cache.update("p", same[0], answer("x"))
    cache.update("p", other, answer("y"))
    assert cache.lookup("p", same[1]) == answer("x")
    assert await invalidate(cache, llm_string=same[1]) == 1
    assert [cache.lookup("p", each) for each in (*same, other)] == [None, None, answer("y")]
    # Of a real model: what LangChain tells a cache.
    model = Scripted(act=str.upper, cache=cache)
    model.invoke("p")
    assert await invalidate(cache, llm_string=model._get_llm_string()) == 1
    model.invoke([HumanMessage("p")])
    assert model.asked == ["p", "p"]


@pytest.mark.slow
async def test_another_cache_on_the_file_stops_serving(
    tmp_path: Path, invalidate: Invalidate
) -> None:
    clock, path = Clock(), tmp_path / "cache.db"
    with (
        LLMCache(path, clock=clock, single_flight=False) as cache,
        LLMCache(path, clock=clock, single_flight=False) as other,
    ):
        fill(cache, clock)
        assert left(other) == set(ENTRIES)
        rest = {one for one in ENTRIES if one[0] != "a"}
        assert await invalidate(cache, namespace="a") == 4
        await until(lambda: other.stats().entries == len(rest))
        assert left(other) == rest
        # What is in no file any more, but in the memory of others.
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM entries")
        assert await invalidate(cache, llm_string=MODELS[0]) == 0
        rest = {one for one in rest if one[1] != MODELS[0]}
        await until(lambda: other.stats().entries == len(rest))
        assert await invalidate(cache, older_than=1) == 0
        await until(lambda: other.stats().entries == 1)  # the last one has just been made
        assert (other.stats().errors, cache.stats().errors) == ({}, {})


def removals(cache: LLMCache) -> list[Callable[[], Any]]:
    return [
        lambda: cache.delete("p", "m"),
        lambda: cache.invalidate(namespace=""),
        cache.clear,
    ]


METHODS = ["delete", "invalidate", "delete"]


@pytest.mark.parametrize("how", range(3))
async def test_a_read_that_began_before_brings_nothing_back(how: int) -> None:
    held = Held("get")
    store = FakeStore()
    with LLMCache(store, store_timeout=LIMIT) as cache:
        cache.update("p", "m", answer("old"))
        cache._tiers.memory.clear()
        found = store.records.copy()
        store.before = held
        with ThreadPoolExecutor(2) as pool:
            reading = pool.submit(cache.lookup, "p", "m")
            assert held.reached.wait(LIMIT)
            removing = pool.submit(removals(cache)[how])
            held.go.set()
            removing.result(LIMIT)
            reading.result(LIMIT)
        assert (store.records, len(found)) == ({}, 1)
        assert cache.stats().entries == 0
        assert cache.lookup("p", "m") is None


@pytest.mark.parametrize("how", range(3))
async def test_a_removal_whose_caller_has_left_is_finished(how: int) -> None:
    held = Held(METHODS[how])
    store = FakeStore(held)
    with LLMCache(store, single_flight=False) as cache:
        cache.update("p", "m", answer("old"))
        calls = [
            lambda: cache.adelete("p", "m"),
            lambda: cache.ainvalidate(namespace=""),
            cache.aclear,
        ]
        call = asyncio.ensure_future(calls[how]())  # type: ignore[operator]
        await asyncio.to_thread(held.reached.wait, LIMIT)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # As a lookup would, that found the record before it went.
        [(key, record)] = store.records.items()
        value = cache._tiers.envelope.open(record.value, key)
        assert cache._tiers.memory.put("p", "m", "", key, value)
        assert cache.lookup("p", "m") is not None
        held.go.set()
        await until(lambda: not store.records and not cache.stats().entries)
        assert cache.lookup("p", "m") is None


async def test_what_cannot_be_removed_is_said(invalidate: Invalidate) -> None:
    match = r"invalidate\(\) needs namespace=, llm_string= or older_than=: clear\(\)"
    store = FakeStore()
    cache = LLMCache(store)
    with pytest.raises(ConfigurationError, match=match):
        await invalidate(cache)
    for name, what in (("namespace", 7), ("llm_string", b"secret")):
        with pytest.raises(ConfigurationError, match=f"{name} is not a str but of type") as caught:
            await invalidate(cache, **{name: what})
        assert "secret" not in str(caught.value)
    for seconds in (0, -1, math.nan, math.inf, "1h", True):
        with pytest.raises(ConfigurationError, match="older_than=.*positive number of seconds"):
            await invalidate(cache, older_than=seconds)
    assert store.asked == []
    cache.close()
    with pytest.raises(CacheClosedError, match="closed: nothing can be removed"):
        await invalidate(cache, namespace="")
    for how in removals(cache):
        with pytest.raises(CacheClosedError):
            how()


@pytest.mark.parametrize("trouble", ["raises", "hangs", "cannot"])
async def test_a_store_in_trouble_is_said_and_memory_has_forgotten(
    trouble: str, invalidate: Invalidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held("invalidate")
    faults: dict[str, tuple[Any, str]] = {
        "raises": (Fault("invalidate", OSError(5, "disk")), "could not remove anything: OSError"),
        "hangs": (held, "did not confirm the removal within 0 s"),
        "cannot": (Fault("invalidate", NotImplementedError("select")), "NotImplementedError"),
    }
    before, match = faults[trouble]
    monkeypatch.setattr("llmemo.pipeline.invalidate.SWEEP_TIMEOUT", 0.1)
    with LLMCache(FakeStore(before)) as cache:
        cache.update("p", "m", answer("x"))
        try:
            with pytest.raises(StoreError, match=match):
                await invalidate(cache, namespace="")
            assert cache.stats().entries == 0
        finally:
            held.go.set()

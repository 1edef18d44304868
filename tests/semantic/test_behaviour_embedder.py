"""An embedder in trouble: lookups miss in time, exact hits go on, and near matches come back."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.globals import set_llm_cache
from support.doubles import LIMIT
from support.embedders import Gate
from support.near import Meaning, certify, keep, look, meant, near_cache, semantic, told, wording
from support.scripted import Scripted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from llmemo import LLMCache

    Ask = Callable[[LLMCache, str], Awaitable[str | None]]

pytestmark = pytest.mark.anyio


async def by_lookup(cache: LLMCache, text: str) -> str | None:
    return look(cache, text)


async def by_alookup(cache: LLMCache, text: str) -> str | None:
    hit = await cache.alookup(text, "m")
    return None if hit is None else hit[0].text


@pytest.fixture(params=[by_lookup, by_alookup])
def ask(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["memory", "store"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "cache.db" if request.param == "store" else None


def raise_error(texts: list[str]) -> None:
    raise ConnectionError("no network")


TROUBLE: dict[str, tuple[Callable[[list[str]], Any], str]] = {
    "raises": (raise_error, "embedder_failed"),
    "NaN": (lambda texts: [[float("nan")] * 64 for _ in texts], "embedder_invalid"),
    "infinite": (lambda texts: [[float("inf")] * 64 for _ in texts], "embedder_invalid"),
    "no vectors": (lambda texts: [], "embedder_invalid"),
    "empty vectors": (lambda texts: [[] for _ in texts], "embedder_invalid"),
    "too many": (lambda texts: meant([*texts, "more"]), "embedder_invalid"),
    "None": (lambda texts: None, "embedder_invalid"),
    "text": (lambda texts: ["0.5" for _ in texts], "embedder_invalid"),
    "zeros": (lambda texts: [[0.0] * 64 for _ in texts], "embedder_invalid"),
}


@pytest.mark.parametrize("trouble", TROUBLE)
async def test_an_embedder_in_trouble_makes_misses(
    where: Path | None, ask: Ask, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    embeddings = Meaning()
    answer, reason = TROUBLE[trouble]
    with near_cache(where, semantic=semantic(embeddings)) as cache:
        monkeypatch.setattr(semantic_tier(cache).embedder._breaker, "_clock", lambda: now[0])
        certify(cache)
        keep(cache, wording(0, "tides"))
        embeddings.answer = answer
        begun = time.monotonic()
        for number in range(1, 8):
            assert await ask(cache, wording(number, "tides")) is None
        assert time.monotonic() - begun < 5
        assert await ask(cache, wording(0, "tides")) == "all about tides"
        errors = cache.stats().errors
        assert errors[reason] >= 1
        assert set(errors) == {reason, "embedder_shut"}
        assert told(cache).abstained["no_vector"] == 7
        # It recovers.
        embeddings.answer = meant
        now[0] += 3_600
        await _until_found(lambda: ask(cache, wording(9, "tides")))


async def _until_found(find: Callable[[], Awaitable[str | None]]) -> None:
    end = time.monotonic() + LIMIT
    while await find() is None:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def test_an_embedder_that_hangs_makes_misses(where: Path | None, ask: Ask) -> None:
    embeddings, gate = Meaning(), Gate()
    with near_cache(where, semantic=semantic(embeddings, timeout=0.2)) as cache:
        embedder = semantic_tier(cache).embedder
        embedder._timeout = LIMIT
        certify(cache)
        keep(cache, wording(0, "tides"))
        embedder._timeout = 0.2
        embeddings.before = gate
        try:
            begun = time.monotonic()
            for number in range(1, 4):
                assert await ask(cache, wording(number, "tides")) is None
            assert time.monotonic() - begun < 5
            assert await ask(cache, wording(0, "tides")) == "all about tides"
            assert cache.stats().errors["embedder_slow"] >= 1
        finally:
            gate.go.set()
        # What hung is over: its vectors are kept, and asked for no more.
        await _until_found(lambda: ask(cache, wording(1, "tides")))


def semantic_tier(cache: LLMCache) -> Any:
    return cache._tiers.semantic


@pytest.mark.slow
async def test_three_questions_of_a_model_are_answered_within_five_seconds() -> None:
    gate = Gate()
    with near_cache(semantic=semantic(Meaning(gate), timeout=1.0)) as cache:
        model = Scripted(act=lambda text: text.upper(), asked=[])
        set_llm_cache(cache)
        try:
            begun = time.monotonic()
            for number in range(3):
                text = wording(number, "tides")
                assert (await model.ainvoke(text)).text == text.upper()
            assert time.monotonic() - begun < 5
            assert (await model.ainvoke(wording(0, "tides"))).text == "EXPLAIN TIDES"
            assert model.invoke(wording(1, "tides")).text == wording(1, "tides").upper()
            assert len(model.asked) == 3
        finally:
            set_llm_cache(None)
            gate.go.set()


@pytest.mark.parametrize("is_before", [True, False])
async def test_vectors_of_another_dimension_are_compared_with_their_likes(
    where: Path | None, ask: Ask, *, is_before: bool
) -> None:
    embeddings = Meaning()
    with near_cache(where, semantic=semantic(embeddings)) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
        embeddings.answer = lambda texts: meant(texts, 24)
        assert await ask(cache, wording(1, "tides")) is None
        keep(cache, wording(1, "tides"))
        assert await ask(cache, wording(2, "tides")) == "all about tides"
        if is_before:
            embeddings.answer = meant
            assert await ask(cache, wording(3, "tides")) == "all about tides"
        assert cache.stats().errors == {}


async def test_a_dimension_that_differs_within_one_call_is_no_trouble(ask: Ask) -> None:
    embeddings = Meaning()
    with near_cache(semantic=semantic(embeddings)) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
        embeddings.answer = lambda texts: [meant([text], 8 + len(text))[0] for text in texts]
        assert await ask(cache, wording(1, "tides")) is None
        assert await ask(cache, wording(0, "tides")) == "all about tides"


async def test_exact_hits_and_updates_ask_no_embedder_twice() -> None:
    embeddings = Meaning()
    with near_cache(semantic=semantic(embeddings)) as cache:
        for _ in range(2):
            if look(cache, wording(0, "tides")) is None:
                keep(cache, wording(0, "tides"))
        assert embeddings.calls == [[wording(0, "tides")]]

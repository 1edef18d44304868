"""A cache with near matches as an object: copied, pickled, shown, closed, and left to itself."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from support.doubles import LIMIT, no_thread_stays
from support.embedders import Gate
from support.near import Meaning, ask, certify, keep, look, near_cache, semantic, told, wording

from llmemo import CacheClosedError, ConfigurationError, LLMCache, LLMJudge, Semantic

if TYPE_CHECKING:
    from pathlib import Path


def always(question: str, stored: str, fresh: str) -> bool:
    return True


def test_a_copy_is_the_cache_itself() -> None:
    with near_cache() as cache:
        assert copy.copy(cache) is cache
        assert copy.deepcopy(cache) is cache


def test_a_pickle_has_the_settings(tmp_path: Path) -> None:
    settings = Semantic(DeterministicFakeEmbedding(size=8), max_error=0.1, judge=always)
    with LLMCache(tmp_path / "cache.db", semantic=settings) as cache:
        pickled = pickle.dumps(cache)
        assert pickle.loads(pickled) is cache
    with pickle.loads(pickled) as other:
        assert other is not cache
        given = other._tiers.settings.semantic
        assert (given.max_error, given.judge) == (0.1, always)
        assert other.stats().semantic == told(other)


def test_an_unpickled_cache_serves_what_the_first_has_learned(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "cache.db", semantic=semantic(Plain())) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
        pickled = pickle.dumps(cache)
    with pickle.loads(pickled) as other:
        assert look(other, wording(1, "tides")) == "all about tides"


class Plain(Meaning):
    """Pickled without what it was asked, as a client is."""

    def __reduce__(self) -> Any:
        return Plain, ()


class Secretive(Meaning):
    api_key = "sk-12345"

    def __repr__(self) -> str:
        return f"Secretive({self.api_key})"


class SecretJudge:
    def __call__(self, stored: str, fresh: str) -> bool:
        return True

    def __repr__(self) -> str:
        return "SecretJudge(sk-12345)"


def test_nothing_that_is_shown_holds_a_secret() -> None:
    settings = Semantic(Secretive(), judge=SecretJudge(), max_error=0.1)
    with LLMCache(semantic=settings) as cache:
        for shown in (repr(cache), str(cache), repr(settings), f"{cache.explain('a', 'm')}"):
            assert "sk-12345" not in shown
        assert "Semantic(Secretive" in repr(cache)
    with LLMCache() as plain:
        assert "emantic" not in repr(plain)
    with pytest.raises(ConfigurationError) as caught:
        LLMJudge(Secretive())  # type: ignore[arg-type]
    assert "sk-12345" not in str(caught.value)


class Hung(Gate):
    """Of embeddings, and of a judge."""

    def judge(self, question: str, stored: str, fresh: str) -> bool:
        self(question)
        return True


@pytest.mark.parametrize("where", ["memory", "store"])
def test_a_hung_embedder_does_not_hold_close_up(tmp_path: Path, where: str) -> None:
    gate = Hung()
    cache = near_cache(
        tmp_path / "cache.db" if where == "store" else None, semantic=semantic(Meaning(gate))
    )
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(look(cache, "explain tides")))
    waiting.start()
    assert gate.reached.wait(LIMIT)
    begun = time.monotonic()
    assert cache.close() == 0
    assert time.monotonic() - begun < 4
    waiting.join(LIMIT)
    assert found == [None]
    gate.go.set()
    assert cache.stats().errors == {}
    assert look(cache, "explain tides") is None


def test_close_waits_for_a_hung_judge_as_long_as_it_is_told() -> None:
    hung = Hung()
    cache = near_cache(semantic=semantic(judge=hung.judge))
    keep(cache, wording(0, "tides"))
    ask(cache, wording(1, "tides"))
    assert hung.reached.wait(LIMIT)
    begun = time.monotonic()
    assert cache.close(0.1) == 0
    assert time.monotonic() - begun < 4
    hung.go.set()


def test_close_waits_for_the_verdicts_to_come(tmp_path: Path) -> None:
    def judge(question: str, stored: str, fresh: str) -> bool:
        time.sleep(0.02)
        return True

    with near_cache(tmp_path / "cache.db", semantic=semantic(judge=judge)) as cache:
        for number in range(4):
            ask(cache, wording(number, "tides"))
    with near_cache(tmp_path / "cache.db", semantic=semantic(judge=judge)) as cache:
        assert look(cache, wording(5, "tides")) == "all about tides"


def test_no_thread_outlives_its_cache(tmp_path: Path) -> None:
    with no_thread_stays():
        for where in (None, tmp_path / "cache.db"):
            with near_cache(where, semantic=semantic(judge=always)) as cache:
                certify_by(cache)
        cache = near_cache(semantic=semantic(judge=always))
        certify_by(cache)
        gone = weakref.ref(cache)
        del cache
        gc.collect()
        assert gone() is None


def certify_by(cache: LLMCache) -> None:
    for number in range(4):
        ask(cache, wording(number, "tides"))


def test_a_closed_cache_has_no_near_matches() -> None:
    cache = near_cache()
    certify(cache)
    keep(cache, wording(0, "tides"))
    asyncio.run(cache.aclose())
    assert cache.close() == 0
    assert look(cache, wording(1, "tides")) is None
    keep(cache, wording(1, "tides"))
    with pytest.raises(CacheClosedError):
        cache.explain(wording(1, "tides"), "m")
    assert cache.stats().errors == {}

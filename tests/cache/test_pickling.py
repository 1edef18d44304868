"""Caches in pickles, as process pools, Ray and Dask make them of a model; and copies."""

from __future__ import annotations

import copy
import gc
import inspect
import json
import pickle
import subprocess
import sys
import weakref
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from support.doubles import FakeStore, answer
from support.slices import some

from llmemo import (
    REQUIRED,
    ConfigurationError,
    LLMCache,
    Semantic,
    SQLiteStore,
    accelerate,
    options,
)
from llmemo.pickling import KEPT, _by_name, _kept
from llmemo.semantic.identity import identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from langchain_core.outputs import Generation
    from langchain_core.runnables import Runnable


def all_of_them(generations: Sequence[Generation]) -> bool:
    return bool(generations) or True


def noon() -> float:
    return 43_200.0


SETTINGS: dict[str, Any] = {
    "max_bytes": 2**20,
    "max_entries": 7,
    "namespace_max_bytes": 2**19,
    "ttl": timedelta(hours=1),
    "namespace_ttl": {"a": 5, "b": None, "c": timedelta(days=1)},
    "ttl_jitter": 0.25,
    "early_refresh": 0.5,
    "stale_if_error": 30,
    "namespace": REQUIRED,
    "single_flight": True,
    "lease_timeout": 3,
    "fresh_ids": False,
    "admit": all_of_them,
    "store_timeout": 0.7,
    "prices": {"m": (1, 2)},
    "ignore": ("default_headers.x-request-id", "user"),
    "clock": noon,
    "on_event": all_of_them,
    "mark_hits": True,
    "semantic": Semantic(DeterministicFakeEmbedding(size=8), max_error=0.1, question=str.strip),
}


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    yield
    for cache in list(_kept.values()):
        cast("LLMCache", cache).close()
    _kept.clear()


def elsewhere(made: Any) -> Any:
    """Pickle something, forget what lives here, and unpickle it, as another process would."""
    pickled = pickle.dumps(made)
    living = dict(_by_name)
    _by_name.clear()
    try:
        return pickle.loads(pickled)
    finally:
        _by_name.update(living)


def test_every_setting_arrives(tmp_path: Path) -> None:
    parameters = set(inspect.signature(LLMCache).parameters)
    # A new argument has to be thought of here.
    assert parameters == {*SETTINGS, "store", "secret", "encryption_key"}
    store = SQLiteStore(
        tmp_path / "a.db", max_store_bytes=2**20, durability="full", store_requests=True
    )
    with LLMCache(store, **SETTINGS) as cache:
        arrived = elsewhere(cache)
        assert arrived is not cache
        # (No two of these are equal.)
        semantic = arrived._tiers.settings.semantic
        assert identity(semantic) == identity(cache._tiers.settings.semantic)
        assert semantic.question is str.strip
        assert replace(arrived._tiers.settings, semantic=None) == replace(
            cache._tiers.settings, semantic=None
        )
        assert arrived._tiers.settings.ttl == 3600
        assert arrived._tiers.store is not store
        for name in inspect.signature(SQLiteStore).parameters:
            assert getattr(arrived._tiers.store, name) == getattr(store, name), name


def test_another_cache_on_the_same_store(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "a.db") as cache:
        cache.update("p", "m", answer("p"))
        arrived = elsewhere(cache)
        assert arrived.lookup("p", "m") == answer("p")
        assert arrived.stats().store_hits == 1
        arrived.update("q", "m", answer("q"))
        assert cache.lookup("q", "m") == answer("q")


def test_without_a_store_it_is_empty_there() -> None:
    cache = LLMCache(max_entries=3)
    cache.update("p", "m", answer("p"))
    arrived = elsewhere(cache)
    assert arrived.lookup("p", "m") is None
    for n in range(5):
        arrived.update(f"p{n}", "m", answer("p"))
    assert arrived.stats().entries == 3


def test_where_the_cache_lives_it_is_that_cache(tmp_path: Path) -> None:
    cache = LLMCache(tmp_path / "a.db")
    assert pickle.loads(pickle.dumps(cache)) is cache
    pickled = pickle.dumps(cache)
    cache.close()
    arrived = pickle.loads(pickled)
    assert arrived is not cache
    arrived.update("p", "m", answer("p"))
    assert arrived.lookup("p", "m") == answer("p")


@pytest.mark.slow
def test_each_task_of_a_worker_gets_the_same_one() -> None:
    cache = LLMCache()
    pickled = pickle.dumps(cache)
    del cache
    gc.collect()
    pickle.loads(pickled).update("p", "m", answer("p"))
    gc.collect()
    assert pickle.loads(pickled).lookup("p", "m") == answer("p")
    again = pickle.dumps(pickle.loads(pickled))
    assert pickle.loads(again) is pickle.loads(pickled)


@pytest.mark.slow
def test_no_more_than_some_are_kept() -> None:
    pickles = [pickle.dumps(LLMCache()) for _ in range(KEPT + 2)]
    gc.collect()
    made = [weakref.ref(pickle.loads(pickled)) for pickled in pickles]
    gc.collect()
    assert [reference() is None for reference in made] == [True] * 2 + [False] * KEPT


@pytest.mark.parametrize("argument", ["secret", "encryption_key"])
def test_a_secret_is_not_pickled(argument: str, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    with (
        LLMCache(tmp_path / "a.db", **{argument: "hush" * 8}) as cache,  # type: ignore[arg-type]
        pytest.raises(ConfigurationError, match=f"{argument}=….*the secret") as caught,
    ):
        pickle.dumps(cache)
    assert "hush" not in str(caught.value)


def test_a_key_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptography")
    monkeypatch.setenv("LLMEMO_ENCRYPTION_KEY", "hush" * 8)
    with LLMCache(tmp_path / "a.db") as cache:
        assert b"hush" not in pickle.dumps(cache)
        cache.update("p", "m", answer("p"))
        assert elsewhere(cache).lookup("p", "m") == answer("p")
        _kept.clear()
        monkeypatch.delenv("LLMEMO_ENCRYPTION_KEY")
        # It would store answers in clear.
        with pytest.raises(ConfigurationError, match="LLMEMO_ENCRYPTION_KEY.*set it here"):
            elsewhere(cache)


class Named(FakeStore):
    def __init__(self, name: str, /, *, size: int = 1) -> None:
        super().__init__()
        self.name, self.size = name, size


class Nameless(FakeStore):
    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address


def test_a_store_of_the_users() -> None:
    arrived = elsewhere(LLMCache(Named("a", size=2)))._tiers.store
    assert (type(arrived), arrived.name, arrived.size) == (Named, "a", 2)
    with pytest.raises(ConfigurationError, match="Nameless cannot be pickled.*'address'.*reduce"):
        pickle.dumps(LLMCache(Nameless("a")))


class Mine(LLMCache):
    def __init__(self, path: Path, label: str) -> None:
        super().__init__(path, ttl=9)
        self.label = label


def test_a_subclass_with_another_constructor(tmp_path: Path) -> None:
    with Mine(tmp_path / "a.db", "mine") as cache:
        arrived = elsewhere(cache)
        assert (type(arrived), arrived.label, arrived._tiers.settings.ttl) == (Mine, "mine", 9)


@pytest.mark.slow
def test_copies_are_the_cache_itself(tmp_path: Path) -> None:
    cache = LLMCache(tmp_path / "a.db")
    model = FakeListChatModel(responses=["one"], cache=cache)
    for twin in (copy.copy(model), copy.deepcopy(model), model.model_copy(deep=True)):
        assert twin.cache is cache
    twins = copy.copy(cache), copy.deepcopy(cache)
    again = weakref.ref(cache)
    del cache, model, twin
    gc.collect()
    twins[0].update("p", "m", answer("p"))
    assert twins[1].lookup("p", "m") == answer("p")
    assert again() is twins[0]
    twins[0].close()
    store = SQLiteStore(tmp_path / "b.db")
    assert copy.copy(store) is store
    assert copy.deepcopy([store])[0] is store


def test_options_in_a_pickle() -> None:
    block = pickle.loads(pickle.dumps(options(namespace="a", ttl=5, mode="refresh")))
    assert repr(block) == "options(namespace='a', ttl=5, mode='refresh')"
    cache = LLMCache(namespace=REQUIRED)
    with block:
        cache.update("p", "m", answer("p"))
    with options(namespace="a"):
        assert cache.lookup("p", "m") == answer("p")


PROGRAM = """
import json, multiprocessing, sys
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from llmemo import LLMCache

def ask(chain, cache, text):
    return chain.invoke({"text": text}), cache.stats().memory_hits, repr(cache)

if __name__ == "__main__":
    cache = LLMCache(sys.argv[1] if sys.argv[1:] else None, ttl=60)
    model = FakeListChatModel(responses=["one", "two"], cache=cache)
    chain = ChatPromptTemplate.from_messages([("user", "{text}")]) | model | StrOutputParser()
    first = chain.invoke({"text": "Count."})
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = [pool.apply(ask, (chain, cache, "Count.")) for _ in range(3)]
        pool.close()
        pool.join()
    print(json.dumps([first, found]))
"""


@pytest.mark.parametrize("has_store", some([True, False], 2))
def test_a_chain_in_a_pool_of_processes(has_store: bool, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    arguments = [str(tmp_path / "a.db")] * has_store
    ended = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    first, found = json.loads(ended.stdout)
    # Without a store the model is asked again there, once.
    assert first == "one"
    assert [text for text, _, _ in found] == (["one"] if has_store else ["two"]) * 3
    # One cache for all tasks, whose memory stays.
    assert [hits for _, hits, _ in found] == [0, 1, 2]
    assert all("ttl=60" in shown and "entries=1" in shown for _, _, shown in found)


def test_a_chain_while_accelerated() -> None:
    model = FakeListChatModel(responses=["one", "two"], cache=LLMCache())
    prompt = ChatPromptTemplate.from_messages([("user", "{text}")])
    chain: Runnable[Any, str] = prompt | model | StrOutputParser()
    with accelerate():
        arrived = elsewhere(chain)
        assert arrived.invoke({"text": "Count."}) == arrived.invoke({"text": "Count."}) == "one"

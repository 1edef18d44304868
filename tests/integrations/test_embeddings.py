"""Cached embeddings: what reaches the provider, what comes back, and what is kept."""

from __future__ import annotations

import copy
import pickle
import struct
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.outputs import Generation
from langchain_core.stores import InMemoryByteStore
from support.doubles import Clock, FakeStore, lines
from support.embedders import Embedder, vector, vectors

from llmemo import (
    REQUIRED,
    CacheMiss,
    ConfigurationError,
    LLMCache,
    NamespaceRequiredError,
    SQLiteStore,
    cached_embeddings,
    options,
    track,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmemo.integrations.embeddings import CachedEmbeddings


def made(store: Any = None, namespace: str = "m", **settings: Any) -> CachedEmbeddings:
    return cached_embeddings(Embedder(), store, namespace=namespace, **settings)


def of(embeddings: CachedEmbeddings) -> Embedder:
    assert isinstance(embeddings.wrapped, Embedder)
    return embeddings.wrapped


def test_only_missing_texts_reach_the_provider(make_cache: Callable[..., LLMCache]) -> None:
    embeddings = made(make_cache())
    assert embeddings.embed_documents(["b", "d"]) == vectors(["b", "d"])
    texts = ["a", "b", "c", "d", "a"]
    assert embeddings.embed_documents(texts) == vectors(texts)
    assert of(embeddings).calls == [["b", "d"], ["a", "c"]]


@pytest.mark.anyio
async def test_the_same_for_tasks(make_cache: Callable[..., LLMCache]) -> None:
    embeddings = made(make_cache())
    assert await embeddings.aembed_documents(["b", "d"]) == vectors(["b", "d"])
    texts = ["a", "b", "c", "d", "a"]
    assert await embeddings.aembed_documents(texts) == vectors(texts)
    assert await embeddings.aembed_query("b") == vector("b", "query")
    assert await embeddings.aembed_query("b") == vector("b", "query")
    assert of(embeddings).calls == [["b", "d"], ["a", "c"], ["b"]]


def test_queries_are_cached_apart_from_documents(make_cache: Callable[..., LLMCache]) -> None:
    embeddings = made(make_cache())
    for _ in range(2):
        assert embeddings.embed_documents(["a"]) == [vector("a")]
        assert embeddings.embed_query("a") == vector("a", "query")
    assert of(embeddings).calls == [["a"], ["a"]]


def test_no_texts_are_no_call() -> None:
    embeddings = made()
    assert embeddings.embed_documents([]) == []
    assert of(embeddings).calls == []


def test_hits_are_lists_of_their_own() -> None:
    embeddings = made()
    first = embeddings.embed_documents(["a", "a"])
    first[0][0] = 99.0
    second = embeddings.embed_documents(["a", "a"])
    second[0].clear()
    assert [first[1], second[1], embeddings.embed_documents(["a"])[0]] == [vector("a")] * 3


def test_a_batch_size_bounds_what_the_provider_is_asked_for() -> None:
    embeddings = made(batch_size=2)
    embeddings.embed_documents(["b"])
    texts = ["a", "b", "c", "d", "e", "f"]
    assert embeddings.embed_documents(texts) == vectors(texts)
    assert of(embeddings).calls == [["b"], ["a", "c"], ["d", "e"], ["f"]]


def test_what_came_before_a_failure_is_kept() -> None:
    def fail(texts: list[str]) -> None:
        if "c" in texts:
            raise OSError("provider")

    embeddings = made(batch_size=2)
    of(embeddings).before = fail
    with pytest.raises(OSError, match="provider"):
        embeddings.embed_documents(["a", "b", "c", "d", "e"])
    of(embeddings).before = lambda texts: None
    embeddings.embed_documents(["a", "b", "c", "d", "e"])
    assert of(embeddings).calls == [["a", "b"], ["c", "d"], ["c", "d"], ["e"]]


@pytest.mark.parametrize("text", ["", "[", '[{"lc": 1}]', "\ud800", "x" * 300_000, "a\0b", "🙂"])
def test_any_text_is_one(make_cache: Callable[..., LLMCache], text: str) -> None:
    embeddings = made(make_cache())
    for _ in range(2):
        assert embeddings.embed_documents([text]) == [vector(text)]
    assert of(embeddings).calls == [[text]]


@pytest.mark.anyio
async def test_a_long_text_leaves_the_event_loop() -> None:
    embeddings, text = made(), "x" * 300_000
    for _ in range(2):
        assert await embeddings.aembed_documents([text, "b"]) == vectors([text, "b"])
    assert of(embeddings).calls == [[text, "b"]]


def test_texts_that_are_equal_in_bytes_only_differ() -> None:
    embeddings = made()
    texts = ["é", "e\u0301", "a", "a ", "A"]
    assert embeddings.embed_documents(texts) == vectors(texts)
    assert of(embeddings).calls == [texts]


CALLS = st.lists(
    st.tuples(st.sampled_from(["document", "query"]), st.lists(st.sampled_from("abcdef"))),
    max_size=6,
)


@given(CALLS, st.none() | st.integers(1, 3))
def test_any_calls_are_as_those_of_a_dict(
    calls: list[tuple[str, list[str]]], batch_size: int | None
) -> None:
    embeddings = made(batch_size=batch_size)
    known: set[tuple[str, str]] = set()
    for kind, texts in calls:
        of(embeddings).calls.clear()
        if kind == "document":
            found = embeddings.embed_documents(texts)
        else:
            found = [embeddings.embed_query(text) for text in texts]
        assert found == [vector(text, kind) for text in texts]
        assert of(embeddings).asked == [
            it for it in dict.fromkeys(texts) if (kind, it) not in known
        ]
        known |= {(kind, text) for text in texts}


# Where vectors are kept.


def test_another_cache_on_the_file_finds_them(tmp_path: Path) -> None:
    embeddings = made(tmp_path / "cache.db")
    texts = ["a", "b"]
    embeddings.embed_documents(texts)
    embeddings.cache.close()
    with LLMCache(tmp_path / "cache.db") as cache:
        other = made(cache)
        assert other.embed_documents([*texts, "a"]) == vectors([*texts, "a"])
        assert of(other).calls == []
        assert cache.stats().store_hits == 2


def test_a_batch_is_one_read_of_the_store() -> None:
    store = FakeStore()
    texts = [f"text {number}" for number in range(100)]
    made(LLMCache(store)).embed_documents(texts)
    assert (store.sizes("get"), sum(store.sizes("set"))) == ([100], 100)
    other = FakeStore()
    other.records = store.records
    embeddings = made(LLMCache(other))
    assert embeddings.embed_documents(texts) == vectors(texts)
    assert (other.sizes("get"), of(embeddings).calls) == ([100], [])


@pytest.mark.anyio
async def test_a_batch_of_a_task_is_one_read() -> None:
    store = FakeStore()
    texts = [f"text {number}" for number in range(100)]
    await made(LLMCache(store)).aembed_documents(texts)
    assert (store.sizes("get"), sum(store.sizes("set"))) == ([100], 100)


def test_many_texts_are_read_in_parts() -> None:
    store = FakeStore()
    texts = [f"text {number}" for number in range(2500)]
    embeddings = made(LLMCache(store, max_bytes=0))
    assert embeddings.embed_documents(texts) == vectors(texts)
    assert embeddings.embed_documents(texts) == vectors(texts)
    assert of(embeddings).calls == [texts]
    assert store.sizes("get") == [1024, 1024, 452] * 2


def test_vectors_are_encrypted_and_bound_to_their_keys(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    with LLMCache(tmp_path / "cache.db", encryption_key="k" * 40) as cache:
        made(cache).embed_documents(["a"])
    raw = np.array(vector("a"), dtype="<f4").tobytes()
    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert raw not in held
    with LLMCache(tmp_path / "cache.db", encryption_key="k" * 40) as cache:
        embeddings = made(cache)
        assert embeddings.embed_documents(["a"]) == [vector("a")]
        assert of(embeddings).calls == []


def test_a_model_of_the_same_texts_has_answers_of_its_own(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "cache.db", namespace="m") as cache:
        embeddings = made(cache)
        embeddings.embed_documents(["a"])
        for llm_string in ("", "m", "document", "llmemo: embedding of a document"):
            assert cache.lookup("a", llm_string) is None
            assert cache.update("a", llm_string, [Generation(text="x")]) is None
        assert embeddings.embed_documents(["a"]) == [vector("a")]
        assert cache.lookup("a", "m") == [Generation(text="x")]


def framed(kind: str, model: str, text: str) -> bytes:
    """The key of an embedding, as docs/keys.md says it."""
    said = "".join(f"\x07{chr(len(each))}{each}" for each in (kind, model))
    parts = (model, f"llmemo: embedding of a {kind}", text, "", f"\x09{said}")
    frame = b"".join(b"\0" + struct.pack("<Q", len(each)) + each.encode() for each in parts)
    return blake3(b"\x02" + frame, derive_key_context="llmemo 2026-11 request key").digest()


def test_keys_are_those_of_the_documents() -> None:
    store = FakeStore()
    embeddings = made(LLMCache(store))
    embeddings.embed_documents(["[a]", ""])
    embeddings.embed_query("[a]")
    asked = [("document", "[a]"), ("document", ""), ("query", "[a]")]
    assert list(store.records) == [framed(kind, "m", text) for kind, text in asked]


def test_namespaces_share_nothing() -> None:
    cache = LLMCache()
    one, two = made(cache, "one"), made(cache, "two")
    for _ in range(2):
        one.embed_documents(["a"])
        two.embed_documents(["a"])
    assert (of(one).calls, of(two).calls) == ([["a"]], [["a"]])


def test_invalidate_removes_the_vectors_of_a_namespace(make_cache: Callable[..., LLMCache]) -> None:
    cache = make_cache()
    one, two = made(cache, "one"), made(cache, "two")
    one.embed_documents(["a", "b"])
    two.embed_documents(["a"])
    assert cache.invalidate(namespace="one") == 2
    one.embed_documents(["a"])
    two.embed_documents(["a"])
    assert (len(of(one).calls), len(of(two).calls)) == (2, 1)


def test_the_ttl_of_the_cache_holds(make_cache: Callable[..., LLMCache]) -> None:
    clock = Clock()
    cache = make_cache(ttl=60, namespace_ttl={"two": timedelta(seconds=10)}, clock=clock)
    one, two = made(cache, "one"), made(cache, "two")
    for at in (0, 30, 31):
        clock.now = Clock.now + at
        one.embed_documents(["a"])
        two.embed_documents(["a"])
    clock.now = Clock.now + 61
    one.embed_documents(["a"])
    assert (len(of(one).calls), len(of(two).calls)) == (2, 2)


def test_the_ttl_of_a_block_holds() -> None:
    clock = Clock()
    embeddings = made(LLMCache(clock=clock))
    with options(ttl=10):
        embeddings.embed_query("a")
    clock.now += 11
    embeddings.embed_query("a")
    assert len(of(embeddings).calls) == 2


def test_a_block_with_a_namespace_keeps_tenants_and_models_apart() -> None:
    cache = LLMCache()
    one, two = made(cache, "one"), made(cache, "two")
    two.wrapped.answer = lambda texts: [[0.5] for _ in texts]  # type: ignore[attr-defined]
    for _ in range(2):
        for tenant in ("s", "t"):
            with options(namespace=tenant):
                assert one.embed_documents(["a"]) == [vector("a")]
                assert two.embed_documents(["a"]) == [[0.5]]
    assert (len(of(one).calls), len(of(two).calls)) == (2, 2)
    assert cache.invalidate(namespace="s") == 2


def test_a_required_namespace_is_required() -> None:
    embeddings = made(LLMCache(namespace=REQUIRED))
    with pytest.raises(NamespaceRequiredError):
        embeddings.embed_documents(["a"])
    with options(namespace="t"):
        assert embeddings.embed_documents(["a"]) == [vector("a")]


def test_modes() -> None:
    embeddings = made()
    with options(mode="only"), pytest.raises(CacheMiss):
        embeddings.embed_documents(["a"])
    with options(mode="bypass"):
        assert embeddings.embed_documents(["a", "a"]) == vectors(["a", "a"])
    assert embeddings.embed_documents(["a"]) == [vector("a")]
    with options(mode="only"):
        assert embeddings.embed_documents(["a"]) == [vector("a")]
    of(embeddings).answer = lambda texts: [[1.5] for _ in texts]
    with options(mode="refresh"):
        assert embeddings.embed_documents(["a"]) == [[1.5]]
    assert embeddings.embed_documents(["a"]) == [[1.5]]
    assert of(embeddings).calls == [["a", "a"], ["a"], ["a"]]


def test_stats_and_trackers_know_each_text() -> None:
    embeddings = made()
    embeddings.embed_documents(["a", "b"])
    with track() as tracker:
        embeddings.embed_documents(["a", "b", "c"])
    stats = embeddings.cache.stats()
    assert (stats.hits, stats.misses, stats.updates, stats.entries) == (2, 3, 3, 3)
    assert (tracker.hits, tracker.misses) == (2, 1)


def test_a_closed_cache_asks_the_provider() -> None:
    embeddings = made()
    embeddings.embed_documents(["a"])
    embeddings.cache.close()
    assert embeddings.embed_documents(["a"]) == [vector("a")]
    assert len(of(embeddings).calls) == 2
    stats = embeddings.cache.stats()
    assert (stats.misses, stats.updates) == (2, 1)
    with options(mode="only"), pytest.raises(CacheMiss):
        embeddings.embed_documents(["a"])


# What the provider may answer.


@pytest.mark.parametrize(
    "wrong",
    [
        [float("nan"), 1.0],
        [1.0, float("inf")],
        [],
        ["0.5"],
        "text",
        None,
        [[0.5]],
        [True, False],
        [2**70],
        {"a": 0.5},
        [10**400, 0.5],
        object,
    ],
    ids=str,
)
def test_what_is_no_vector_is_passed_on_and_not_kept(wrong: Any) -> None:
    embeddings = made()
    of(embeddings).answer = lambda texts: [vector("a"), wrong]
    for _ in range(2):
        found = embeddings.embed_documents(["a", "b"])
        assert found[0] == vector("a")
        assert found[1] is wrong
        of(embeddings).answer = lambda texts: [wrong]
    assert of(embeddings).calls == [["a", "b"], ["b"]]
    assert embeddings.cache.stats().skipped == {"not_a_vector": 2}


@pytest.mark.parametrize("wrong", [[], [[0.5]], [[0.5]] * 3, None, 7, "ab", (_ for _ in ())])
def test_an_answer_of_another_length_is_passed_on_and_not_kept(wrong: Any) -> None:
    embeddings = made()
    of(embeddings).answer = lambda texts: wrong
    assert embeddings.embed_documents(["a", "b"]) is wrong
    of(embeddings).answer = vectors
    assert embeddings.embed_documents(["a", "b"]) == vectors(["a", "b"])
    assert len(of(embeddings).calls) == 2


def test_where_it_cannot_be_passed_on_all_texts_are_asked_for() -> None:
    embeddings = made()
    embeddings.embed_documents(["a"])
    of(embeddings).answer = lambda texts: vectors(texts) if len(texts) > 2 else []
    assert embeddings.embed_documents(["a", "b", "b"]) == vectors(["a", "b", "b"])
    assert of(embeddings).calls == [["a"], ["b"], ["a", "b", "b"]]


def test_an_error_of_the_provider_reaches_the_caller() -> None:
    embeddings = made()
    of(embeddings).before = fails = lambda texts: 1 / 0
    with pytest.raises(ZeroDivisionError):
        embeddings.embed_documents(["a"])
    with pytest.raises(ZeroDivisionError):
        embeddings.embed_query("a")
    assert of(embeddings).before is fails
    assert embeddings.cache.stats().errors == {}


def test_what_is_no_text_is_the_providers_business() -> None:
    embeddings = made()
    of(embeddings).answer = lambda texts: texts
    for texts in ("ab", [1], ["a", None], None):
        of(embeddings).calls.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(of(embeddings), "embed_documents", lambda texts: ("asked", texts))
            assert embeddings.embed_documents(texts) == ("asked", texts)  # type: ignore[arg-type, comparison-overlap]
    assert embeddings.cache.stats().bypassed == {"not_text": 4}
    with options(mode="only"), pytest.raises(CacheMiss):
        embeddings.embed_documents([1])  # type: ignore[list-item]


def test_any_iterable_of_texts_will_do() -> None:
    embeddings = made()
    assert embeddings.embed_documents(("a", "b")) == vectors("ab")  # type: ignore[arg-type]
    assert embeddings.embed_documents(iter("ab")) == vectors("ab")  # type: ignore[arg-type]
    assert embeddings.embed_documents(list(np.array(["a", "b"]))) == vectors("ab")
    assert of(embeddings).calls == [["a", "b"]]


class Wide(Embedder):
    """Takes a parameter on which vectors depend, as those of some providers do."""

    def embed_documents(self, texts: list[str], *, size: int = 8) -> list[list[float]]:
        self.calls.append(list(texts))
        return [vector(text, size=size) for text in texts]


def test_parameters_of_a_call_count() -> None:
    embeddings = cached_embeddings(Wide(), namespace="m")
    for _ in range(2):
        for size in (2, 3):
            assert embeddings.embed_documents(["a"], size=size) == [vector("a", size=size)]
    assert len(embeddings.wrapped.calls) == 2  # type: ignore[attr-defined]
    with options(mode="only"):
        embeddings.embed_documents(["a"], size=2)


# Trouble of the cache's own.


def test_an_entry_that_is_no_vector_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    store = FakeStore()
    with monkeypatch.context() as patch:
        patch.setattr(
            "llmemo.pipeline.embedding_writes.generations_of", lambda vector: [Generation(text="x")]
        )
        made(LLMCache(store)).embed_documents(["a"])
    other = FakeStore()
    other.records = store.records
    embeddings = made(LLMCache(other))
    for _ in range(2):
        assert embeddings.embed_documents(["a"]) == [vector("a")]
    assert of(embeddings).calls == [["a"]]
    assert embeddings.cache.stats().errors == {"value_malformed": 1}


@pytest.mark.parametrize("place", ["ask_memory", "ask_store", "take", "lookup"])
def test_a_defect_is_survived(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    embeddings = made(LLMCache(FakeStore(), max_bytes=0))
    embeddings.embed_documents(["a"])
    monkeypatch.setattr(f"llmemo.pipeline.embedding_lookup.EmbeddingLookup.{place}", None)
    assert embeddings.embed_documents(["a", "b"]) == vectors(["a", "b"])
    assert of(embeddings).calls[-1] == ["a", "b"]
    assert embeddings.cache.stats().errors == {"internal": 1}
    assert any("survived" in line for line in lines(caplog))


def test_a_defect_after_the_answer_costs_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = made()
    monkeypatch.setattr("llmemo.pipeline.embedding_batch.keep_all", None)
    assert embeddings.embed_documents(["a", "b"]) == vectors(["a", "b"])
    assert of(embeddings).calls == [["a", "b"]]


# The wrapper.


def test_it_is_embeddings_with_the_attributes_of_the_wrapped() -> None:
    embeddings = made()
    assert isinstance(embeddings, Embeddings)
    assert embeddings.model == "model-1"
    assert embeddings.calls == []
    assert "model" in dir(embeddings)
    assert (embeddings.namespace, type(embeddings.cache)) == ("m", LLMCache)
    with pytest.raises(AttributeError, match="absent"):
        embeddings.absent  # noqa: B018
    with pytest.raises(AttributeError, match="another namespace"):
        embeddings.model = "model-2"
    assert repr(embeddings) == "<cached Embedder: namespace='m', LLMCache(entries=0)>"


def test_cached_twice_is_one_layer() -> None:
    inner = made()
    outer = cached_embeddings(inner, namespace="other")
    assert outer.wrapped is inner.wrapped
    outer.embed_documents(["a"])
    assert inner.cache.stats().misses == 0


def test_copies_share_the_cache(tmp_path: Path) -> None:
    first = cached_embeddings(
        DeterministicFakeEmbedding(size=3), tmp_path / "c.db", namespace="m", batch_size=2
    )
    known = first.embed_documents(["a"])
    for other in (copy.copy(first), copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert other.cache is first.cache
        assert other.namespace == "m"
        with options(mode="only"):
            assert other.embed_documents(["a"]) == known
    first.cache.close()


def test_an_existing_cache_serves_models_and_embeddings(tmp_path: Path) -> None:
    with LLMCache(SQLiteStore(tmp_path / "cache.db")) as cache:
        assert made(cache).cache is cache


@pytest.mark.parametrize("given", [None, "model", Embedder, InMemoryCache()])
def test_what_is_no_embeddings_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="give an object such as OpenAIEmbeddings"):
        cached_embeddings(given, namespace="m")


@pytest.mark.parametrize("namespace", ["", " ", None, 7, REQUIRED])
def test_a_namespace_has_to_name_the_model(namespace: Any) -> None:
    with pytest.raises(ConfigurationError, match="names no model"):
        made(namespace=namespace)


@pytest.mark.parametrize("store", [InMemoryByteStore(), InMemoryCache(), b"x.db", 7, {}])
def test_another_kind_of_store_is_refused(store: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot keep vectors: give a path"):
        made(store)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, True, "2"])
def test_a_batch_size_is_a_whole_number(batch_size: Any) -> None:
    with pytest.raises(ConfigurationError, match="batch_size"):
        made(batch_size=batch_size)

"""Cached embeddings over a store in trouble: a miss, in bounded time, and never an exception."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import FAULTS, FakeStore, Fault, Garbled, Held
from support.embedders import Embedder, vectors

from llmemo import LLMCache, SQLiteStore, cached_embeddings
from llmemo.stores import Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmemo.integrations.embeddings import CachedEmbeddings

pytestmark = pytest.mark.anyio

TEXTS = ["a", "b", "c"]


def made(store: FakeStore | SQLiteStore, **settings: Any) -> CachedEmbeddings:
    return cached_embeddings(Embedder(), LLMCache(store, **settings), namespace="m")


def of(embeddings: CachedEmbeddings) -> Any:
    return embeddings.wrapped


async def ask(embeddings: CachedEmbeddings, way: str) -> Any:
    if way == "sync":
        return await asyncio.to_thread(embeddings.embed_documents, TEXTS)
    return await embeddings.aembed_documents(TEXTS)


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("method", ["open", "get", "set"])
@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
async def test_a_fault_is_a_miss(method: str, error: BaseException, way: str) -> None:
    embeddings = made(FakeStore(Fault(method, error)), max_bytes=0)
    for _ in range(2):
        assert await ask(embeddings, way) == vectors(TEXTS)
    assert of(embeddings).calls == [TEXTS] * 2
    assert embeddings.cache.stats().errors
    embeddings.cache.close()


@pytest.mark.parametrize("found", [None, 7, [], {"a": 1}, Record(b"", b"x", b"", b"", 0.0, None)])
async def test_a_garbled_store_is_a_miss(found: object) -> None:
    embeddings = made(Garbled(found), max_bytes=0)
    for way in ("sync", "async"):
        assert await ask(embeddings, way) == vectors(TEXTS)
    assert of(embeddings).calls == [TEXTS] * 2


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("method", ["open", "get", "set"])
async def test_a_store_that_hangs_costs_its_time_once(method: str, way: str) -> None:
    held = Held(method)
    embeddings = made(FakeStore(held), store_timeout=0.5)
    try:
        before = time.monotonic()
        assert await ask(embeddings, way) == vectors(TEXTS)
        assert time.monotonic() - before < 2
        assert of(embeddings).calls == [TEXTS]
        stats = embeddings.cache.stats()
        assert sum(stats.errors.values()) <= 2
        assert stats.writes_unconfirmed == 3
        # Memory has them.
        assert await ask(embeddings, way) == vectors(TEXTS)
        assert of(embeddings).calls == [TEXTS]
    finally:
        held.go.set()
    embeddings.cache.close()


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_what_a_slow_store_takes_is_not_lost(way: str) -> None:
    held = Held("set")
    store = FakeStore(held)
    embeddings = made(store, store_timeout=0.5)
    assert await ask(embeddings, way) == vectors(TEXTS)
    assert store.records == {}
    held.go.set()
    assert embeddings.cache.close() == 0
    assert len(store.records) == 3


async def test_waiters_of_a_call_without_memory_get_what_is_written(tmp_path: Path) -> None:
    held = Held("set")
    store = FakeStore(held)
    embeddings = made(store, max_bytes=0)
    calls = [asyncio.create_task(ask(embeddings, "async")) for _ in range(5)]
    await asyncio.to_thread(held.reached.wait)
    held.go.set()
    assert await asyncio.gather(*calls) == [vectors(TEXTS)] * 5
    assert of(embeddings).calls == [TEXTS]


@pytest.mark.parametrize(
    "damage", [lambda value: value[:-1], lambda value: value[:60] + b"\0" * 20]
)
async def test_a_damaged_record_is_a_miss_and_replaced(damage: Callable[[bytes], bytes]) -> None:
    store = FakeStore()
    await ask(made(store), "async")
    other = FakeStore()
    other.records = {
        key: record._replace(value=damage(record.value)) for key, record in store.records.items()
    }
    embeddings = made(other, max_bytes=0)
    assert await ask(embeddings, "sync") == vectors(TEXTS)
    assert await ask(embeddings, "sync") == vectors(TEXTS)
    assert of(embeddings).calls == [TEXTS]


async def test_a_read_only_store_serves_and_keeps_nothing(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "cache.db") as cache:
        cached_embeddings(Embedder(), cache, namespace="m").embed_documents(["a"])
    size = (tmp_path / "cache.db").stat().st_size
    store = SQLiteStore(tmp_path / "cache.db")
    store.read_only = True
    embeddings = made(store)
    assert await ask(embeddings, "sync") == vectors(TEXTS)
    assert await ask(embeddings, "sync") == vectors(TEXTS)
    assert of(embeddings).calls == [["b", "c"]]
    assert embeddings.cache.stats().skipped == {"store_read_only": 2}
    embeddings.cache.close()
    assert (tmp_path / "cache.db").stat().st_size == size

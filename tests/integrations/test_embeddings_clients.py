"""Cached embeddings of a real client over a socket, in LangChain's own suites, beside its cache."""

from __future__ import annotations

import asyncio
import hashlib
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.stores import InMemoryByteStore
from langchain_tests.integration_tests.embeddings import EmbeddingsIntegrationTests
from langchain_tests.unit_tests.embeddings import EmbeddingsUnitTests
from support.embedders import Embedder, vector, vectors
from support.providers import Provider

from llmemo import cached_embeddings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Importing a client asks the system for its name, by a process.
pytestmark = [pytest.mark.clients, pytest.mark.process]


def embedding(body: dict[str, Any], number: int) -> dict[str, Any]:
    """What `/v1/embeddings` says, without `base64`."""
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    data = [
        {"object": "embedding", "index": at, "embedding": vector(text)}
        for at, text in enumerate(texts)
    ]
    return {
        "object": "list",
        "data": data,
        "model": body["model"],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider(embedding) as running:
        yield running


def client(provider: Provider) -> Any:
    openai = pytest.importorskip("langchain_openai")
    return openai.OpenAIEmbeddings(
        model="m", api_key="k", base_url=provider.url, check_embedding_ctx_length=False
    )


@pytest.mark.parametrize("where", ["memory", "file"])
def test_warm_sends_no_request(provider: Provider, tmp_path: Path, where: str) -> None:
    path = tmp_path / "cache.db" if where == "file" else None
    embeddings = cached_embeddings(client(provider), path, namespace="m")
    provider.bodies.clear()
    cold = embeddings.embed_documents(["a", "b", "a"]), embeddings.embed_query("a")
    assert cold == (vectors(["a", "b", "a"]), vector("a"))
    assert [body["input"] for body in provider.bodies] == [["a", "b"], ["a"]]
    provider.bodies.clear()

    async def warm() -> Any:
        return await embeddings.aembed_documents(["a", "b", "a"]), await embeddings.aembed_query(
            "a"
        )

    assert asyncio.run(warm()) == cold
    assert provider.bodies == []
    assert (embeddings.model, embeddings.chunk_size) == ("m", 1000)
    embeddings.cache.close()


class TestUnit(EmbeddingsUnitTests):
    @pytest.fixture(autouse=True)
    def _served(self, provider: Provider) -> None:
        self.provider = provider

    @property
    def embeddings_class(self) -> Any:
        return lambda: cached_embeddings(client(self.provider), namespace="m")


@pytest.mark.anyio
class TestIntegration(EmbeddingsIntegrationTests):
    @pytest.fixture(autouse=True)
    def _served(self, provider: Provider) -> None:
        self.provider = provider

    @property
    def embeddings_class(self) -> Any:
        return lambda: cached_embeddings(client(self.provider), namespace="m")

    @pytest.fixture
    def model(self) -> Any:
        return self.embeddings_class()


def beside(theirs: Embedder, ours: Embedder) -> Iterator[Any]:
    """LangChain's own cache, and then this one."""
    caches = pytest.importorskip("langchain_classic.embeddings")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SHA-1
        store = InMemoryByteStore()
        yield caches.CacheBackedEmbeddings.from_bytes_store(theirs, store, namespace="m")
        yield cached_embeddings(ours, namespace="m")


def test_langchains_own_cache_sends_duplicates_and_caches_no_queries() -> None:
    theirs, ours = Embedder(), Embedder()
    for embeddings in beside(theirs, ours):
        assert embeddings.embed_documents(["a", "a", "a"]) == vectors(["a", "a", "a"])
        for _ in range(2):
            assert embeddings.embed_query("q") == vector("q", "query")
    assert theirs.calls == [["a", "a", "a"], ["q"], ["q"]]
    assert ours.calls == [["a"], ["q"]]


def test_langchains_own_cache_does_not_coalesce() -> None:
    theirs, ours = Embedder(), Embedder()

    async def twenty(embeddings: Any, embedder: Embedder, expected: int) -> None:
        embedder.go = asyncio.Event()
        calls = [asyncio.create_task(embeddings.aembed_documents(["x", "y"])) for _ in range(20)]
        while len(embedder.calls) < expected:  # noqa: ASYNC110 (no event tells)
            await asyncio.sleep(0)
        embedder.go.set()
        assert await asyncio.gather(*calls) == [vectors(["x", "y"])] * 20

    for embeddings, embedder, expected in zip(
        beside(theirs, ours), (theirs, ours), (20, 1), strict=True
    ):
        asyncio.run(twenty(embeddings, embedder, expected))
    assert (len(theirs.calls), len(ours.calls)) == (20, 1)


def test_langchains_own_cache_believes_sha1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts whose SHA-1 is the same can be made since 2017."""
    collision = hashlib.sha1(b"either text", usedforsecurity=False)
    monkeypatch.setattr(hashlib, "sha1", lambda *_, **__: collision)
    found = []
    for embeddings in beside(Embedder(), Embedder()):
        embeddings.embed_documents(["a"])
        found.append(embeddings.embed_documents(["b"]))
    assert found == [[vector("a")], [vector("b")]]

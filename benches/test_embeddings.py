"""Embeddings whose vectors are known, beside LangChain's CacheBackedEmbeddings."""

from __future__ import annotations

import random
import warnings
from array import array
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import pytest
from langchain_core.embeddings import Embeddings

from benches.rivals import LANGCHAIN, MEMORY, Rival

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from langchain_core.stores import ByteStore

    from benches.conftest import Measure

NUMBERS = 1536
TEXTS = 1000

both = pytest.mark.parametrize("rival", [MEMORY[0], LANGCHAIN], ids=str)
Filled = Callable[[Rival, str], Embeddings]


class Provider(Embeddings):
    """Makes vectors of float32, as providers do."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        dice = random.Random(text)
        return array("f", [dice.uniform(-1, 1) for _ in range(NUMBERS)]).tolist()


@cache
def texts() -> list[str]:
    return [f"text number {number}: {'lorem ipsum ' * 80}" for number in range(TEXTS)]


def _ours(where: str, folder: Path) -> Embeddings:
    from llmemo import LLMCache, cached_embeddings

    # Without memory, each hit comes from the file.
    store = None if where == "memory" else LLMCache(folder / "llmemo.db", max_bytes=0)
    return cached_embeddings(Provider(), store, namespace="bench")


def _langchains(where: str, folder: Path) -> Embeddings:
    from langchain_classic.embeddings import CacheBackedEmbeddings
    from langchain_classic.storage import LocalFileStore
    from langchain_core.stores import InMemoryByteStore

    store: ByteStore = InMemoryByteStore() if where == "memory" else LocalFileStore(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SHA-1
        return CacheBackedEmbeddings.from_bytes_store(
            Provider(), store, namespace="bench", query_embedding_cache=True
        )


@pytest.fixture(scope="module")
def filled(folder: Callable[[], Path]) -> Filled:
    """The rival's embeddings, which know all texts: the same in every turn."""

    @cache
    def fill(rival: Rival, where: str) -> Embeddings:
        make = _langchains if rival is LANGCHAIN else _ours
        made = make(where, folder())
        assert made.embed_documents(texts()) == Provider().embed_documents(texts())
        return made

    return fill


@both
@pytest.mark.parametrize(
    "where",
    [
        pytest.param(where, marks=pytest.mark.benchmark(group=f"embedding hit of 1,000, {where}"))
        for where in ("memory", "file")
    ],
)
def test_documents(measure: Measure, filled: Filled, rival: Rival, where: str) -> None:
    embeddings = filled(rival, where)
    measure(
        rival,
        lambda asked: len(embeddings.embed_documents(asked)),
        lambda: [text[:] for text in texts()],
        operations=TEXTS,
    )


@both
@pytest.mark.benchmark(group="embedding hit of 1,000, awaited")
def test_awaited_documents(
    measure: Measure, filled: Filled, rival: Rival, loop: asyncio.AbstractEventLoop
) -> None:
    embeddings = filled(rival, "file")
    measure(
        rival,
        lambda asked: len(loop.run_until_complete(embeddings.aembed_documents(asked))),
        lambda: [text[:] for text in texts()],
        operations=TEXTS,
    )


@both
@pytest.mark.benchmark(group="embedding hit of a query")
def test_query(measure: Measure, filled: Filled, rival: Rival) -> None:
    embeddings = filled(rival, "memory")
    asked = texts()[:64]
    for text in asked:
        embeddings.embed_query(text)

    def embed(queries: list[str]) -> int:
        return sum(len(embeddings.embed_query(text)) == NUMBERS for text in queries)

    measure(rival, embed, lambda: asked, operations=len(asked))

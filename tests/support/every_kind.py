"""Answers of every kind that a store holds: kept by real caches, and asked for again by others."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation

from llmemo import LLMCache, cached, cached_embeddings, options
from support.embedders import Embedder, vectors
from support.streaming_models import Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LLM = "[('model', 'm'), ('temperature', 0.0)]"
NAMESPACES = ("", "tenant", "größer")
BATCH = 200
"""Texts that are embedded, and results of nodes that are kept, at a time."""


def answer(number: int) -> list[Generation]:
    """One of several forms, no two alike."""
    text = f"answer {number} … größer \ud800" if number % 7 == 0 else f"answer {number}"
    if number % 3 == 0:
        return [Generation(text=text, generation_info={"price": Decimal(number), "raw": b"\0\xff"})]
    call = {"name": "weather", "args": {"city": text}, "id": f"call_{number}"}
    message = AIMessage(
        text * (200 if number % 11 == 0 else 1),  # the long ones are compressed
        id=f"msg_{number}",
        tool_calls=[call],
        usage_metadata={"input_tokens": number, "output_tokens": 1, "total_tokens": number + 1},
    )
    return [ChatGeneration(message=message), ChatGeneration(message=AIMessage("another", id="2"))]


class Told(Streams):
    """Streams the words of what it is asked, and then how many they were."""

    def chunks(self) -> Iterator[ChatGenerationChunk]:
        raise NotImplementedError

    def _stream(self, messages: Any, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        self.asked.append("_stream")
        words = str(messages[-1].content).split()
        for word in words:
            yield ChatGenerationChunk(message=AIMessageChunk(content=word, id="run-1"))
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="", id="run-1", response_metadata={"finish_reason": "stop", "n": len(words)}
            )
        )


def _batches(count: int) -> Iterator[range]:
    return (range(at, min(at + BATCH, count)) for at in range(0, count, BATCH))


def keep_all(path: Path | Any, count: int, **settings: Any) -> None:
    """Keep that many answers of each kind."""
    with LLMCache(path, max_bytes=0, ttl=1e6, **settings) as cache:
        for number in range(count):
            with options(namespace=NAMESPACES[number % 3], ttl=None if number % 2 else 5e5):
                cache.update(f"prompt {number}", LLM, answer(number))
        model = cached(Told(), cache)
        for number in range(count):
            assert len(list(model.stream(f"tell {number}"))) >= 3
        embeddings = cached_embeddings(Embedder(), cache, namespace="e")
        for some in _batches(count):
            embeddings.embed_documents([f"text {n}" for n in some])
        if nodes := _nodes(cache):
            for some in _batches(count):
                nodes.set({(("node",), f"key {n}"): ({"n": n, "raw": b"\0"}, None) for n in some})
        stats = cache.stats()
        assert not stats.errors, stats.errors
        assert not stats.writes_unconfirmed


def kinds() -> int:
    """How many kinds `keep_all` keeps."""
    return 4 if _node_cache() else 3


def hits_of_all(path: Path | Any, count: int, **settings: Any) -> int:
    """How many of these a new cache answers, each equal to what was kept, without any model."""
    hits = 0
    with LLMCache(path, max_bytes=0, fresh_ids=False, **settings) as cache:
        for number in range(count):
            with options(namespace=NAMESPACES[number % 3]):
                hits += cache.lookup(f"prompt {number}", LLM) == answer(number)
        model = Told()
        twin = cached(model, cache)
        for number in range(count):
            chunks = [chunk.content for chunk in twin.stream(f"tell {number}") if chunk.content]
            hits += chunks == ["tell", str(number)] and not model.asked
        embedder = Embedder()
        embeddings = cached_embeddings(embedder, cache, namespace="e")
        for some in _batches(count):
            texts = [f"text {n}" for n in some]
            if embeddings.embed_documents(texts) == vectors(texts) and not embedder.calls:
                hits += len(texts)
        if nodes := _nodes(cache):
            for some in _batches(count):
                found = nodes.get([(("node",), f"key {n}") for n in some])
                hits += sum(
                    found.get((("node",), f"key {n}")) == {"n": n, "raw": b"\0"} for n in some
                )
        assert not cache.stats().errors, cache.stats().errors
    return hits


def _node_cache() -> Callable[..., Any] | None:
    try:
        from llmemo import LangGraphCache
    except ImportError:
        return None
    return LangGraphCache


def _nodes(cache: LLMCache) -> Any:
    node_cache = _node_cache()
    return None if node_cache is None else node_cache(cache)

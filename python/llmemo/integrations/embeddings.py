"""Embeddings that are cached by their texts, in memory and in a store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings
from typing_extensions import override

from llmemo.cache import LLMCache
from llmemo.config.validation import check_whole
from llmemo.errors import ConfigurationError
from llmemo.pipeline.embedding_call import EmbeddingCall, EmbeddingModel
from llmemo.store_io.calls import Call, run_inline
from llmemo.stores import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmemo.pipeline.tiers import Tiers
    from llmemo.stores.registry import Location


class CachedEmbeddings(Embeddings):
    """Embeddings that ask a cache first: see `cached_embeddings`, which makes them.

    Every other attribute is the wrapped embeddings' own, for reading only.
    """

    wrapped: Embeddings
    """The embeddings that are asked for what the cache has not."""
    cache: LLMCache
    """Where the vectors are kept: for `stats()`, `invalidate(namespace=…)`, `close()`."""
    namespace: str
    """The name of the model."""
    _model: EmbeddingModel

    def __init__(
        self, wrapped: Embeddings, cache: LLMCache, namespace: str, batch_size: int | None
    ) -> None:
        """Arguments as for `cached_embeddings`, which checks them."""
        model = EmbeddingModel(namespace, batch_size)
        vars(self).update(wrapped=wrapped, cache=cache, namespace=namespace, _model=model)

    @override
    def embed_documents(self, texts: list[str], **parameters: Any) -> list[list[float]]:
        """The vectors of some texts, in their order.

        Args:
            texts: Documents.
            parameters: Of the wrapped embeddings' method; each counts in the key.

        Raises:
            CacheMiss: Under `options(mode="only")`, a vector is not there.
            NamespaceRequiredError: The cache has `namespace=REQUIRED`, and none is named.
        """

        async def ask(texts: Any) -> Any:
            return self.wrapped.embed_documents(texts, **parameters)

        call = EmbeddingCall(self._tiers, self._model, parameters, Call.blocking, ask)
        return run_inline(call.documents(texts))

    @override
    def embed_query(self, text: str, **parameters: Any) -> list[float]:
        """The vector of a question. As `embed_documents`."""

        async def ask(texts: Any) -> Any:
            return [self.wrapped.embed_query(texts[0], **parameters)]

        call = EmbeddingCall(self._tiers, self._model, parameters, Call.blocking, ask)
        return run_inline(call.query(text))

    @override
    async def aembed_documents(self, texts: list[str], **parameters: Any) -> list[list[float]]:
        """As `embed_documents`, by the wrapped embeddings' own async method."""

        async def ask(texts: Any) -> Any:
            return await self.wrapped.aembed_documents(texts, **parameters)

        call = EmbeddingCall(self._tiers, self._model, parameters, Call.awaited, ask)
        return await call.documents(texts)  # type: ignore[no-any-return]

    @override
    async def aembed_query(self, text: str, **parameters: Any) -> list[float]:
        """As `embed_query`, by the wrapped embeddings' own async method."""

        async def ask(texts: Any) -> Any:
            return [await self.wrapped.aembed_query(texts[0], **parameters)]

        call = EmbeddingCall(self._tiers, self._model, parameters, Call.awaited, ask)
        return await call.query(text)  # type: ignore[no-any-return]

    @property
    def _tiers(self) -> Tiers:
        return self.cache._tiers  # noqa: SLF001 (it is a front of the same tiers)

    def __getattr__(self, name: str) -> Any:
        """An attribute of the wrapped embeddings."""
        wrapped = vars(self).get("wrapped")
        if wrapped is None or name.startswith("__"):
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(wrapped, name)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: other settings make other vectors, under the same namespace.

        Raises:
            AttributeError: Always.
        """
        msg = (
            f"{name} cannot be set on cached embeddings: set it on the embeddings, and cache them"
            " under another namespace if it changes their vectors"
        )
        raise AttributeError(msg)

    def __dir__(self) -> list[str]:
        """Its own names, and those of the wrapped embeddings."""
        return sorted({*super().__dir__(), *dir(self.wrapped)})

    def __reduce__(self) -> tuple[Any, ...]:
        """For `pickle` and `copy`: the wrapped embeddings, and the cache as `LLMCache` goes."""
        own = (self.wrapped, self.cache, self.namespace, self._model.batch_size)
        return type(self), own

    def __repr__(self) -> str:
        """Of what, under which name, and where; no secret."""
        kind = type(self.wrapped).__name__
        return f"<cached {kind}: namespace={self.namespace!r}, {self.cache!r}>"


def cached_embeddings(
    embeddings: Embeddings,
    store: LLMCache | Location | Sequence[Location] | None = None,
    *,
    namespace: str,
    batch_size: int | None = None,
) -> CachedEmbeddings:
    """Cache the vectors of texts, of documents and of queries.

    Each text is embedded once: the provider is asked for the missing texts only, each once, in
    their order and in one call. Of concurrent calls with the same text, one asks the provider.
    Vectors come back equal, in new lists.

    Trouble of the store is a miss: it is counted, and never raised. What is not a list of finite
    numbers is passed on, and not kept.

    Args:
        embeddings: Any embeddings of LangChain's.
        store: Where vectors persist: a path, a URL, a `Store`, two of these in a list (near and
            far), or None for memory only. Or an `LLMCache`, whose memory, store, TTL and encryption
            then hold for the vectors, too.
        namespace: The name of the model, with every setting that changes its vectors
            (`"text-embedding-3-small, 512 dimensions"`). Embeddings of one namespace share their
            vectors. `LLMCache.invalidate(namespace=…)` removes them.
        batch_size: Most texts that the provider is asked for at a time. Each batch is kept before
            the next one is asked for. None: all missing texts are one batch.

    Returns:
        Embeddings with the attributes of the wrapped ones; and `cache`, `namespace` and `wrapped`.

    Raises:
        TypeError: `embeddings` is no instance of LangChain's `Embeddings`.
        ConfigurationError: Another argument cannot work.

    Examples:
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> from llmemo import cached_embeddings
        >>> embeddings = cached_embeddings(DeterministicFakeEmbedding(size=3), namespace="fake")
        >>> first = embeddings.embed_documents(["a", "b", "a"])
        >>> embeddings.embed_documents(["b"]) == [first[1]]
        True
        >>> embeddings.cache.stats().hits, embeddings.cache.stats().misses
        (1, 2)
    """
    if not isinstance(embeddings, Embeddings):
        kind = embeddings.__name__ if isinstance(embeddings, type) else type(embeddings).__name__
        msg = (
            f"embeddings={kind} is no instance of langchain_core.embeddings.Embeddings: give an"
            " object such as OpenAIEmbeddings()"
        )
        raise TypeError(msg)
    if not isinstance(namespace, str) or not namespace.strip():
        msg = f"namespace={namespace!r} names no model: give a text such as embeddings.model"
        raise ConfigurationError(msg)
    if batch_size is not None:
        check_whole("batch_size", batch_size, least=1)
    if isinstance(embeddings, CachedEmbeddings):
        embeddings = embeddings.wrapped  # one layer
    return CachedEmbeddings(embeddings, _cache_of(store), namespace, batch_size)


def _cache_of(store: LLMCache | Location | Sequence[Location] | None) -> LLMCache:
    if isinstance(store, LLMCache):
        return store
    if store is None or isinstance(store, (Store, str, os.PathLike, list, tuple)):
        return LLMCache(store)
    msg = (
        f"store={type(store).__name__} cannot keep vectors: give a path, a URL, a llmemo store, an"
        " LLMCache, or None for memory only"
    )
    raise ConfigurationError(msg)

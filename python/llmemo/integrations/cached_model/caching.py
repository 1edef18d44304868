"""What a class of cached models is made of: the plain class, the cache, the pace of a replay."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, NamedTuple

from langchain_core.globals import get_llm_cache

from llmemo.cache import LLMCache
from llmemo.integrations.cached_model.stream_async import AsyncStream
from llmemo.integrations.cached_model.stream_sync import stream
from llmemo.integrations.cached_model.twin import twin_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.language_models import BaseChatModel
    from langchain_core.outputs import ChatGenerationChunk

    from llmemo.integrations.cached_model.question import Question
    from llmemo.pipeline.tiers import Tiers

Pace = Literal["instant", "recorded"]

log = logging.getLogger("llmemo")


class Caching(NamedTuple):
    """What a class of cached models is made of."""

    plain: type[BaseChatModel]
    cache: LLMCache | None
    replay: Pace

    def plain_of(self, model: BaseChatModel) -> BaseChatModel:
        """The model that a cached one of this class asks."""
        return twin_of(model, self.plain)

    def tiers(self) -> Tiers | None:
        """Where to look now; None if there is no cache."""
        cache = get_llm_cache() if self.cache is None else self.cache
        if cache is None:
            return None
        if not isinstance(cache, LLMCache):
            _warn_of(type(cache).__name__)
            return None
        return cache._tiers  # noqa: SLF001 (what both are made of)

    def stream(self, question: Question) -> Iterator[ChatGenerationChunk]:
        """The chunks of an answer, for a thread."""
        return stream(self.tiers(), question, is_paced=self.replay == "recorded")

    def astream(self, question: Question) -> AsyncStream:
        """The chunks of an answer, for a task."""
        return AsyncStream(self.tiers(), question, is_paced=self.replay == "recorded")


_warned: set[str] = set()


def _warn_of(name: str) -> None:
    if name not in _warned:
        _warned.add(name)
        log.warning(
            "llmemo: cached(model) does without a cache: set_llm_cache was given a %s; give it an"
            " LLMCache, or call cached(model, cache)",
            name,
        )

"""What a cache with near matches makes of a stream of requests, seen through its public API."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import Generation

from llmemo import LLMCache, Semantic, options, track
from llmemo.semantic.certificate import Certificate
from support.question_streams import Precomputed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_core.embeddings import Embeddings

    from llmemo.telemetry.stats import SemanticStats
    from support.question_streams import Request
    from support.question_swaps import Pair

LLM = "[('_type', 'fake'), ('stop', None), ('temperature', 0.0)]"

KNOWN = "What is a known question?"
"""A question that certifies a cache: it has to have a vector."""


@dataclass
class Served:
    """What came of a stream.

    Attributes:
        requests: Number of requests.
        hits: Places of the requests that had the answer to a similar question.
        wrong: Places of those whose answer was not the request's own.
    """

    requests: int = 0
    hits: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)

    @property
    def error(self) -> float:
        """Share of the near matches that were wrong; 0 without any."""
        return len(self.wrong) / len(self.hits) if self.hits else 0.0

    @property
    def share(self) -> float:
        """Near matches for each request."""
        return len(self.hits) / self.requests


def seeded(cache: LLMCache, seed: int) -> LLMCache:
    """The cache, which now draws its shadow checks by a seed."""
    semantic = cache._tiers.semantic
    assert semantic is not None
    semantic.checks.random = random.Random(seed)
    return cache


def serve(cache: LLMCache, requests: Iterable[Request]) -> Served:
    """Ask for each request; where the cache has no answer, a model gives the right one."""
    served = Served()
    for at, (question, answer) in enumerate(requests):
        served.requests += 1
        with track() as tracker:
            found = cache.lookup(question, LLM)
        if found is None:
            cache.update(question, LLM, [Generation(text=answer)])
        elif tracker.events[0].outcome == "semantic":
            served.hits.append(at)
            if found[0].text != answer:
                served.wrong.append(at)
    return served


def counted(cache: LLMCache) -> SemanticStats:
    """What the cache has counted of near matches."""
    stats = cache.stats().semantic
    assert stats is not None
    return stats


def certified(embeddings: Embeddings, **settings: Any) -> LLMCache:
    """A cache that serves every near match from `min_score` on, as far as guards allow."""
    semantic = Semantic(embeddings, max_error=0.5, confidence=0.5, shadow=1e-9, **settings)
    cache = LLMCache(semantic=semantic)
    tier = cache._tiers.semantic
    assert tier is not None
    sample = [(score, False) for score in tier.rule.thresholds for _ in range(3)]
    tier.certification.replace(Certificate.of_sample(tier.rule, sample))
    assert counted(cache).threshold == semantic.min_score
    return cache


def served_pairs(pairs: Sequence[Pair], min_score: float = 0.8) -> list[Pair]:
    """The pairs whose stored answer a certified cache serves; each has a namespace of its own."""
    texts = [text for pair in pairs for text in (pair.asked, pair.stored)]
    with certified(Precomputed([KNOWN, *texts]), min_score=min_score) as cache:
        return [pair for at, pair in enumerate(pairs) if _is_served(cache, pair, f"pair {at}")]


def _is_served(cache: LLMCache, pair: Pair, namespace: str) -> bool:
    with options(namespace=namespace):
        cache.update(pair.stored, LLM, [Generation(text="stored")])
        with track() as tracker:
            found = cache.lookup(pair.asked, LLM)
    assert tracker.events[0].outcome == ("miss" if found is None else "semantic")
    return found is not None

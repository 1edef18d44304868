"""Would-be hits without a model of embeddings: two wordings of a topic, as near as is wanted."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.outputs import Generation

from support.question_streams import Request
from support.served_streams import LLM, Served, serve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmemo import LLMCache

DIMENSION = 128
"""Vectors of two topics then have a cosine below 0.6."""

STORED = "What is the {}?"
ASKED = "What's the {}?"
LEAST, MOST = 0.82, 0.99
"""Cosines of the two wordings of a topic are spread evenly between these."""


class Twins(Embeddings):
    """Vectors of the questions above: the same for each process."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        topic = text.rpartition(" ")[2]
        rng = np.random.default_rng(list(hashlib.sha256(topic.encode()).digest()))
        one, other = rng.standard_normal((2, DIMENSION))
        one /= np.linalg.norm(one)
        if text == ASKED.format(topic.rstrip("?")):
            other -= (other @ one) * one
            cosine = rng.uniform(LEAST, MOST)
            one = cosine * one + (1 - cosine**2) ** 0.5 * other / np.linalg.norm(other)
        return one.tolist()  # type: ignore[no-any-return]


class Twin(NamedTuple):
    """A topic that has an answer, and what a model answers when it is asked in other words."""

    topic: str
    answer: str
    fresh: str


def topic(number: int) -> str:
    """A word that no list of words has."""
    letters = ""
    for _ in range(5):
        number, digit = divmod(number, 20)
        letters += "bcdfghjklmnpqrstvwxz"[digit] + "aeiou"[digit % 5]
    return letters


def serve_twins(cache: LLMCache, twins: Iterable[Twin]) -> Served:
    """Store each topic's answer, then ask for it in the other words: a would-be hit each."""
    served = Served()
    for at, (word, answer, fresh) in enumerate(twins):
        cache.update(STORED.format(word), LLM, [Generation(text=answer)])
        one = serve(cache, [Request(ASKED.format(word), fresh)])
        served.requests += 1
        served.hits += [at] * len(one.hits)
        served.wrong += [at] * len(one.wrong)
    return served

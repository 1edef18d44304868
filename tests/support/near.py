"""Questions in several wordings, embeddings that know what is meant, and caches that serve them."""

from __future__ import annotations

import hashlib
import math
import random
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings
from langchain_core.outputs import Generation

from llmemo import LLMCache, Semantic

if TYPE_CHECKING:
    from collections.abc import Callable

WORDINGS = (
    "explain {}",
    "explain {} in short",
    "describe {}",
    "kindly describe {}",
    "give an account of {}",
    "tell me about {}",
    "explain {} in plain words",
    "describe {} in plain words",
    "give a short account of {}",
    "describe {} in short",
    "tell me in short about {}",
    "tell me in plain words about {}",
    "give an account of {} in plain words",
    "give a short account of {} in plain words",
    "kindly explain {}",
    "kindly explain {} in short",
    "kindly explain {} in plain words",
    "kindly describe {} in short",
    "kindly describe {} in plain words",
    "kindly tell me about {}",
    "kindly give an account of {}",
    "kindly give a short account of {}",
)
"""Of one question each. No guard tells them apart."""

_AROUND = {word for wording in WORDINGS for word in wording.split()} - {"{}"}

SIZE = 64

SCORE = 0.98
"""Of two wordings of a question, about."""


def wording(number: int, topic: str) -> str:
    return WORDINGS[number].format(topic)


def topic_of(text: str) -> str:
    """What a text is about: its first word that is in no wording."""
    return next((word for word in text.split() if word not in _AROUND), text)


def direction(text: str, size: int = SIZE) -> list[float]:
    dice = random.Random(hashlib.sha256(text.encode()).digest())
    values = [dice.gauss(0, 1) for _ in range(size)]
    length = math.hypot(*values)
    return [value / length for value in values]


def meant(texts: list[str], size: int = SIZE, score: float = SCORE) -> list[list[float]]:
    """A vector for each text: near those of the other wordings, far from all else."""
    near, far = math.sqrt(score), math.sqrt(1 - score)
    pairs = [(direction(topic_of(text), size), direction(f"={text}", size)) for text in texts]
    return [[near * one + far * other for one, other in zip(*pair, strict=True)] for pair in pairs]


def alike(texts: list[str]) -> list[list[float]]:
    """Vectors near each other, whatever is meant, and no two of them equal."""
    near, far = math.sqrt(SCORE), math.sqrt(1 - SCORE)
    one = direction("")
    return [
        [near * a + far * b for a, b in zip(one, direction(f"={text}"), strict=True)]
        for text in texts
    ]


class Meaning(Embeddings):
    """`before` is called with the texts first; `answer` makes the vectors."""

    model = "meaning"

    def __init__(self, before: Callable[[list[str]], object] = lambda texts: None) -> None:
        self.before = before
        self.answer: Callable[[list[str]], Any] = meant
        self.calls: list[list[str]] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(list(texts))
        self.before(texts)
        return self.answer(texts)  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        raise AssertionError(text)


def semantic(embeddings: Embeddings | None = None, **settings: Any) -> Semantic:
    """Settings under which three right checks certify, and next to no hit is checked."""
    given = {"max_error": 0.5, "confidence": 0.5, "shadow": 1e-9, "timeout": 30, **settings}
    return Semantic(embeddings or Meaning(), **given)


def near_cache(store: Any = None, **settings: Any) -> LLMCache:
    """A cache with near matches; `settings` are `LLMCache`'s."""
    settings.setdefault("semantic", semantic())
    return LLMCache(store, **settings)


def said_of(topic: str) -> str:
    return f"all about {topic}"


def keep(cache: LLMCache, text: str, llm: str = "m", answer: str | None = None) -> None:
    told = said_of(topic_of(text)) if answer is None else answer
    cache.update(text, llm, [Generation(text=told)])


def look(cache: LLMCache, text: str, llm: str = "m") -> str | None:
    hit = cache.lookup(text, llm)
    return None if hit is None else hit[0].text


def ask(cache: LLMCache, text: str, llm: str = "m", answer: str | None = None) -> str | None:
    """What the cache answers; after a miss it is told an answer, as a model call would do it."""
    found = look(cache, text, llm)
    if found is None:
        keep(cache, text, llm, answer)
    return found


def certify(cache: LLMCache, topic: str = "rehearsals", llm: str = "m") -> None:
    """Have a cache serve near matches, by three checks."""
    for number in range(4):
        assert ask(cache, wording(number, topic), llm) is None
    assert told(cache).threshold is not None


def told(cache: LLMCache) -> Any:
    """The figures of near matches."""
    return cache.stats().semantic

"""Streams of requests as a service gets them, with the exact answer of each, and embedders."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from langchain_core.embeddings import Embeddings

from benches.data.families import families
from support.minilm import embed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benches.data.families import Intent

INTENTS = 250
"""Intents of a stream."""

TRAPS = 0.2
"""Share of them that differ from another one in a single slot."""

EXPONENT = 0.9
"""Of the Zipf law: the intent of rank r is asked in proportion to r to the minus this."""


FRESH = 0.5
"""Share of the requests whose synonyms and style are drawn for them alone."""


class Request(NamedTuple):
    """A question, and the only answer that is right for it."""

    question: str
    answer: str


def stream(
    seed: int,
    requests: int = 1200,
    *,
    intents: int = INTENTS,
    traps: float = TRAPS,
    exponent: float = EXPONENT,
    fresh: float = FRESH,
    changes_after: int | None = None,
    distinct: bool = False,
) -> list[Request]:
    """Requests for intents that are drawn by a Zipf law, each in one of the intent's wordings.

    Args:
        seed: The same seed and options give the same stream.
        requests: Length of the stream.
        intents: Number of intents to draw from.
        traps: Share of the intents that differ from another one of the stream in a single slot.
        exponent: Exponent of the Zipf law; 0 draws all intents equally often.
        fresh: Share of the requests in synonyms and a style of their own. The others repeat one of
            the intent's `wordings`, and thus each other.
        changes_after: Requests after which the answer to every question is a new one.
        distinct: Every request has an answer of its own, even that of a repeated question.
    """
    rng = random.Random(seed)
    pool = _pool(rng, intents, traps)
    weights = list(itertools.accumulate(rank**-exponent for rank in range(1, len(pool) + 1)))
    drawn = rng.choices(pool, cum_weights=weights, k=requests)
    return [
        Request(_question(intent, rng, fresh), _answer(intent, at, changes_after, distinct))
        for at, intent in enumerate(drawn)
    ]


def _pool(rng: random.Random, intents: int, traps: float) -> list[Intent]:
    """Intents of all families in turns, by rank; traps stand anywhere among them."""
    everything = families()
    pool: dict[Intent, None] = {}
    while len(pool) < intents:
        if pool and rng.random() < traps:
            # A kind first: a slot of many values would crowd out the exchanged roles.
            siblings = rng.choice(list(pool)).siblings
            kind = rng.choice(sorted({kind for kind, _ in siblings}))
            pool[rng.choice([each for found, each in siblings if found == kind])] = None
        else:
            pool[rng.choice(rng.choice(everything).intents)] = None
    ranked = list(pool)
    rng.shuffle(ranked)
    return ranked


def _question(intent: Intent, rng: random.Random, fresh: float) -> str:
    if rng.random() < fresh:
        return intent.worded(rng.randrange(len(intent.family.templates)), rng)
    return rng.choice(intent.wordings).text


def _answer(intent: Intent, at: int, changes_after: int | None, distinct: bool) -> str:
    if distinct:
        return f"{intent.answer}, told for request {at}"
    if changes_after is not None and at >= changes_after:
        return f"{intent.answer}, as of late"
    return intent.answer


class Lookup(NamedTuple):
    """What a cache without any guard finds for a request.

    Attributes:
        score: Cosine of the nearest earlier question, -1 where there is none.
        right: Whether the answer stored for that question is the request's.
        repeat: Whether it is the same text: an exact hit, of no interest here.
    """

    score: float
    right: bool
    repeat: bool


def lookups(requests: Sequence[Request], vectors: Embeddings) -> Iterator[Lookup]:
    """Look every request up among the earlier ones, and store it: a reference in plain numpy.

    A repeated question stores the newest answer, as a cache does that asks for it anew.
    """
    texts = list(dict.fromkeys(request.question for request in requests))
    rows = np.array(vectors.embed_documents(texts), np.float32)
    place = {text: at for at, text in enumerate(texts)}
    stored: dict[int, str] = {}  # questions are met in the order of `texts`
    for request in requests:
        at = place[request.question]
        if at in stored:
            yield Lookup(1.0, stored[at] == request.answer, repeat=True)
        elif stored:
            scores = rows[: len(stored)] @ rows[at]
            best = int(scores.argmax())
            yield Lookup(float(scores[best]), stored[best] == request.answer, repeat=False)
        else:
            yield Lookup(-1.0, right=False, repeat=False)
        stored[at] = request.answer


@dataclass(frozen=True)
class Share:
    """What a stream consists of: shares of its requests, and the wrong ones by score."""

    repeats: float
    near: float
    wrong: dict[float, tuple[int, int]]


BANDS = (0.8, 0.85, 0.9, 0.95)
"""Lower ends of the bands of the score."""


def shares(found: Sequence[Lookup]) -> Share:
    """Count exact repeats, would-be hits (a score of 0.8 or more), and (hits, wrong) by band."""
    wrong = {}
    for low, high in itertools.pairwise((*BANDS, 2.0)):
        band = [each for each in found if not each.repeat and low <= each.score < high]
        wrong[low] = len(band), sum(not each.right for each in band)
    near = sum(hits for hits, _ in wrong.values())
    repeats = sum(each.repeat for each in found)
    return Share(repeats / len(found), near / len(found), wrong)


class RandomVectors(Embeddings):
    """A vector for each text that has nothing to do with what it says.

    Few dimensions make many of them near; those of a real model make none.
    """

    def __init__(self, seed: int = 0, dimension: int = 384) -> None:
        self.seed, self.dimension = seed, dimension

    def embed_query(self, text: str) -> list[float]:
        rng = random.Random(f"{self.seed} {text}")
        vector = np.array([rng.gauss(0, 1) for _ in range(self.dimension)])
        return (vector / np.linalg.norm(vector)).tolist()  # type: ignore[no-any-return]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


class EqualVectors(Embeddings):
    """One and the same vector for every text: all questions are as near as can be."""

    def __init__(self, dimension: int = 384) -> None:
        self.vector = [dimension**-0.5] * dimension

    def embed_query(self, text: str) -> list[float]:
        return list(self.vector)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [list(self.vector) for _ in texts]


class Precomputed(Embeddings):
    """Vectors of all-MiniLM-L6-v2 for questions that are known before: a look-up for each.

    All instances share the vectors, so that streams with other seeds do not embed a text again.

    Raises:
        KeyError: The text is none of the known questions.
    """

    model = "all-MiniLM-L6-v2"

    _vectors: ClassVar[dict[str, np.ndarray[Any, Any]]] = {}

    def __init__(self, questions: Sequence[str]) -> None:
        # Texts of one length in a batch need no padding, which would be computed for nothing.
        new = sorted({each for each in questions if each not in self._vectors}, key=_by_length)
        self._vectors.update(zip(new, embed(new), strict=True))

    def embed_query(self, text: str) -> list[float]:
        return self._vectors[text].tolist()  # type: ignore[no-any-return]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


def _by_length(text: str) -> tuple[int, str]:
    return len(text), text

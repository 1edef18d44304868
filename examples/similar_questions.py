"""Answers to similar questions: certified by labelled pairs, refused by a guard.

    python examples/similar_questions.py

The embeddings count letters, so that this needs no network. A service gives real ones.
"""

from __future__ import annotations

from string import ascii_lowercase

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import FakeListChatModel

from llmemo import LLMCache, Semantic, options, track

ASKED = "What is the capital of France?"
REPHRASED = "What's the capital of France, please?"
OTHER = "What is the capital of Italy?"
# They resemble what is asked: their scores are where those of served questions will be.
PAIRS = [(f"What is the size of {n}?", f"What's the size of {n}, please?", True) for n in range(90)]


class Letters(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(text.lower().count(it)) for it in ascii_lowercase] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def similar_questions() -> list[str]:
    """Say in words what is served for a similar question, and what is not."""
    with LLMCache(semantic=Semantic(Letters(), max_error=0.05)) as cache:
        model = FakeListChatModel(responses=["Paris", "Rome"], cache=cache)
        model.invoke(ASKED)
        report = cache.calibrate(PAIRS)
        with track() as tracker, options(mode="only", semantic=True):  # never asks the model
            served = model.invoke(REPHRASED).content
        asked = model.invoke(OTHER).content
        [event] = tracker.events
    bound = f"at most {100 * (report.bound or 1):.1f} % of the hits are wrong"
    return [
        f"With `semantic=`: {len(PAIRS)} labelled pairs of questions certify that {bound}.",
        f'"{REPHRASED}" was answered "{served}" from "{ASKED}" (score {event.score:.2f}).',
        f'"{OTHER}" was asked ("{asked}"): a guard refuses another name.',
    ]


if __name__ == "__main__":
    for line in similar_questions():
        print(line)

"""Retrieval with a structured answer: after a restart nothing is embedded, and no model asked.

    python examples/rag.py [FILE]

Talks to the real service with OPENAI_API_KEY set, else to the server in `openai_server.py` (and
embeds with a toy then). Needs langchain-openai.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai_server import OpenAIServer
from pydantic import BaseModel, Field, SecretStr

from llmemo import LLMCache, cached, cached_embeddings

DOCUMENTS = (
    "The lighthouse of Lindau is 33 metres high.",
    "The lighthouse of Jeddah is 133 metres high.",
    "The ferry to Borkum takes 2 hours.",
)
PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer from these documents:\n{documents}"),
        ("human", "{question}"),
    ]
)


class Height(BaseModel):
    """How high something is."""

    name: str = Field(description="what it is")
    metres: float = Field(description="its height")


def answer(path: str, question: str, embeddings: Embeddings, model: ChatOpenAI) -> tuple[Any, int]:
    """The answer to a question, and how often the model or the embeddings were asked for it."""
    with LLMCache(path) as cache:
        vectors = InMemoryVectorStore(
            cached_embeddings(embeddings, cache, namespace="text-embedding-3-small")
        )
        vectors.add_texts(list(DOCUMENTS))
        found = "\n".join(it.page_content for it in vectors.similarity_search(question, k=2))
        chain = PROMPT | cached(model, cache).with_structured_output(Height)
        return chain.invoke({"documents": found, "question": question}), cache.stats().misses


def main(path: str) -> tuple[Any, list[int]]:
    """Ask twice, each time with the file newly opened: the answer, and the misses of each."""
    with contextlib.ExitStack() as stack:
        given: dict[str, Any] = {}
        embeddings: Embeddings
        if os.environ.get("OPENAI_API_KEY"):
            embeddings = OpenAIEmbeddings(model="text-embedding-3-small")
        else:
            server = stack.enter_context(OpenAIServer())
            given = {"base_url": server.url, "api_key": SecretStr("unused")}
            embeddings = DeterministicFakeEmbedding(size=64)
        model = ChatOpenAI(model="gpt-5.4-nano", **given)
        question = "How high is the lighthouse of Lindau?"
        (first, cold), (second, warm) = (
            answer(path, question, embeddings, model) for _ in range(2)
        )
        assert first == second
        return first, [cold, warm]


if __name__ == "__main__":
    height, misses = main(sys.argv[1] if sys.argv[1:] else "rag.db")
    print(f"{height!r}: {misses[0]} misses, then {misses[1]}")
    sys.exit(bool(misses[1]))

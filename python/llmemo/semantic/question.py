"""What a near match is about: a question, the exact rest of its request, and an answer's text."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.outputs import Generation

LONGEST_QUESTION = 1_000
"""Characters of the longest question. Embedders cut longer texts off (all-MiniLM-L6-v2 reads 256
tokens), and two texts with the same beginning would have the same vector."""

LONGEST_ANSWER = 64 * 1024
"""Characters of the longest answer that is served for another question."""


class Asked(NamedTuple):
    """A question, ready to be compared."""

    partition: bytes
    """Digest of the rest of its request, and of the embedder: 32 bytes."""
    text: str
    vector: bytes


def partition_for(rest: bytes, embedder: bytes, vector: bytes) -> bytes:
    """The partition of the questions that may be compared with one: 32 bytes.

    Args:
        rest: Digest of the request without its question.
        embedder: What names the embedder.
        vector: Of the question. Vectors of different dimensions are never compared.
    """
    digest = hashlib.blake2b(embedder, digest_size=32, key=rest)
    # Packed vectors have one length for each dimension.
    digest.update(len(vector).to_bytes(8, "little"))
    return digest.digest()


def text_of_answer(generations: Sequence[Generation]) -> str | None:
    """The text of an answer that may be served for a similar question; None for any other.

    That is one generation of nothing but text: no tool calls, no reasoning, no images.
    """
    if len(generations) != 1:
        return None
    generation = generations[0]
    if isinstance(generation, ChatGeneration):
        message = generation.message
        if not isinstance(message, AIMessage) or message.tool_calls or message.invalid_tool_calls:
            return None
        if not _is_text(message.content) or any(message.additional_kwargs.values()):
            return None
    text = generation.text
    return text if 0 < len(text) <= LONGEST_ANSWER else None


def _is_text(content: object) -> bool:
    if isinstance(content, str):
        return True
    return isinstance(content, list) and all(
        isinstance(block, str) or (isinstance(block, dict) and block.get("type") == "text")
        for block in content
    )


def checked(question: object) -> tuple[str | None, str]:
    """A question that may be compared; or None, and why it is not."""
    if not isinstance(question, str) or not question.strip():
        return None, "no_question"
    if len(question) > LONGEST_QUESTION:
        return None, "too_long"
    try:
        question.encode()
    except UnicodeEncodeError:  # a function has cut a character in two
        return None, "no_question"
    return question, ""

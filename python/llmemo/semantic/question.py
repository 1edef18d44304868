"""What a near match is about: a question, the exact rest of its request, and an answer's text."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration

from llmemo.concurrency.interrupts import is_interrupt
from llmemo.config.options import options
from llmemo.semantic.unread import is_too_long

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.outputs import Generation

    from llmemo.semantic.background import Note

LONGEST_ANSWER = 64 * 1024
"""Characters of the longest answer that is served for another question."""


_OF_THE_TEXT = frozenset({"parsed"})
"""What is the text once more: as the object of a JSON schema, of OpenAI's clients."""


class Rest(NamedTuple):
    """All of a request but its question."""

    tenant: bytes
    """Label of its namespace: 16 bytes."""
    digest: bytes
    """Of all of it, the namespace too: 32 bytes."""


class Asked(NamedTuple):
    """A question, ready to be compared."""

    tenant: bytes
    """See `Rest.tenant`: tenants share the memory for vectors fairly."""
    partition: bytes
    """Digest of the rest of its request, and of the embedder: 32 bytes."""
    text: str
    vector: bytes


def partition_for(rest: Rest, embedder: bytes, vector: bytes) -> bytes:
    """The partition of the questions that may be compared with one: 32 bytes.

    Args:
        rest: Of its request.
        embedder: What names the embedder.
        vector: Of the question. Vectors of different dimensions are never compared.
    """
    digest = hashlib.blake2b(embedder, digest_size=32, key=rest.digest)
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
        more = [it for name, it in message.additional_kwargs.items() if name not in _OF_THE_TEXT]
        if not _is_text(message.content) or any(more):
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


def question_in(
    text: str, function: Callable[[str], str | None] | None, note: Note
) -> tuple[str | None, str]:
    """What is asked in a text; or None, and why it is not to be compared.

    Args:
        text: Of the last message.
        function: The user's, which maps the text to the question in it.
        note: Counts and logs what it raises.
    """
    if function is None:
        return _checked(text)
    try:
        # It may ask a model with the same cache.
        with options(semantic=False):
            return _checked(function(text))
    except Exception as error:  # a user's function may raise anything
        if is_interrupt(error):
            raise
        message = "llmemo: `question` raised, and no near match was looked for: %s"
        note("question", message, type(error).__name__)
        return None, "no_question"


def _checked(question: object) -> tuple[str | None, str]:
    """A question that may be compared; or None, and why it is not."""
    if not isinstance(question, str) or not question.strip():
        return None, "no_question"
    if is_too_long(question):
        return None, "too_long"
    try:
        question.encode()
    except UnicodeEncodeError:  # a function has cut a character in two
        return None, "no_question"
    return question, ""

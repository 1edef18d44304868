"""What an embedder has not read: texts that are too long for it, and differences it does not see.

Embedders cut long texts off, and some know few scripts: all-MiniLM-L6-v2 reads 256 tokens, and one
token for "unknown" in the place of a Thai word. Two texts that differ only there have the same
vector.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from llmemo.semantic.guards import refusal
from llmemo.semantic.guards.decision import Refusal

LONGEST_QUESTION: Final = 1_000
"""Characters of the longest question."""

TOKENS_MAX: Final = 254
"""Tokens of the longest question, by `tokens_of`. all-MiniLM-L6-v2 reads 256 with its own two."""

WORDS_MAX: Final = 160
"""Words and marks of the longest question. The guards take up to 4 ms for crafted ones: they run on
an event loop."""

SAME: Final = 0.9999
"""Cosine from which vectors are taken to be equal. One byte a dimension is exact to less."""

_WORD: Final = re.compile(r"[A-Za-z]+|[0-9]+|[가-힣]|[^\sA-Za-z0-9가-힣]")

_LETTERS, _DIGITS, _SYLLABLE = 3, 2, 2

_USUAL: Final = 12
"""Letters of the longest word that may be one of the embedder's; compounds come in small pieces."""


def is_too_long(question: str) -> bool:
    """Whether embedders may cut a question off, or guards would take long."""
    if len(question) <= TOKENS_MAX // 2:
        return False
    return (
        len(question) > LONGEST_QUESTION
        or len(_WORD.findall(question)) > WORDS_MAX
        or tokens_of(question) > TOKENS_MAX
    )


def tokens_of(text: str) -> int:
    """About how many tokens a text has, rather too many than too few.

    Three letters a token suit German, Finnish and Polish; English has more. Any other character is
    one token, a Korean syllable two.
    """
    total = 0
    for word in _WORD.findall(text):
        first = word[0]
        if not first.isascii():
            total += _SYLLABLE if "가" <= first <= "힣" else 1
        elif first.isalpha():
            total += -(-len(word) // (_LETTERS if len(word) <= _USUAL else _LETTERS - 1))
        else:
            total += -(-len(word) // _DIGITS)
    return total


def objection(asked: str, stored: str, score: float) -> Refusal | None:
    """What speaks against serving the answer to one question for another: a guard, or the score.

    Args:
        asked: The question at hand.
        stored: A question with a known answer.
        score: Cosine of their vectors.
    """
    against = refusal(asked, stored)
    if against is None and score >= SAME and _written(asked) != _written(stored):
        return Refusal("unread", "the embedder sees no difference")
    return against


def _written(text: str) -> str:
    """The letters and digits of a text, in one case."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(it for it in folded if it.isalnum() or unicodedata.category(it)[0] == "M")

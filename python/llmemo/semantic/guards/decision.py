"""The guards in turn, and what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llmemo.semantic.guards.extraction import features
from llmemo.semantic.guards.grammar import negation_differs, persons_differ, question_words_differ
from llmemo.semantic.guards.lexical import (
    polarity_differs,
    quantities_differ,
    time_differs,
    units_differ,
)
from llmemo.semantic.guards.naming import names_differ
from llmemo.semantic.guards.numerals import numbers_differ
from llmemo.semantic.guards.quoting import identifiers_differ, quotes_differ
from llmemo.semantic.guards.roles import roles_differ

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.semantic.guards.features import Features

GUARDS: tuple[tuple[str, Callable[[Features, Features], str | None]], ...] = (
    ("numbers", numbers_differ),
    ("time", time_differs),
    ("units", units_differ),
    ("identifiers", identifiers_differ),
    ("quotes", quotes_differ),
    ("negation", negation_differs),
    ("polarity", polarity_differs),
    ("names", names_differ),
    ("quantities", quantities_differ),
    ("roles", roles_differ),
    ("person", persons_differ),
    ("question_word", question_words_differ),
)
"""Each guard with its name. The first that speaks gives the reason."""


class Refusal(NamedTuple):
    """Why a stored answer is not served."""

    guard: str
    """Name of the guard, as in `GUARDS`."""
    reason: str
    """What differs, in words: `number 3 was 4`."""


def refusal(asked: str, stored: str, language: str = "en") -> Refusal | None:
    """What speaks against serving the answer to one question for another.

    Args:
        asked: The question at hand.
        stored: A question with a known answer.
        language: Which word lists are used, by the name of the data file.

    Returns:
        The first objection, or None if no guard has one. The order of the questions changes
        the words of the reason only.

    Raises:
        ConfigurationError: There are no words for the language.
    """
    if asked == stored:
        return None
    mine, its = features(asked, language), features(stored, language)
    for name, differs in GUARDS:
        reason = differs(mine, its)
        if reason is not None:
            return Refusal(name, reason)
    return None

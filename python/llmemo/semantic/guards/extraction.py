"""Extraction of the features of a question, once for each."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING

from llmemo.semantic.guards import grammar, lexical, naming, numerals, quoting
from llmemo.semantic.guards.features import Features
from llmemo.semantic.guards.lexicon import lexicon
from llmemo.semantic.guards.roles import roles
from llmemo.semantic.guards.tokens import plain, tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from llmemo.semantic.guards.tokens import Token

READ_MAX = 4096
"""Characters that are analysed. What follows has to be equal."""

KEPT = 4096
"""Questions whose features are remembered."""


@functools.lru_cache(maxsize=KEPT)
def features(text: str, language: str) -> Features:
    """The features of a question.

    Raises:
        ConfigurationError: There are no words for the language.
    """
    words = lexicon(language)
    text, rest = plain(text[:READ_MAX]), text[READ_MAX:]
    found = tokens(text, words)
    bases = [token.base for token in found]
    lowers = [token.lower for token in found]
    marked = lexical.marked(found, bases, lowers, words)
    covered = marked.covered
    places = roles(found, words)
    return Features(
        lexicon=words,
        words=_spellings(lowers, bases),
        bases=frozenset(bases),
        texts={token.base: token.text for token in reversed(found)},
        content=places.sequence,
        countable=frozenset(places.sequence).union(
            *({m.value, *words.either.get(m.value, ())} for m in marked.marks.get("units", ()))
        ),
        marks={guard: frozenset(marks) for guard, marks in marked.marks.items()},
        particles=lexical.particles(found, words),
        numbers=numerals.numbers(found, marked.places, words),
        identifiers=_identifiers(found, marked.places),
        rest=rest,
        operators=tuple(token.lower for token in found if token.kind == "operator"),
        quotes=quoting.quotes(text),
        names=naming.names(found, marked.named, covered, words),
        negation=grammar.negation(found, bases, words),
        roles=places,
        persons=grammar.persons(found, words),
        question=grammar.question(found, lowers, words),
    )


def _identifiers(found: Sequence[Token], places: Collection[int]) -> frozenset[str]:
    return frozenset(
        token.lower
        for at, token in enumerate(found)
        if token.kind == "identifier" and at not in places
    )


def _spellings(lowers: Sequence[str], bases: Sequence[str]) -> frozenset[str]:
    """All forms in which a word of another question may be found in this one."""
    found = {*lowers, *bases}
    found.update(map(quoting.squeezed, (word for word in lowers if not word.isalpha())))
    found.update(map("".join, itertools.pairwise(lowers)))
    found.update(map("".join, zip(lowers, bases[1:], strict=False)))
    return frozenset(found)

"""Forms of words: bases, opposites by prefix or suffix, and typing errors."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

STEMS_MAX = 16_384
"""Words whose base is remembered."""

AFFIX_MAX = 8
"""One more than the letters of the longest prefix."""

VOWELS = frozenset("aeiouy")


def stemmer(irregular: Mapping[str, str], invariant: Collection[str]) -> Callable[[str], str]:
    """A function from a word in lower case to its base.

    Plurals, -ing and -ed are removed, and a final e or a doubled consonant: `changing` and
    `change` both become `chang`. A base need not be a word: it is only compared with others.
    """
    same = frozenset(invariant)

    @functools.lru_cache(maxsize=STEMS_MAX)
    def base(word: str) -> str:
        if word in same or len(word) > 32:
            return word
        found = irregular.get(word, word)
        return _trimmed(_without_ending(found))

    return base


def _without_ending(word: str) -> str:
    size = len(word)
    if size > 4 and word.endswith(("ies", "ied")):
        return word[:-2]
    if size > 4 and word.endswith(("sses", "xes", "zes", "ches", "shes")):
        return word[:-2]
    if size > 3 and word[-1] == "s" and word[-2] not in "sui'":
        return _without_ending(word[:-1]) if word.endswith("ings") else word[:-1]
    if size > 5 and word.endswith("ly"):
        return word[:-2]
    for ending in ("ing", "ed"):
        stem = word[: -len(ending)]
        if len(stem) > 2 and word.endswith(ending) and not VOWELS.isdisjoint(stem):
            return stem
    return word


def _trimmed(word: str) -> str:
    if len(word) > 3 and word[-1] == "e":
        word = word[:-1]
    elif len(word) > 3 and word[-1] == "y" and word[-2] not in VOWELS:
        word = word[:-1] + "i"
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in VOWELS:
        word = word[:-1]
    return word


def swapped(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """By prefix or suffix: those that make the opposite of a word."""
    found: dict[str, list[str]] = {}
    for one, other in pairs:
        for mine, its in ((one, other), (other, one)):
            if mine:
                found.setdefault(mine, []).append(its)
    return {mine: tuple(others) for mine, others in found.items()}


def opposite(
    word: str,
    others: Collection[str],
    prefixes: Mapping[str, tuple[str, ...]],
    suffixes: Mapping[str, tuple[str, ...]],
) -> str | None:
    """The word among `others` that lacks the prefix or suffix, or has its opposite.

    `unsafe` finds `safe`, and `include` finds `exclude`; `safe` does not find `unsafe`.
    """
    for size in range(1, min(AFFIX_MAX, len(word) - 2)):
        for its in prefixes.get(word[:size], ()):
            if its + word[size:] in others:
                return its + word[size:]
        for its in suffixes.get(word[-size:], ()):
            if word[:-size] + its in others:
                return word[:-size] + its
    return None


def is_misspelt(one: str, other: str) -> bool:
    """Whether a letter more, less, changed or swapped turns a long word into the other."""
    if min(len(one), len(other)) < 6 or abs(len(one) - len(other)) > 1:
        return False
    start = 0
    limit = min(len(one), len(other))
    while start < limit and one[start] == other[start]:
        start += 1
    left, right = one[start:], other[start:]
    return (
        left[1:] == right[1:]
        or left[1:] == right
        or left == right[1:]
        or (left[:2] == right[1::-1] and left[2:] == right[2:])
    )

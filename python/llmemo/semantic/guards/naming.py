"""Guard of names: capitalised words, known names, and words that are no usual ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.semantic.guards.features import Names
from llmemo.semantic.guards.morphology import is_misspelt
from llmemo.semantic.guards.numerals import ROMAN, described
from llmemo.semantic.guards.tokens import is_function

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from llmemo.semantic.guards.features import Features
    from llmemo.semantic.guards.lexicon import Lexicon
    from llmemo.semantic.guards.tokens import Token

TITLED = 0.6
"""Share of capitalised words from which a text is written like a title."""


def names(
    found: Sequence[Token],
    named: Mapping[int, str],
    covered: Collection[int],
    words: Lexicon,
) -> Names:
    """The names of a question.

    Args:
        found: Its tokens.
        named: Names that are known, by the place of their first token.
        covered: The places of tokens that mean something else: months, units, known names.
        words: The words of its language.
    """
    certain: dict[str, str] = {}
    unusual: dict[str, str] = {}
    spelled: list[str] = []
    order: list[str] = []
    acronyms: set[str] = set()
    leading = ""
    is_titled = _is_titled(found, words)
    for at, token in enumerate(found):
        if at in named:
            certain.setdefault(named[at], token.text)
            order.append(token.base)
        if token.kind != "word":
            continue
        plays_function = is_function(token, words)
        if not plays_function:
            spelled.append(token.base)
        if at in covered or token.text in ROMAN:
            continue
        kind = _kind(token, words, is_titled=is_titled, is_function=plays_function)
        if kind == "certain":
            certain.setdefault(token.base, token.text)
            order.append(token.base)
            if token.text.isupper() and 2 <= len(token.text) <= 5:
                acronyms.add(token.base)
        elif at == 0 and token.text[0].isupper() and not (is_titled or plays_function):
            leading = "" if token.base in words.verbs else token.base
        elif kind == "unusual":
            unusual.setdefault(token.base, token.text)
    initials = "".join(word[0] for word in spelled)
    return Names(
        certain,
        unusual,
        leading,
        tuple(dict.fromkeys(order)),
        frozenset(acronyms),
        initials,
        tuple(spelled),
    )


def names_differ(asked: Features, stored: Features) -> str | None:
    """Whether a name of one question is missing in the other, or an unusual word is another."""
    mine, its = asked.names, stored.names
    extra, missing = _unmatched(mine.certain, stored), _unmatched(its.certain, asked)
    if extra or missing:
        _spell_out(mine, its, extra, missing)
        _spell_out(its, mine, missing, extra)
    if not extra and not missing:
        return _leading_differ(asked, stored) or _unusual_differ(asked, stored)
    extra = extra or _unmatched(mine.unusual, stored)
    missing = missing or _unmatched(its.unusual, asked)
    return described("name", extra.values(), missing.values())


def _leading_differ(asked: Features, stored: Features) -> str | None:
    """Whether only the first words differ: `Mark is late` and `Grace is late`."""
    one, other = asked.names.leading, stored.names.leading
    if one and other and one != other and asked.content[1:] == stored.content[1:]:
        return described("name", [one], [other])
    return None


def _unusual_differ(asked: Features, stored: Features) -> str | None:
    extra = _unmatched(asked.names.unusual, stored)
    missing = _unmatched(stored.names.unusual, asked)
    if not extra or not missing:
        return None
    for word in list(extra):
        near = [other for other in missing if is_misspelt(word, other)]
        if near:
            del extra[word], missing[near[0]]
    return described("word", extra.values(), missing.values()) if extra and missing else None


def _unmatched(names: Mapping[str, str], other: Features) -> dict[str, str]:
    known, words = other.names.certain, other.words
    return {name: text for name, text in names.items() if name not in known and name not in words}


def _spell_out(mine: Names, its: Names, extra: dict[str, str], missing: dict[str, str]) -> None:
    """Forget the acronyms that the other question spells out: `ML` for `machine learning`."""
    for name in [name for name in extra if name in mine.acronyms]:
        start = its.initials.find(name)
        if start >= 0:
            del extra[name]
            for word in its.spelled[start : start + len(name)]:
                missing.pop(word, None)


def _kind(token: Token, words: Lexicon, *, is_titled: bool, is_function: bool) -> str:
    text = token.text
    is_usual = is_function or _is_usual(token, words)
    if text.islower():
        return "" if is_usual or len(text) < 3 else "unusual"
    if not text[0].isupper():
        # `iPhone` has a capital inside; scripts without capitals have none.
        return "certain" if text != token.lower else ""
    is_acronym = len(text) > 1 and text.isupper()
    if is_titled or (token.is_first and not is_acronym):
        return "" if is_usual else "certain"
    return "" if len(text) == 1 and is_function else _capital(token, is_function=is_function)


def _is_usual(token: Token, words: Lexicon) -> bool:
    """Whether the language has the word; one without an ending has to be listed as it is."""
    if token.lower in words.lemmas:
        return True
    bare = token.lower[:-1] if token.lower[-1:] != "s" else ""
    return token.base in words.usual and token.base not in {token.lower, bare}


def _capital(token: Token, *, is_function: bool) -> str:
    """A function word with a capital (`Is`, `The`) names nothing; in capitals (`IT`) it may."""
    return "" if is_function and not (token.text.isupper() and len(token.text) > 1) else "certain"


def _is_titled(found: Sequence[Token], words: Lexicon) -> bool:
    """Whether words that are no names have capitals, as in titles and in shouting."""
    plain = [token for token in found if token.kind == "word" and not token.is_first]
    capital = sum(token.text[0].isupper() for token in plain)
    if capital < 2 or capital < TITLED * len(plain):
        return False
    return any(t.text[0].isupper() and len(t.text) > 1 and t.lower in words.function for t in plain)

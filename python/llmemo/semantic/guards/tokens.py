"""Tokens of a question, without greetings, thanks and fillers."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from llmemo.semantic.guards.literals import numeric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmemo.semantic.guards.lexicon import Lexicon

CHUNK_MAX = 64
"""Characters of a run without white space. A longer one is an identifier as a whole."""

OPENING = "([{<\"'\u201c\u2018\xab\xbf\xa1*"
CLOSING = ".,;:!?)]}>\"'\u201d\u2019\xbb\u2026*"
QUOTING = '"\u201c\xbf\xa1'
STRAIGHT = str.maketrans("\u2018\u2019", "''")
PAUSES = frozenset(".,;:!?)…")
ENDS = frozenset(".:!?…")

GLUED = re.compile(r"[?!;,()](?=[^\W\d_])")
"""Punctuation without white space before the next word."""

OPERATORS = frozenset("+*=<>^|~\xd7\xf7\u2264\u2265\u2260")

SPLIT = re.compile(r"[-/\u2013\u2014]")
DOTTED = re.compile(r"(?:\w\.)+\w")
IDENTIFIER = re.compile(r"[0-9_@\\#+=<>~^|%$]|\w\.\w|//|^[./]\w")


class Token(NamedTuple):
    """One word, number or identifier."""

    text: str
    lower: str
    base: str
    kind: str
    """`word`, `number`, `identifier` or `operator`."""
    is_first: bool
    """Whether it begins a sentence."""
    has_pause: bool
    """Whether a comma or the end of a sentence follows."""
    is_owner: bool = False
    """Whether it is possessive: `Anna's`."""


def tokens(text: str, words: Lexicon) -> list[Token]:
    """The tokens that carry the meaning of a question."""
    found = _tokens(text, words)
    kept = _without_courtesies(found, words)
    kept = [token for token in kept if token.lower not in words.fillers]
    return kept or found


def is_function(token: Token, words: Lexicon) -> bool:
    """Whether a token is a function word, and no name that looks like one."""
    return token.lower in words.function and (
        token.is_first or token.text not in words.capital_names
    )


def plain(text: str) -> str:
    """The text with compatible characters unified (NFKC), and straight apostrophes."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(STRAIGHT)
    return GLUED.sub(r"\g<0> ", text)


def _tokens(text: str, words: Lexicon) -> list[Token]:
    found: list[Token] = []
    is_first, after_number = True, False
    base, contractions = words.base, words.contractions
    for chunk in text.split():
        lower = chunk.lower()
        if chunk.isalpha() and not after_number and lower not in contractions:
            found.append(Token(chunk, lower, base(lower), "word", is_first, has_pause=False))
            is_first = False
            continue
        bare = chunk.lstrip(OPENING).rstrip(CLOSING)
        is_first = is_first or (bare[:1].isalpha() and chunk[0] in QUOTING)
        tail = chunk[chunk.rfind(bare) + len(bare) :] if bare else chunk
        is_owner = bare[-2:] == "'s" and bare[:-2].lower() not in words.function
        has_pause = not PAUSES.isdisjoint(tail)
        parts = _parts(bare, words, after_number=after_number) if bare else []
        for at, (part, kind) in enumerate(parts):
            lower = part.lower()
            stem = base(lower) if kind == "word" else lower
            is_last = at == len(parts) - 1
            pause, owner = has_pause and is_last, is_owner and is_last
            found.append(Token(part, lower, stem, kind, is_first, pause, owner))
            is_first = False
        if parts:
            after_number = parts[-1][1] == "number"
        if not ENDS.isdisjoint(tail) and not _is_abbreviated(bare, tail, words):
            is_first = True
    return found


def _is_abbreviated(bare: str, tail: str, words: Lexicon) -> bool:
    return tail == "." and (len(bare) == 1 or bare.lower() in words.abbreviations)


def _parts(bare: str, words: Lexicon, *, after_number: bool) -> list[tuple[str, str]]:
    """The tokens of a chunk, as pairs of text and kind."""
    lower = bare.lower()
    if after_number and lower not in words.attached_only:
        unit = words.short_units.get(lower)
        if unit:
            return [(unit, "word")]
    if lower in words.contractions:
        return [(word, "word") for word in words.contractions[lower]]
    if bare.isalpha():
        return [(bare, "word")]
    if len(bare) > CHUNK_MAX:
        return [(lower, "identifier")]
    return _mixed(bare, words)


def _mixed(bare: str, words: Lexicon) -> list[tuple[str, str]]:
    """The tokens of a chunk that is no plain word."""
    found = numeric(bare, words)
    if found is None and "'" in bare:
        found = _contracted(bare, words)
    if found is not None:
        return found
    if not any(map(str.isalnum, bare)):
        return [] if OPERATORS.isdisjoint(bare) else [(bare, "operator")]
    if DOTTED.fullmatch(bare) and not any(map(str.isdigit, bare)):
        return [(bare.replace(".", ""), "word")]
    if IDENTIFIER.search(bare):
        return _compound(bare, words) or [(bare.casefold().rstrip("/"), "identifier")]
    return _hyphenated([part for part in SPLIT.split(bare) if part], words)


def _hyphenated(parts: list[str], words: Lexicon) -> list[tuple[str, str]]:
    """The tokens of words that hyphens or slashes join."""
    first = parts[0].lower()
    if first == "non" or (len(parts) == 2 and len(first) < 3 and first not in words.function):
        # "e-mail" and "Wi-Fi" are often written in one word.
        return [("".join(parts), "word")]
    if len(parts) == 2 and parts[1].lower() == "free":
        return [("without", "word"), (parts[0], "word")]
    return [(part, "word") for part in parts]


def _compound(bare: str, words: Lexicon) -> list[tuple[str, str]] | None:
    """The tokens of `30-day` or `two/2`: numbers and words that a hyphen joins."""
    parts = SPLIT.split(bare)
    if len(parts) < 2 or "_" in bare or not any(p.isalpha() and len(p) > 1 for p in parts[1:]):
        return None
    found: list[tuple[str, str]] = []
    for part in parts:
        tokens = [(part, "word")] if part.isalpha() else numeric(part, words)
        if tokens is None or any(kind == "identifier" for _, kind in tokens):
            return None
        found += tokens
    return found


def _contracted(bare: str, words: Lexicon) -> list[tuple[str, str]]:
    """The tokens of `don't`, `Mary's` and `I'm`."""
    stem, _, ending = bare.rpartition("'")
    ending = ending.lower()
    if ending == "t" and stem[-1:].lower() == "n":
        return [*_parts(stem[:-1], words, after_number=False), ("not", "word")]
    if ending in {"s", "m", "re", "ve", "ll", "d"}:
        parts = _parts(stem, words, after_number=False) if stem else []
        is_verb = ending != "s" or stem.lower() in words.function
        return [*parts, ("is", "word")] if is_verb and ending == "s" else parts
    return [(part, "word") for part in bare.split("'") if part]


def _without_courtesies(found: list[Token], words: Lexicon) -> list[Token]:
    """The tokens between greetings and openers at the start and thanks at the end."""
    lowers = [token.lower for token in found]
    start, stop = 0, len(found)
    while start < stop:
        size = _opener(lowers, found, start, words)
        if not size or start + size >= stop:
            break
        start += size
    backwards = lowers[::-1]
    while start < stop:
        match = words.closings.at(backwards, len(backwards) - stop)
        if match is None or stop - match[0] <= start:
            break
        stop -= match[0]
    return found[start:stop]


def _opener(lowers: Sequence[str], found: Sequence[Token], start: int, words: Lexicon) -> int:
    match = words.openers.at(lowers, start)
    if match is None:
        return 0
    size, needs_pause = match
    if needs_pause and not found[start + size - 1].has_pause:
        return 0
    if words.greetings.at(lowers, start) is not None and not found[start + size - 1].has_pause:
        # "Hello Anna," and "Dear Mr Smith,": the name is part of the greeting.
        for more in (1, 2):
            end = start + size + more
            if end < len(found) and found[end - 1].has_pause:
                return size + more
    return size

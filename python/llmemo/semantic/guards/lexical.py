"""Guards by word lists: time, units, quantities, and opposites."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llmemo.semantic.guards.lexicon import Mark
from llmemo.semantic.guards.morphology import opposite
from llmemo.semantic.guards.numerals import described

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmemo.semantic.guards.features import Features
    from llmemo.semantic.guards.lexicon import Lexicon
    from llmemo.semantic.guards.tokens import Token

REACH = 6
"""Words after `turn` among which its `on` or `off` is looked for."""

CALENDAR = frozenset({"in", "of", "by", "since", "until", "next", "last", "this", "on", "every"})
"""Words before `may` or `sat` that make it a month or a day."""

COVERING = frozenset({"time", "units"})
"""Guards whose words are no names, even with a capital."""

DATES = frozenset({"weekday", "month", "season", "holiday"})
"""Slots of words that `next` and `last` may stand before."""

NOTHING: frozenset[Mark] = frozenset()


class Marked(NamedTuple):
    """What the words of a question mean by the lists."""

    marks: dict[str, set[Mark]]
    """By guard."""
    named: dict[int, str]
    """Known names by the place of their first token."""
    places: set[int]
    """Places of all tokens of known names."""
    covered: set[int]
    """Places of tokens that are known names, times or units."""


def marked(
    found: Sequence[Token], bases: Sequence[str], lowers: Sequence[str], words: Lexicon
) -> Marked:
    """What the words of a question mean by the lists."""
    result = Marked({}, {}, set(), set())
    for at, token in enumerate(found):
        if token.lower in words.names.firsts or token.text in words.exact:
            size, name = _name(token, lowers, at, words)
            if size:
                result.named[at] = name
                result.places.update(range(at, at + size))
    result.covered.update(result.places)
    at = 0
    while at < len(found):
        match = words.marks.at(bases, at) if bases[at] in words.marks.firsts else None
        if (
            match is None
            or found[at].text in words.exact
            or (match[0] == 1 and not _counts(found, at, words))
        ):
            at += 1
            continue
        size, marks = match
        for mark in marks:
            result.marks.setdefault(mark.guard, set()).add(mark)
            if mark.guard in COVERING:
                result.covered.update(range(at, at + size))
        moved = words.relative.get(lowers[at - 1]) if at else None
        if moved and any(mark.slot in DATES for mark in marks):
            mark = Mark("time", "relative", moved, is_strong=True)
            result.marks.setdefault("time", set()).add(mark)
        at += size
    return result


def particles(found: Sequence[Token], words: Lexicon) -> frozenset[str]:
    """The particles of verbs, as pairs with their opposite: `on` of `turn the light on`."""
    verbs = [at for at, token in enumerate(found) if token.base in words.particle_verbs]
    chosen: set[str] = set()
    for at in verbs:
        after = [token.lower for token in found[at + 1 : at + 1 + REACH]]
        particle = "off" if "off" in after else next((w for w in after if w in words.particles), "")
        if particle:
            chosen.add(particle)
    return frozenset(chosen)


def time_differs(asked: Features, stored: Features) -> str | None:
    """Whether days, months, periods or times of day differ."""
    return _marks_differ("time", asked, stored)


def units_differ(asked: Features, stored: Features) -> str | None:
    """Whether units or currencies differ."""
    return _marks_differ("units", asked, stored)


def quantities_differ(asked: Features, stored: Features) -> str | None:
    """Whether one asks for the least and the other for the most, and so on."""
    return _marks_differ("quantities", asked, stored)


def polarity_differs(asked: Features, stored: Features) -> str | None:
    """Whether a word of one question has its opposite in the other."""
    listed = _marks_differ("polarity", asked, stored)
    if listed is not None:
        return listed
    return _particles_differ(asked, stored) or _affixes_differ(asked, stored)


def _particles_differ(asked: Features, stored: Features) -> str | None:
    if asked.particles == stored.particles:
        return None
    pairs = asked.lexicon.particles
    for word in sorted(asked.particles - stored.particles):
        for other in sorted(stored.particles - asked.particles):
            if pairs[word] == pairs[other]:
                return f"{word!r} was {other!r}"
    return None


def _affixes_differ(asked: Features, stored: Features) -> str | None:
    extra, missing = asked.bases - stored.bases, stored.bases - asked.bases
    if not extra or not missing:
        return None
    lexicon = asked.lexicon
    prefixes, suffixes = lexicon.prefixes, lexicon.suffixes
    for word in extra:
        found = opposite(word, missing, prefixes, suffixes)
        if found is not None and not _negates(word, lexicon):
            return f"{asked.texts[word]!r} was {stored.texts[found]!r}"
    for word in missing:
        found = opposite(word, extra, prefixes, suffixes)
        if found is not None and not _negates(word, lexicon):
            return f"{asked.texts[found]!r} was {stored.texts[word]!r}"
    return None


def _negates(word: str, words: Lexicon) -> bool:
    """Whether the guard of negation sees to the word: `unable`."""
    match = words.negation.at([word], 0)
    return match is not None and match[1] in {"hard", "cues"}


def _name(token: Token, lowers: Sequence[str], at: int, words: Lexicon) -> tuple[int, str]:
    """How many tokens from `at` on are a known name, and which."""
    if token.text in words.exact:
        return 1, words.exact[token.text]
    return words.names.at(lowers, at) or (0, "")


def _marks_differ(guard: str, asked: Features, stored: Features) -> str | None:
    mine, its = asked.marks.get(guard, NOTHING), stored.marks.get(guard, NOTHING)
    if mine == its:
        return None
    extra, missing = _unequal(mine - its, its - mine, asked.lexicon)
    slots = {mark.slot for mark in extra} & {mark.slot for mark in missing}
    ours = {repr(mark.value) for mark in extra if mark.is_strong or mark.slot in slots}
    theirs = {repr(mark.value) for mark in missing if mark.is_strong or mark.slot in slots}
    return described("", ours, theirs) if ours or theirs else None


def _unequal(
    extra: frozenset[Mark], missing: frozenset[Mark], words: Lexicon
) -> tuple[frozenset[Mark], frozenset[Mark]]:
    """The marks without those that may mean the same: `pounds` and `GBP`."""
    for one, other in ((extra, missing), (missing, extra)):
        for mark in one:
            meanings = words.either.get(mark.value)
            same = frozenset(each for each in other if meanings and each.value in meanings)
            if same:
                gone = same.union(each for each in one if each.value == mark.value)
                return extra - gone, missing - gone
    return extra, missing


def _counts(found: Sequence[Token], at: int, words: Lexicon) -> bool:
    """Whether `may` is a month here: words like it need a capital, a number or a preposition."""
    token = found[at]
    if token.lower not in words.capital_only:
        return True
    before = found[at - 1] if at else None
    after = found[at + 1] if at + 1 < len(found) else None
    return (
        (token.text[0].isupper() and not token.is_first)
        or (before is not None and (before.kind == "number" or before.lower in CALENDAR))
        or (after is not None and after.kind == "number")
    )

"""Guard of numbers: digits, number words and ordinals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.semantic.guards.features import Numbers
from llmemo.semantic.guards.literals import scaled

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from llmemo.semantic.guards.features import Features
    from llmemo.semantic.guards.lexicon import Lexicon
    from llmemo.semantic.guards.tokens import Token

ROMAN = {"II": "2", "III": "3", "IV": "4", "VI": "6", "VII": "7", "VIII": "8", "IX": "9"}
BEFORE_SECONDS = frozenset({"a", "per", "each", "every", "one"})
"""Words after which `second` is a unit of time."""


def numbers(found: Sequence[Token], covered: Collection[int], words: Lexicon) -> Numbers:
    """The numbers of a question; those inside a name (`covered`) are left out."""
    values: list[str] = []
    counted: list[tuple[str, str]] = []
    has_one = False
    at = 0
    while at < len(found):
        size, value = (0, "") if at in covered else _number(found, at, words)
        at += size or 1
        if not size:
            continue
        if value == "one":
            has_one = True
            continue
        values.append(value)
        counted.append((value, found[at].base if at < len(found) else ""))
    return Numbers(tuple(values), frozenset(counted), has_one)


def numbers_differ(asked: Features, stored: Features) -> str | None:
    """Whether the questions mention other numbers, or the same for other things."""
    mine, its = asked.numbers, stored.numbers
    if mine == its or mine.values == its.values == ():
        return None
    ours, theirs = set(mine.values), set(its.values)
    extra, missing = ours - theirs, theirs - ours
    if mine.has_one:
        missing.discard("1")
    if its.has_one:
        extra.discard("1")
    if extra or missing:
        return described("number", extra, missing)
    if mine.values != its.values and mine.counted != its.counted and len(ours) > 1:
        return f"numbers {', '.join(mine.values)} were {', '.join(its.values)}"
    return _counted_differ(asked, stored)


def _counted_differ(asked: Features, stored: Features) -> str | None:
    """Whether a number belongs to the other of two words: `5 km in miles`, `5 miles in km`."""
    extra = dict(sorted(asked.numbers.counted - stored.numbers.counted))
    missing = dict(sorted(stored.numbers.counted - asked.numbers.counted))
    for value in sorted(extra.keys() & missing.keys()):
        noun, other = extra[value], missing[value]
        if noun in stored.countable and other in asked.countable:
            noun, other = asked.texts.get(noun, noun), stored.texts.get(other, other)
            return f"{value} {noun} was {value} {other}"
    return None


def described(noun: str, extra: Collection[str], missing: Collection[str]) -> str:
    """What differs, in words: `extra` is asked for, `missing` is in the stored question."""
    ours, theirs = ", ".join(sorted(extra)), ", ".join(sorted(missing))
    if extra and missing:
        return f"{noun} {ours} was {theirs}".lstrip()
    return (f"{noun} {ours} is new" if extra else f"{noun} {theirs} is missing").lstrip()


def _number(found: Sequence[Token], at: int, words: Lexicon) -> tuple[int, str]:
    """How many tokens from `at` on are one number, and its value."""
    token = found[at]
    if token.kind == "number":
        scale = words.scales.get(found[at + 1].lower) if at + 1 < len(found) else None
        if scale and token.text.replace(".", "").isdigit():
            return 2, scaled(token.text, scale)
        return 1, token.text
    if token.lower in words.numbers or (token.lower in words.scales and len(token.lower) > 2):
        size, value = _spoken(found, at, words)
        return size, "one" if token.lower == "one" and size == 1 else str(value)
    if token.lower in words.ordinals:
        before = found[at - 1] if at else None
        is_unit = before is not None and (before.lower in BEFORE_SECONDS or before.kind == "number")
        return (0, "") if is_unit else (1, str(words.ordinals[token.lower]))
    return (1, ROMAN[token.text]) if token.text in ROMAN else (0, "")


def _spoken(found: Sequence[Token], at: int, words: Lexicon) -> tuple[int, int]:
    """The number that words say: `two hundred and fifty`."""
    total = current = 0
    start, last = at, 0
    while at < len(found):
        word = found[at].lower
        if word in words.numbers and (at == start or _follows(last, words.numbers[word])):
            last = words.numbers[word]
            current += last
        elif word in words.ordinals and at > start and _follows(last, words.ordinals[word]):
            return at + 1 - start, total + current + words.ordinals[word]
        elif word in words.scales and len(word) > 2:
            last = words.scales[word]
            current = max(current, 1) * last
            if last > 100:
                total, current = total + current, 0
        elif not (word == "and" and last >= 100 and _is_number(found, at + 1, words)):
            break
        at += 1
    return at - start, total + current


def _follows(last: int, value: int) -> bool:
    """Whether a number word continues the one before it: `twenty five`, not `five six`."""
    return last >= 100 or (last >= 20 and value < 10)


def _is_number(found: Sequence[Token], at: int, words: Lexicon) -> bool:
    return at < len(found) and found[at].lower in words.numbers

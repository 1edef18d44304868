"""Chunks with digits: numbers, units, dates and identifiers."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmemo.semantic.guards.lexicon import Lexicon

NUMBER = re.compile(
    r"(?P<sign>[-+]?)(?P<before>[^\w\s.,+-]?)(?P<digits>[0-9]+(?:,[0-9]{2,3})*(?:\.[0-9]+)?|\.[0-9]+)"
    r"-?(?P<unit>[^\W\d_]*|[^\w\s.,]?[^\W\d_]?)"
)
CLOCK = re.compile(r"([0-9]{1,2})[:.h]([0-9]{2})([ap]\.?m)?", re.IGNORECASE)
DATE = re.compile(r"[0-9]{1,4}(?:[/\u2013-][0-9]{1,4})+")
DASH = re.compile(r"[/\u2013-]")
DECADE = re.compile(r"[0-9]{2,4}'?s")
NAMED = re.compile(r"([^\W\d_]{2,})-?([0-9]{1,9}(?:\.[0-9]{1,9})?)")
ORDINALS = frozenset({"st", "nd", "rd", "th"})

Part = tuple[str, str]
"""The text and the kind of a token."""


def numeric(bare: str, words: Lexicon) -> list[Part] | None:
    """The tokens of a chunk that is a number, perhaps with a unit; None if it is none."""
    if bare[:1] == "#" and bare[1:].isdigit():
        bare = bare[1:]
    if bare.isascii() and bare.isdigit():
        return [(canonical(bare), "number")]
    if not any(map(str.isdigit, bare)):
        return _symbol(bare, words)
    found = _calendar(bare)
    if found is not None:
        return found
    match = NUMBER.fullmatch(bare)
    return _measured(match, words) if match else None


def _calendar(bare: str) -> list[Part] | None:
    """The tokens of a time, a date, a decade, or a name with a number."""
    if ":" in bare or bare[-1] in "mM":
        found = _clock(bare)
        if found:
            return found
    if DATE.fullmatch(bare):
        return [(canonical(part), "number") for part in DASH.split(bare)]
    if DECADE.fullmatch(bare):
        return [(bare.rstrip("s'") + "s", "number")]
    match = NAMED.fullmatch(bare)
    return [(match[1], "word"), (canonical(match[2]), "number")] if match else None


def canonical(digits: str) -> str:
    """One spelling for each number: `1,000` is `1000`, `2.50` is `2.5`."""
    whole, _, part = digits.replace(",", "").partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    return f"{whole}.{part}" if part else whole


def scaled(digits: str, scale: int) -> str:
    """A number times a thousand, a million and so on."""
    return canonical(format(Decimal(digits) * scale, "f"))


def _clock(bare: str) -> list[Part] | None:
    match = CLOCK.fullmatch(bare)
    if not match:
        return None
    hour, minute, half = match.groups()
    value = canonical(hour) if minute == "00" else f"{canonical(hour)}:{minute}"
    parts = [(value, "number")]
    if half:
        parts.append((half[0].lower() + ".m", "word"))
    return parts


def _measured(match: re.Match[str], words: Lexicon) -> list[Part] | None:
    sign, before, digits, unit = match.group("sign", "before", "digits", "unit")
    value = canonical(digits)
    if sign == "-":
        value = "-" + value
    unit = unit.lower()
    parts = [(words.symbols[before], "word")] if before in words.symbols else []
    if before and not parts and before != "~":
        return None
    if unit in ORDINALS:
        return [*parts, ("first", "word") if value == "1" else (value, "number")]
    if unit == "m" and before:
        unit = "mn"
    if unit in words.scales:
        return [(scaled(value, words.scales[unit]), "number"), *parts]
    named = words.symbols.get(unit.strip("°")) or words.short_units.get(unit.strip("°"))
    if unit and not named:
        # `100usd` and `30day`, but `2FA` is an identifier.
        if len(unit) < 3:
            return None
        named = unit
    # "celsius" says more than "degree celsius" would.
    return [(value, "number"), *parts, *([(named, "word")] if named else [])]


def _symbol(bare: str, words: Lexicon) -> list[Part] | None:
    """The token of a symbol that stands alone: `%` or `€`, and `°C`."""
    named = words.symbols.get(bare)
    if named is None and bare[:1] == "°":
        named = words.short_units.get(bare[1:].lower())
    return [(named, "word")] if named else None

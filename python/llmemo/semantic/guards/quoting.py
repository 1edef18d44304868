"""Guards of identifiers, operators, and quoted text and code."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmemo.semantic.guards.numerals import described

if TYPE_CHECKING:
    from llmemo.semantic.guards.features import Features

QUOTED = re.compile(
    r'"([^"\n]{1,200})"|“([^”\n]{1,200})”|«([^»\n]{1,200})»|`([^`\n]{1,200})`'
    r"|(?<!\w)'([^'\n]{1,200})'(?!\w)"
)
JOINTS = str.maketrans("", "", "-_./:'")
FENCE = "```"


def quotes(text: str) -> frozenset[str]:
    """The quoted strings and the code of a text, with its white space unified."""
    found: set[str] = set()
    if FENCE in text:
        pieces = text.split(FENCE)
        found.update(" ".join(piece.split()) for piece in pieces[1::2])
        text = " ".join(pieces[::2])
    if any(mark in text for mark in "\"'`“«"):
        for match in QUOTED.finditer(text):
            inner = " ".join((match[match.lastindex or 0]).split())
            found.add(inner.strip(" .,;:!?"))
    found.discard("")
    return frozenset(found)


def quotes_differ(asked: Features, stored: Features) -> str | None:
    """Whether a quoted text of one question is not in the other, quoted or not."""
    extra = _unmatched(asked.quotes, stored)
    missing = _unmatched(stored.quotes, asked)
    return described("quoted text", extra, missing) if extra or missing else None


def identifiers_differ(asked: Features, stored: Features) -> str | None:
    """Whether a code, file name, address or operator of one question is not in the other."""
    if asked.operators != stored.operators:
        return described("operator", [" ".join(asked.operators)], [" ".join(stored.operators)])
    if asked.rest != stored.rest:
        return "the end of the long text differs"
    if asked.identifiers == stored.identifiers:
        return None
    extra = {each for each in asked.identifiers if squeezed(each) not in stored.words}
    missing = {each for each in stored.identifiers if squeezed(each) not in asked.words}
    return described("identifier", extra, missing) if extra or missing else None


def squeezed(text: str) -> str:
    """The text without hyphens and the like: `AB-12` and `ab12` are the same code."""
    return text.translate(JOINTS) or text


def _unmatched(quoted: frozenset[str], other: Features) -> set[str]:
    if quoted == other.quotes:
        return set()
    folded = {each.casefold() for each in other.quotes}
    return {
        each
        for each in quoted - other.quotes
        if each.casefold() not in folded and not _is_said(each, other)
    }


def _is_said(text: str, other: Features) -> bool:
    """Whether the other question has all the words of a quoted text, without the quotes."""
    return not other.quotes and all(
        squeezed(word) in other.words for word in text.casefold().split()
    )

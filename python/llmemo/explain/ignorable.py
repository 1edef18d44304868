"""Settings that are new with each call, and that no answer depends on, as far as names tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from llmemo.config.ignore import PASSED_ON, is_decisive

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 4
"""Settings that are proposed together: a request that differs in more is another request."""

ID_NAME = re.compile(
    r"(^|[-_.])(request|correlation|trace|span|invocation|transaction|call|run)[-_]?(id|uuid|key)$"
    r"|idempotency|traceparent|tracestate|baggage|nonce|timestamp|(^|[-_.])(uuid|b3)$"
    r"|^x-b3-|cloud-trace|amzn-trace",
    re.IGNORECASE,
)
"""Names of what is made for one call, or for a few: ids, trace headers, times."""

STATE_NAME = re.compile(r"(^|[-_.])(session|thread|conversation)[-_]?(id|uuid|key)$", re.IGNORECASE)
"""Names of what one user does. Elsewhere than in `LABELLING`, such an id may have the server read
what it keeps of earlier requests."""

LABELS = frozenset({"user", "user_id", "end_user", "safety_identifier", "prompt_cache_key"})
"""Names of whom a request is for: providers are told for abuse control and billing."""

MADE = re.compile(
    r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"  # a UUID
    r"|[0-7][0-9A-HJKMNP-TV-Z]{25}"  # a ULID
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*|1\d{9}(\d{3})?(\.\d+)?",  # a time: ISO 8601, Unix
    re.IGNORECASE,
)
"""Values that are made for one call. Bare hexadecimal may be the digest of what is asked about."""

LABELLING = re.compile(r"(headers|metadata|query|labels|tags)$", re.IGNORECASE)
"""Names of settings whose members are mostly not for the model. Elsewhere, such a value may well
name a document, or a model's weights."""

PREFIX = re.compile(r"^[a-z]{2,16}[-_:]+", re.IGNORECASE)
"""What may stand before such a value: `req_…`."""


def ignorable(places: Iterable[tuple[str, Any]]) -> tuple[str, ...]:
    """The settings that explain a miss, if all of them look made for each call.

    Args:
        places: Where the settings of two requests differ, and the values of the new one.
    """
    found = dict(places)
    if not all(map(_is_made, found, found.values())):
        return ()
    names = tuple(sorted({_bare(name) for name in found}))
    return names if len(names) <= MOST else ()


def likely(places: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Of the places where a setting may differ, those that look made for each call."""
    return [(name, value) for name, value in places if _is_made(name, value)]


def _is_made(name: str, value: Any) -> bool:
    if is_decisive(name):
        return False
    around, _, last = _bare(name).rpartition(".")
    if last in LABELS or ID_NAME.search(last):
        return True
    if not LABELLING.search(around):
        return False
    text = str(value) if isinstance(value, str | int | float) else ""
    return bool(STATE_NAME.search(last) or MADE.fullmatch(PREFIX.sub("", text)))


def _bare(name: str) -> str:
    """A name without what only passes it on to the provider."""
    first, _, rest = name.partition(".")
    return _bare(rest) if first in PASSED_ON and rest else name

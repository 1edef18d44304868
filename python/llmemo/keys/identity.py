"""The names of a request: the text by which memory knows it, and its key in every process."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from llmemo._core import RequestBypassed
from llmemo.keys.outline import TAIL
from llmemo.langchain.class_schemas import schemas

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo._core import Memory
    from llmemo.keys.request import Request

T = TypeVar("T")

REMEDIES = {
    "address": "an object whose text is its address: give plain values, or a class with a repr",
    "unknown_repr": "an object whose text need not say what is in it: give plain values",
    "truncated": "a value that is printed only in part: give it as plain values",
    "too_deep": "values that are nested too deep",
    "unknown_class": "a class that was not seen: call the model through LangChain's methods",
    "hidden_model": (
        "the settings of a model that another cache asks for, from another thread or with another"
        " text: call `lookup` and `alookup` of this cache from methods of the same names, with the"
        " texts as they are (a `namespace` tells tenants apart)"
    ),
    "unknown_value": (
        "a value that cannot be told: give plain values, or declare the field with exclude=True if"
        " no answer depends on it"
    ),
    "too_large": "values that are too large for settings",
    "thin_text": "a model that lists too few of its settings (others of the same text differ): call"
    " the model through LangChain's methods, so that the cache can see it",
}
"""Why a request has no key, and what to do about it."""

OBSTACLES_MAX = 2
"""Obstacles that may be told beside the texts: objects in the call, objects in the prompt."""

CLASS = "<class '"
"""How an `llm_string` names a class."""


class Identity(NamedTuple):
    """The names of a request."""

    name: str
    """The text by which memory knows its model and call."""
    key: bytes
    """Its key."""
    schemas: dict[str, bytes] | None
    """Digests of the classes that its `llm_string` names, if it names any."""
    request: Request
    """The request, with the objects in its texts told beside them."""
    label: bytes = b""
    """Of the `llm_string`; see `describe`."""
    outline: bytes = b""
    """Digests of its parts; see `describe`."""


def seek(memory: Memory, request: Request, namespace: str) -> tuple[Identity, int | None]:
    """Name a request that memory did not find by its text.

    Also returns the epoch under which to read it from a store: None if memory has an entry of that
    key all the same.

    Raises:
        RequestBypassed: It does not say what is asked.
    """
    request, known, (key, epoch) = _resolved(request, namespace, memory.seek)
    return Identity(request.name(known), key, known, request), epoch


def identify(memory: Memory, request: Request, namespace: str) -> Identity:
    """Name a request.

    Raises:
        RequestBypassed: It does not say what is asked.
    """
    return seek(memory, request, namespace)[0]


def describe(memory: Memory, request: Request, namespace: str) -> Identity:
    """Name a request, with the label and the outline that its record in a store has.

    Raises:
        RequestBypassed: It does not say what is asked.
    """
    ask = functools.partial(memory.describe, tail=TAIL)
    request, known, (key, label, outline) = _resolved(request, namespace, ask)
    return Identity(request.name(known), key, known, request, label, outline)


def partition_of(memory: Memory, request: Request, namespace: str) -> tuple[bytes, str] | None:
    """All of a request but its question, as 32 bytes, and the question.

    None if it does not end in a question of plain text.

    Raises:
        RequestBypassed: It does not say what is asked.
    """
    return _resolved(request, namespace, memory.partition)[2]


def _resolved(
    request: Request, namespace: str, ask: Callable[..., T]
) -> tuple[Request, dict[str, bytes] | None, T]:
    """Ask memory about a request, and tell what stands in its way beside the texts.

    Returns the request that it answered, the digests of its classes, and the answer.
    """
    if request.bypass is not None:
        raise request.bypass
    left = OBSTACLES_MAX
    while True:
        # Of this text: classes may have been told beside the one before.
        known = schemas() if CLASS in request.llm_string else None
        try:
            answer = ask(request, namespace, known)
        except RequestBypassed as bypass:
            resolved = request.resolved(bypass) if left else None
            if resolved is None:
                raise
            request = resolved
            left -= 1
        else:
            return request, known, answer

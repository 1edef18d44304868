"""What counts of a model and is in none of the fields that `Rows` describes."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from llmemo._core import RequestBypassed
from llmemo.introspection.type_signature import name_of
from llmemo.keys.clients import kind_of_client
from llmemo.keys.consumed_fields import at_first
from llmemo.keys.model_class import Beside, Place
from llmemo.keys.values import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.language_models import BaseLanguageModel

    from llmemo._core import Describer

_NOTHING = Beside()

_PLAIN = (str, bytes, int, float, bool, list, tuple, dict, set, frozenset)

_SECRET = re.compile("key|secret|token|password|credential|authorization", re.IGNORECASE)

_TOOLS = {"_thread", "threading", "asyncio", "logging", "queue", "concurrent", "weakref"}
"""Modules of what code works with, and no answer depends on."""


def told_beside(
    model: BaseLanguageModel[Any], beside: Beside, writer: Describer, *, skips_untold: bool
) -> bytes:
    """The entries of what is told besides the fields.

    Raises:
        RequestBypassed: Something cannot be told.
    """
    if beside == _NOTHING:
        return b""
    told = b""
    for name, value in _values(model, beside):
        try:
            told += writer.options(Place.FIELD, {name: value})
        except RequestBypassed:
            if not skips_untold:
                raise
    return told


def _values(model: BaseLanguageModel[Any], beside: Beside) -> Iterator[tuple[str, object]]:
    private = model.__pydantic_private__ or {}
    for name in beside.clients:
        held = model.__dict__.get(name, private.get(name))
        if held is not None and kind_of_client(held)[0] is None:
            yield name, held if type(held) in _PLAIN else _client(held)
    for name in beside.private:
        if name in private and not _is_tool(private[name]):
            yield name, private[name]
    if beside.scripts:
        yield from at_first(model, beside.scripts).items()


def _client(client: Any) -> object:
    """A client of a kind that nobody knows: its class, and the texts in it that are no secrets.

    They name an endpoint, a model. What else it holds changes as it is used.
    """
    held = getattr(client, "__dict__", None)
    if type(held) is not dict or type(client) is type(sys):
        return kind_of(type(client))
    texts = {
        name: it
        for name, it in sorted(held.copy().items())
        if type(it) is str and not _SECRET.search(name)
    }
    return kind_of(type(client)), texts


def _is_tool(value: object) -> bool:
    return str(name_of(type(value))[0]).partition(".")[0] in _TOOLS

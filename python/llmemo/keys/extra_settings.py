"""Settings of a model outside the fields that `Rows` describes: clients, private attributes."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from llmemo._core import RequestBypassed
from llmemo.introspection.type_signature import name_of
from llmemo.keys.clients import kind_of_client
from llmemo.keys.consumed_fields import initial_values
from llmemo.keys.model_class import ExtraSettings, Place
from llmemo.keys.stand_ins import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.language_models import BaseLanguageModel

    from llmemo._core import Describer

_NOTHING = ExtraSettings()

_PLAIN = (str, bytes, int, float, bool, list, tuple, dict, set, frozenset)

_SECRET = re.compile("key|secret|token|password|credential|authorization", re.IGNORECASE)

_TOOLS = {"_thread", "threading", "asyncio", "logging", "queue", "concurrent", "weakref"}
"""Modules of what code works with, and no answer depends on."""


def extra_entries(
    model: BaseLanguageModel[Any], extra: ExtraSettings, writer: Describer, *, skips_untold: bool
) -> bytes:
    """Entries for the settings outside the plain fields.

    Raises:
        RequestBypassed: A setting cannot be described.
    """
    if extra == _NOTHING:
        return b""
    told = b""
    for name, value in _values(model, extra):
        try:
            told += writer.options(Place.FIELD, {name: value})
        except RequestBypassed:
            if not skips_untold:
                raise
    return told


def _values(model: BaseLanguageModel[Any], extra: ExtraSettings) -> Iterator[tuple[str, object]]:
    private = model.__pydantic_private__ or {}
    for name in extra.clients:
        held = model.__dict__.get(name, private.get(name))
        if held is not None and kind_of_client(held)[0] is None:
            yield name, held if type(held) in _PLAIN else _client(held)
    for name in extra.private:
        if name in private and not _is_tool(private[name]):
            yield name, private[name]
    if extra.consumed:
        yield from initial_values(model, extra.consumed).items()


def _client(client: Any) -> object:
    """A client of an unknown kind: its class, and the texts in it that are no secrets.

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

"""Parses a row of a LangChain cache into a generation: strictly, without `loads`.

`langchain_core.load.loads` imports the classes that a text names, so a file from elsewhere would
decide what code runs (CVE-2025-68664). Here a table decides. A text that both accept gives the same
generation; any other is refused, with a reason.
"""

from __future__ import annotations

import json
from typing import Any

from langchain_core import messages, outputs
from langchain_core.outputs import Generation

DEPTH = 200
"""Deepest nesting of dicts and lists, as in LangChain's own `load`."""

ESCAPE = "__lc_escaped__"
"""The only key of a dict that wraps a user's dict which looks like an object of LangChain's
(`langchain_core/load/_validation.py`)."""

_OUTPUTS: tuple[type[Any], ...] = (
    outputs.Generation,
    outputs.GenerationChunk,
    outputs.ChatGeneration,
    outputs.ChatGenerationChunk,
)
_EARLY: tuple[type[Any], ...] = (
    messages.AIMessage,
    messages.ChatMessage,
    messages.FunctionMessage,
    messages.HumanMessage,
    messages.SystemMessage,
)
"""Classes that were once in `langchain.schema` itself."""
_MESSAGES: tuple[type[Any], ...] = (
    *_EARLY,
    messages.AIMessageChunk,
    messages.ChatMessageChunk,
    messages.FunctionMessageChunk,
    messages.HumanMessageChunk,
    messages.RemoveMessage,
    messages.SystemMessageChunk,
    messages.ToolMessage,
    messages.ToolMessageChunk,
)


def _paths() -> dict[tuple[str, ...], type[Any]]:
    """Every name by which `loads` knows one of these classes (`langchain_core/load/mapping.py`)."""
    found: dict[tuple[str, ...], type[Any]] = {}
    for cls in (*_OUTPUTS, *_MESSAGES):
        # The path in 2023, which `lc_id()` still gives, and the path today.
        found[tuple(f"{cls.__module__}.{cls.__name__}".split("."))] = cls
        kind = "output" if cls in _OUTPUTS else "messages"
        found["langchain", "schema", kind, cls.__name__] = cls
    found |= {("langchain_core", "messages", cls.__name__): cls for cls in _MESSAGES}
    return found | {("langchain", "schema", cls.__name__): cls for cls in _EARLY}


CLASSES = _paths()
"""The classes that a text may name, by path."""


class RowRefused(Exception):  # noqa: N818 (as ValueRefused)
    """A text that is no generation, or one that cannot be imported. Its argument: the reason."""


class _Escaped(Exception):  # noqa: N818
    """There is an escaped dict. It holds no objects, so dicts have to be read from the outside."""


def read(text: str) -> Generation:
    """Parse a generation as LangChain's `dumps` writes it.

    Raises:
        RowRefused: The text is something else. The reasons are those of `ImportReport.skipped`.
    """
    try:
        try:
            found = _decode(text)
        except (_Escaped, RowRefused):
            # Rare, and slower: from the outside. (The refused dict may be within an escaped one.)
            found = _revive(json.loads(text), 0)
    except ValueError:
        raise RowRefused("not_json") from None
    except RecursionError:
        raise RowRefused("too_deep") from None
    if not isinstance(found, Generation):
        raise RowRefused("not_a_generation")
    return found


def _construct(value: dict[str, Any]) -> Any:
    """A dict, or the object that it stands for. Its members are constructed already."""
    if "lc" not in value or value["lc"] != 1 or value.get("id") is None:
        return value
    kind = value.get("type")
    if kind in ("secret", "not_implemented"):
        # `loads` makes None of a secret: the answer would not be whole.
        raise RowRefused(kind)
    if kind != "constructor":
        return value
    path, kwargs = value["id"], value.get("kwargs", {})
    if not (isinstance(path, list) and isinstance(kwargs, dict)):
        raise RowRefused("invalid")
    try:
        cls = CLASSES.get(tuple(path))
    except TypeError:  # a part of the path is not hashable
        cls = None
    if cls is None:
        raise RowRefused("unknown_class")
    try:
        return cls(**kwargs)
    except Exception:  # noqa: BLE001 (validators may raise anything)
        # Without the cause: it quotes the answer.
        raise RowRefused("invalid") from None


def _hook(value: dict[str, Any]) -> Any:
    if "lc" in value:
        return _construct(value)
    if len(value) == 1 and ESCAPE in value:
        raise _Escaped
    return value


_decode = json.JSONDecoder(object_hook=_hook).decode


def _revive(value: Any, depth: int) -> Any:
    if depth > DEPTH:
        raise RowRefused("too_deep")
    if isinstance(value, dict):
        if len(value) == 1 and ESCAPE in value:
            return value[ESCAPE]
        return _construct({key: _revive(each, depth + 1) for key, each in value.items()})
    if isinstance(value, list):
        return [_revive(each, depth + 1) for each in value]
    return value

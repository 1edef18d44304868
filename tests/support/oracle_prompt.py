"""An independent reader of docs/keys.md: objects in JSON, and the canonical form of a prompt.

It shares no code with the core; see also `oracle.py`.
"""

from __future__ import annotations

import re
from typing import Any

from support.oracle_forms import (
    DEPTH_MAX,
    LIST,
    STR,
    Bypass,
    DepthError,
    FormError,
    Json,
    Number,
    Pairs,
    container,
    encoded,
    has_address,
    height,
    leaf,
)
from support.oracle_repr import complete, reason_of

# Objects that LangChain could not serialise.

ONE = Number("1")
_MASKED = (["pydantic", "types", "SecretStr"], ["pydantic", "types", "SecretBytes"])
_PATHS = ["PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath"]
_COMPLETE = {
    "builtins": ["bytes", "bytearray", "set", "frozenset", "complex", "range", "ellipsis"],
    "datetime": ["date", "time", "datetime", "timedelta", "timezone"],
    "decimal": ["Decimal"],
    "fractions": ["Fraction"],
    "uuid": ["UUID"],
    "pathlib": _PATHS,
    "pathlib._local": _PATHS,
}
COMPLETE = [[*module.split("."), name] for module, names in _COMPLETE.items() for name in names]
REASONS = ("address", "truncated", "unknown_repr")
"""The worst first."""


def settled(node: Any, found: list[str], *, by_id: bool = False) -> Any:
    """A value, with the objects in it as they count; and why there are some that do not."""
    if not isinstance(node, list):
        return node
    if not isinstance(node, Pairs):
        return [settled(member, found, by_id=by_id) for member in node]
    node = Pairs((name, settled(value, found, by_id=by_id)) for name, value in node)
    marks = dict(node)
    is_object = marks.get("lc") == ONE and marks.get("type") == "not_implemented"
    if not is_object or marks.get("id") in _MASKED:
        return node
    is_whole = sorted(name for name, _ in node) == ["id", "lc", "repr", "type"]
    if by_id:
        return Pairs(member for member in node if not is_whole or member[0] != "repr")
    text = marks.get("repr")
    form = None
    if is_whole and isinstance(text, str) and marks["id"] in COMPLETE:
        form = complete(text)
    if form is None:
        found.append(reason_of(text) if isinstance(text, str) else "unknown_repr")
        return node
    return Pairs((name, form if name == "repr" else value) for name, value in node)


def worst(found: list[str]) -> str | None:
    return min(found, key=REASONS.index, default=None)


# Prompts.

_CLASSES = ("AI", "Human", "System", "Tool", "Function", "Chat")
WHOLES = {f"{name}Message{end}": f"{name}Message" for name in _CLASSES for end in ("", "Chunk")}
WHOLES["RemoveMessage"] = "RemoveMessage"
DROPPED = {"id", "type", "usage_metadata", "artifact"}
DROPPED_OF_CHUNKS = {"tool_call_chunks", "chunk_position"}
MARK = "llmemo"
_HEX = "[0-9a-fA-F]"
_MADE_UP = re.compile(f"lc_{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}")


def _block(node: Any) -> Any:
    def is_made_up(name: str, value: Any) -> bool:
        return name == "id" and type(value) is str and _MADE_UP.fullmatch(value) is not None

    if not isinstance(node, Pairs):
        return _bounded(node)
    for _, value in node:
        _bounded(value)
    return Pairs((name, value) for name, value in node if not is_made_up(name, value))


def _bounded(node: Any) -> Any:
    if height(node) > DEPTH_MAX:
        raise DepthError
    return node


def _message(node: Any) -> tuple[str, Pairs]:
    parts = dict(node) if isinstance(node, Pairs) else {}
    if len(parts) != 4 or len(node) != 4 or set(parts) != {"lc", "type", "id", "kwargs"}:
        raise FormError
    path, kwargs = parts["id"], parts["kwargs"]
    is_path = isinstance(path, list) and len(path) == 4 and path[:3] == _PACKAGE
    if parts["lc"] != ONE or parts["type"] != "constructor" or not is_path:
        raise FormError
    if type(path[3]) is not str or path[3] not in WHOLES or not isinstance(kwargs, Pairs):
        raise FormError
    dropped = DROPPED | (DROPPED_OF_CHUNKS if path[3] == "AIMessageChunk" else set())
    kept = Pairs()
    for name, value in kwargs:
        has_blocks = name == "content" and type(value) is list
        read = list(map(_block, value)) if has_blocks else _bounded(value)
        if name == "response_metadata" and isinstance(read, Pairs):
            unmarked = Pairs(member for member in read if member[0] != MARK)
            if len(unmarked) < len(read) and not unmarked:
                continue
            read = unmarked
        if name not in dropped:
            kept.append((name, read))
    if len({name for name, _ in kept}) != len(kept):
        raise FormError
    kept.sort(key=lambda member: leaf(STR, member[0]))
    return WHOLES[path[3]], kept


_PACKAGE = ["langchain", "schema", "messages"]


def prompt(text: str, *, objects: bool = False) -> bytes | None:
    """The canonical form of a prompt; None if it stands for itself.

    Args:
        text: The prompt.
        objects: Those in it were seen.

    Raises:
        Bypass: It must go past the cache.
    """
    messages, found = _messages(text), list[str]()
    if messages is None:
        found = [] if objects else list(_hidden(text))
    else:
        messages = [(name, settled(kept, found, by_id=objects)) for name, kept in messages]
    if found:
        raise Bypass(worst(found), "messages")
    if messages is None:
        return None
    return container(LIST, (leaf(STR, name) + encoded(kept) for name, kept in messages))


def _hidden(text: str) -> list[str]:
    """What must not hide in a text that stands for itself."""
    found: list[str] = []
    reader = Json(text)
    reader.space()
    if '"not_implemented"' not in text:
        return []
    if not text.startswith("[", reader.at):
        return ["address"] if has_address(text) else []
    try:
        settled(reader.value(), found)
        reader.space()
        if reader.at < len(text):
            raise FormError
    except (FormError, DepthError):
        return ["address" if has_address(text) else "unknown_repr"]
    return found


def _messages(text: str) -> list[tuple[str, Pairs]] | None:
    try:
        # A block's member is at most this deep.
        reader = Json(text, DEPTH_MAX + 8)
        tree = reader.value()
        reader.space()
        if type(tree) is not list or not tree or reader.at < len(text):
            return None
        return [_message(node) for node in tree]
    except (FormError, DepthError):
        return None

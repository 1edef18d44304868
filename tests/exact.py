"""Equality without mercy, and vandalism without end: what `==` overlooks, these see.

`==` takes 1 for 1.0 and True, 0.0 for -0.0, a subclass of str for a str, and asks neither for the
order of a dict's keys nor, of a Pydantic object, for everything that it carries.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from langchain_core.messages.base import TextAccessor
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

STATE = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
"""All the slots of a Pydantic object."""


def difference(one: object, other: object) -> str | None:
    """Where and how two values differ in type, bits or order; None if nowhere."""
    if type(one) is not type(other):
        return f": {type(one)} against {type(other)}"
    if isinstance(one, BaseModel):
        return _first((name, getattr(one, name), getattr(other, name)) for name in STATE)
    if isinstance(one, dict) and isinstance(other, dict):
        found = difference(list(one), list(other))
        values = zip(one, one.values(), other.values(), strict=False)
        return f" keys{found}" if found else _first(values)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return f": {len(one)} items against {len(other)}"
        return _first(zip(range(len(one)), one, other, strict=True))
    if isinstance(one, set) and isinstance(other, set):
        key = lambda item: (type(item).__name__, repr(item))  # noqa: E731
        return difference(sorted(one, key=key), sorted(other, key=key))
    if isinstance(one, float) and isinstance(other, float):
        is_equal = struct.pack("<d", one) == struct.pack("<d", other)
    elif isinstance(one, TextAccessor) and isinstance(other, TextAccessor):
        is_equal = str.__eq__(one, other)
    else:
        assert type(one) in (type(None), bool, int, str, bytes), f"{type(one)} is not known"
        is_equal = one == other
    return None if is_equal else f": {one!r:.80} against {other!r:.80}"


def _first(parts: Iterable[tuple[object, object, object]]) -> str | None:
    for name, one, other in parts:
        if found := difference(one, other):
            return f"[{name!r:.20}]{found}"
    return None


def mutable_parts(root: object) -> Iterator[object]:
    """Every object within reach that could be changed, each once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        if isinstance(part, BaseModel):
            waiting += [getattr(part, name) for name in STATE]
        elif isinstance(part, dict):
            waiting += [*part, *part.values()]
        elif isinstance(part, (list, tuple, set)):
            waiting += part
        if isinstance(part, (BaseModel, dict, list, set)):
            seen.add(id(part))
            yield part


def vandalise(root: object) -> int:
    """Change every part that can be changed. Returns how many there were."""
    parts = list(mutable_parts(root))
    for part in parts:
        if isinstance(part, BaseModel):
            object.__setattr__(part, "__pydantic_extra__", {"vandal": "extra"})
        elif isinstance(part, dict):
            for key in part:
                part[key] = "vandal"
            part["vandal"] = "was here"
        elif isinstance(part, list):
            part[:] = ["vandal", *part[1:], "vandal"]
        elif isinstance(part, set):
            part.clear()
            part.add("vandal")
    return len(parts)

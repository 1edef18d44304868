"""Equality without mercy, and vandalism without end: what `==` overlooks, these see.

`==` takes 1 for 1.0 and True, 0.0 for -0.0, a subclass of str for a str, and asks neither for the
order of a dict's keys nor, of an object, for everything that it carries.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from langchain_core.messages.base import TextAccessor
from pydantic import BaseModel
from pydantic_core import TzInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def is_instance(it: object) -> bool:
    """Whether it is an object with attributes, of LangChain's or the user's."""
    return isinstance(it, BaseModel) or (
        dataclasses.is_dataclass(it) and not isinstance(it, type) and not isinstance(it, enum.Enum)
    )


def state_of(it: object) -> dict[str, Any]:
    """All attributes of an object: its `__dict__` is one, and each slot that is set."""
    state = {}
    for cls in type(it).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            is_mangled = name.startswith("__") and not name.endswith("__")
            full = f"_{cls.__name__.lstrip('_')}{name}" if is_mangled else name
            if full != "__weakref__":
                state[full] = full
    state["__dict__"] = "__dict__"
    for name in state:
        try:
            state[name] = object.__getattribute__(it, name)
        except AttributeError:
            state[name] = "<unset>"
    return state


PARTS: dict[type, Any] = {
    dt.date: dt.date.isoformat,
    dt.time: lambda it: (it.replace(tzinfo=None).isoformat(), it.fold, it.tzinfo),
    dt.datetime: lambda it: (it.replace(tzinfo=None).isoformat(), it.fold, it.tzinfo),
    dt.timedelta: lambda it: (it.days, it.seconds, it.microseconds),
    dt.timezone: repr,
    ZoneInfo: lambda it: it.key,
    TzInfo: repr,
    Decimal: lambda it: (str(it), list(it.as_tuple())),
    UUID: lambda it: (it.int, it.is_safe.value),
}
"""What values that are no containers are made of."""


def difference(one: object, other: object) -> str | None:
    """Where and how two values differ in type, bits or order; None if nowhere."""
    if type(one) is not type(other):
        return f": {type(one)} against {type(other)}"
    if isinstance(one, enum.Enum):
        return None if one is other else f": {one!r} against {other!r}"
    if is_instance(one):
        theirs = state_of(other)
        return _first((name, own, theirs[name]) for name, own in state_of(one).items())
    if type(one) in PARTS:
        return difference(PARTS[type(one)](one), PARTS[type(one)](other))
    if isinstance(one, dict) and isinstance(other, dict):
        found = difference(list(one), list(other))
        values = zip(one, one.values(), other.values(), strict=False)
        return f" keys{found}" if found else _first(values)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return f": {len(one)} items against {len(other)}"
        return _first(zip(range(len(one)), one, other, strict=True))
    if isinstance(one, (set, frozenset)) and isinstance(other, (set, frozenset)):
        others = list(other)
        for item in one:
            same = [at for at, it in enumerate(others) if difference(item, it) is None]
            if not same:
                return f": {item!r:.80} is missing"
            others.pop(same[0])
        return f": {others!r:.80} besides" if others else None
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
        if is_instance(part):
            waiting += state_of(part).values()
        elif isinstance(part, dict):
            waiting += [*part, *part.values()]
        elif isinstance(part, (list, tuple, set, frozenset)):
            waiting += part
        if is_instance(part) or isinstance(part, (dict, list, set)):
            seen.add(id(part))
            yield part


def vandalise(root: object) -> int:
    """Change every part that can be changed. Returns how many there were."""
    parts = list(mutable_parts(root))
    for part in parts:
        if isinstance(part, BaseModel):
            object.__setattr__(part, "__pydantic_extra__", {"vandal": "extra"})
        elif is_instance(part):
            for name in state_of(part).keys() - {"__dict__"}:
                object.__setattr__(part, name, "vandal")
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

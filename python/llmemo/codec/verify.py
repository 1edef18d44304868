"""Whether a decoded answer equals the encoded one: by type, bits, order, and objects' state."""

from __future__ import annotations

import struct
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from langchain_core.messages.base import TextAccessor

from llmemo.codec.python_objects import Instances
from llmemo.introspection.type_signature import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

UNHASHED_MAX = 64
"""Most items of a set without a stable hash (NaNs), which are compared each with each."""


def unproved(stored: Sequence[Any], returned: Sequence[Any]) -> str | None:
    """The name of a type whose object did not come back as it was; None if all did."""
    found = _different(list(stored), list(returned), Instances())
    if found is None:
        return None
    module, name = name_of(found[0])
    return name if module == "builtins" else f"{module}.{name}"


def _different(one: Any, other: Any, instances: Instances) -> tuple[type] | None:
    """The type of the first thing that differs."""
    # No recursion but for sets: an answer may be nested deeper than the caller's stack allows.
    waiting = [(one, other)]
    while waiting:
        one, other = waiting.pop()
        kind = type(one)
        if kind is not type(other):
            return (kind,)
        if kind in (list, tuple, dict) and len(one) == len(other):
            waiting += zip(one, other, strict=True)
            if kind is dict:
                waiting += zip(one.values(), other.values(), strict=True)
        elif kind in (set, frozenset):
            if not _same_items(one, other, instances):
                return (kind,)
        elif kind in (type(None), bool, int, str, bytes):
            if one != other:
                return (kind,)
        elif kind is float:
            waiting.append((struct.pack("<d", one), struct.pack("<d", other)))
        elif kind is TextAccessor:
            waiting.append((one[:], other[:]))
        else:
            states = instances.state_of(one), instances.state_of(other)
            if None in states:
                return (kind,)
            waiting.append(states)
    return None


def _same_items(one: Any, other: Any, instances: Instances) -> bool:
    """Whether two sets hold the same, in any order."""
    by_hash: defaultdict[Any, list[Any]] = defaultdict(list)
    for item in other:
        by_hash[type(item), hash(item)].append(item)
    rest = [
        item for item in one if not _take_same(by_hash[type(item), hash(item)], item, instances)
    ]
    others = [item for items in by_hash.values() for item in items]
    if not len(rest) == len(others) <= UNHASHED_MAX:
        return False
    return all(_take_same(others, item, instances) for item in rest)


def _take_same(items: list[Any], wanted: Any, instances: Instances) -> bool:
    for number, item in enumerate(items):
        if _different(wanted, item, instances) is None:
            del items[number]
            return True
    return False

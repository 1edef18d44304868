"""What the classes hold that an `llm_string` names.

`with_structured_output(Answer, method="json_schema")` puts `<class '__main__.Answer'>` into the
`llm_string`: a name, under which another class may stand tomorrow, or already does. The class
itself is among the invocation parameters of the model run that is open (`runs`). A class is never
imported by its name.
"""

from __future__ import annotations

import hashlib
import json
import re
import weakref
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from llmemo.runs import open_runs

if TYPE_CHECKING:
    from collections.abc import Iterator


DEPTH_MAX = 32
"""Parameters nested deeper than this are not searched for classes."""

_digests: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()


def schemas() -> dict[str, bytes]:
    """Digests (32 bytes) of the schemas of the classes in the current run's parameters, by name."""
    named: dict[str, set[type]] = {}
    for cls in run_classes():
        name = re.fullmatch(r"<class '(.+)'>", repr(cls))
        if name is not None:
            named.setdefault(name[1], set()).add(cls)
    # Of two classes of one name nobody can say which is meant where.
    digests = {name: _digest(*classes) for name, classes in named.items() if len(classes) == 1}
    return {name: digest for name, digest in digests.items() if digest is not None}


def run_classes() -> Iterator[type]:
    """The classes in the current run's parameters, some maybe more than once."""
    runs = open_runs()
    yield from _classes(runs[-1].parameters if runs else None, DEPTH_MAX)


def _classes(value: Any, depth: int) -> Iterator[type]:
    if isinstance(value, type):
        yield value
    elif depth and isinstance(value, dict):
        for key, member in value.items():
            yield from _classes(key, depth - 1)
            yield from _classes(member, depth - 1)
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for member in value:
            yield from _classes(member, depth - 1)


def _digest(cls: type) -> bytes | None:
    digest = _digests.get(cls)
    if digest is None:
        try:
            schema = TypeAdapter(cls).json_schema()
        except Exception:  # noqa: BLE001 (no schema, for whatever reason: the request is bypassed)
            return None
        # The order of properties stays: a model may be shown them in this order.
        text = json.dumps([f"{cls.__module__}.{cls.__qualname__}", schema])
        digest = hashlib.blake2b(text.encode(), digest_size=32).digest()
        _digests[cls] = digest
    return digest


def digest_of(cls: type) -> bytes | None:
    """The digest of what a class holds now; None if it has no schema."""
    return _digest(cls)

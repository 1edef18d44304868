"""`message_key`: a key of a node's input that leaves out the ids of messages.

The input is written in the encoding of docs/keys.md, and hashed: LangGraph shortens keys by a hash
for which texts that collide can be made.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import logging
import os
import re
import secrets
import weakref
from collections import defaultdict, deque
from collections.abc import Callable  # noqa: TC003 (a field below has it)
from pathlib import PurePath
from typing import Any, NamedTuple

from langchain_core.messages import BaseMessage, RemoveMessage

from llmemo._core import Describer, PanicException
from llmemo.codec.classes import ENUM, Classes
from llmemo.concurrency.bounded_dict import note
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.keys.stand_ins import KINDS_MAX, kind_of
from llmemo.keys.values import whole_parts
from llmemo.pipeline.hit_marks import MARK

_log = logging.getLogger("llmemo")

PERSON = b"llmemo node 1"
"""Changes with every change of what a key is made of."""

BLOCK_ID = re.compile(r"lc_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""An id that LangChain makes up for a content block, in each process its own."""

UNIQUE_MAX = 4096
"""Keys that stand for no input and are known as such: the last ones."""


def message_key(*args: Any, **kwargs: Any) -> str | bytes:
    """A key of a node's or a task's input, for `CachePolicy(key_func=message_key)`.

    Two inputs have the same key only if they are equal in type and value, but for

    - the ids of messages, and those that LangChain gives content blocks (`lc_…`);
    - the marks of hits: `response_metadata["llmemo"]`, with `LLMCache(mark_hits=True)`;
    - `usage_metadata["total_cost"]`, if it is 0: LangChain adds it to a cached answer;
    - the order of the names in the state itself, and of an object's attributes.

    The key is the same in every process. Messages, plain values, dates, enums, dataclasses,
    Pydantic models, arrays and named functions can be told, at any place. An input with anything
    else in it, or with too many levels (64), gets a key that no other call gets: the node runs, and
    a log line names the type once.

    LangGraph's default key contains the ids of messages, which are new in each run.
    """
    try:
        told = _describer.value((*map(_sorted, args), _sorted(kwargs)))
    except _InterruptedError as interrupted:
        raise interrupted.error from None
    except (Exception, PanicException) as error:  # an input may hold anything
        if is_interrupt(error):
            raise
        return _unique_key()
    return hashlib.blake2b(told, digest_size=32, person=PERSON).hexdigest()


def _sorted(state: Any) -> Any:
    """A state by the names of its channels."""
    if type(state) is dict and all(type(name) is str for name in state):
        return {name: state[name] for name in sorted(state)}
    return state


# Objects.


class _InterruptedError(BaseException):
    """Carries what a signal handler raised past `Describer`, which survives any `Exception`."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Shape(NamedTuple):
    """How the instances of a class are told."""

    name: str
    slots: tuple[tuple[str, Callable[[object], Any]], ...]
    """Where they keep what is not in their `__dict__`, by name."""
    is_message: bool
    """Whether it is the class of a message whose id does not count."""


_shapes: weakref.WeakKeyDictionary[type, Shape | None] = weakref.WeakKeyDictionary()


def _shape(cls: type) -> Shape | None:
    """The shape of a model or a dataclass; None of other classes."""
    shape = Classes().shape_of(cls)
    if shape is None or shape[0] == ENUM:
        return None
    # What a removal removes is all that it says.
    is_message = issubclass(cls, BaseMessage) and not issubclass(cls, RemoveMessage)
    slots = tuple(
        (f"{kind_of(member.__objclass__)}.{member.__name__}", member.__get__)
        for member in shape[1]
        # LangGraph sets the ids of some messages, and not of others.
        if not (is_message and member.__name__ == "__pydantic_fields_set__")
    )
    return Shape(f"instance {kind_of(cls)}", slots, is_message)


def _parts(value: Any) -> tuple[str, Any]:
    """The kind and the parts of a value that is no plain one. See `Describer`."""
    try:
        cls = type(value)
        try:
            shape = _shapes[cls]
        except KeyError:
            shape = _shapes[cls] = _shape(cls)
        return _other(cls, value) if shape is None else _instance(shape, value)
    except Exception as error:
        if is_interrupt(error):
            raise _InterruptedError(error) from None
        _log_kind(kind_of(type(value)))
        raise


def _other(cls: type, value: Any) -> tuple[str, Any]:
    if cls is defaultdict:
        return "defaultdict", (value.default_factory, dict(value))
    if cls is deque:
        return "deque", (list(value), value.maxlen)
    if isinstance(value, PurePath):
        return kind_of(cls), os.fspath(value)
    return whole_parts(value)


def _instance(shape: Shape, value: Any) -> tuple[str, Any]:
    told = []
    for name, get in shape.slots:
        try:
            told.append((name, get(value)))
        except AttributeError:  # it is not set
            continue
    try:
        own = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return shape.name, (None, told)
    own = {name: own[name] for name in sorted(own)}
    if shape.is_message:
        _leave_ids_out(own)
    return shape.name, (own, told)


def _leave_ids_out(own: dict[str, Any]) -> None:
    own.pop("id", None)
    content = own.get("content")
    if type(content) is list:
        own["content"] = [_without_made_up_id(block) for block in content]
    metadata = own.get("response_metadata")
    if type(metadata) is dict and MARK in metadata:
        own["response_metadata"] = {name: it for name, it in metadata.items() if name != MARK}
    usage = own.get("usage_metadata")
    cost = usage.get("total_cost") if type(usage) is dict else None
    if usage and type(cost) in {int, float} and not cost:
        usage = {name: count for name, count in usage.items() if name != "total_cost"}
        own["usage_metadata"] = usage or None


def _without_made_up_id(block: Any) -> Any:
    if type(block) is dict and type(block.get("id")) is str and BLOCK_ID.fullmatch(block["id"]):
        return {name: value for name, value in block.items() if name != "id"}
    return block


_describer = Describer(_parts, lambda _: (None, True), ())

# Inputs that cannot be told.

_unique: dict[object, None] = {}
_logged: dict[object, None] = {}


def _unique_key() -> str:
    """A key that no other call gets."""
    key = secrets.token_hex(32)
    # LangGraph needs this package, and hands its caches this digest.
    with contextlib.suppress(ImportError):
        digest: Callable[[bytes], str] = importlib.import_module("xxhash").xxh3_128_hexdigest
        note(_unique, digest(key.encode()), None, UNIQUE_MAX)
    return key


def is_unique(key: str) -> bool:
    """Whether a cache was given the key of one call: no other call will ask for it."""
    return key in _unique


def _log_kind(kind: str) -> None:
    if kind not in _logged and len(_logged) < KINDS_MAX:
        _logged[kind] = None
        _log.warning(
            "llmemo: message_key: a node's input holds a %s, which cannot be told: the node runs"
            " each time. Give it plain values, a dataclass or a Pydantic model, or use a key_func"
            " that leaves it out",
            kind,
        )

"""Values that are neither JSON's nor plain Python's, as a kind and plain parts.

For `Describer` (`rust/python/keys/describer.rs`), which writes plain values itself. Two values have
the same kind and parts only if a model would be asked the same with either.
"""

from __future__ import annotations

import array
import dataclasses
import enum
import functools
import hashlib
import itertools
import os
import sys
import types
import weakref
from collections.abc import Callable  # noqa: TC003 (an alias below has it)
from pathlib import PurePath
from typing import Any, TypeAlias

from pydantic import BaseModel, SecretBytes, SecretStr

from llmemo._core import Describer
from llmemo.introspection.class_behaviour import Behaviour
from llmemo.introspection.standard_types import plain_state
from llmemo.introspection.type_signature import mro_of, name_of, vars_of
from llmemo.keys.clients import hooks_of, kind_of_client
from llmemo.keys.stand_ins import UntoldError, kind_of, stand_in
from llmemo.langchain.class_schemas import digest_of

Parts: TypeAlias = tuple[str, Any]
"""Kind, and what such a value holds."""


def parts(value: Any) -> Parts:
    """A value's kind and parts. One that cannot be told stands for itself.

    Raises:
        UntoldError: It cannot do that, either.
    """
    try:
        return plain_parts(value)
    except UntoldError:
        return stand_in(value)


def plain_parts(value: Any) -> Parts:
    """A value's kind and parts, which are the same in every process.

    Raises:
        UntoldError: It has none.
    """
    for is_kind, tell in _ADDED:
        if is_kind(value):
            return tell(value)
    for kinds, tell in _KINDS:
        if isinstance(value, kinds):
            return tell(value)
    return _other(value)


def whole_parts(value: Any) -> Parts:
    """As `plain_parts`, for a reader that may use more of a value than a model is sent.

    Raises:
        UntoldError: It has none, or they leave something out.
    """
    is_partial = isinstance(value, _PARTIAL) or name_of(type(value)) in _HOOKS
    if is_partial or any(is_kind(value) for is_kind, _ in _ADDED):
        raise UntoldError
    if isinstance(value, tuple(base for base, _ in _BASES)) and has_slots(type(value)):
        raise UntoldError
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        raise UntoldError
    return plain_parts(value)


def has_slots(cls: type) -> bool:
    """Whether instances keep something beside their `__dict__` that has a name."""
    members = itertools.chain.from_iterable(vars_of(base).values() for base in mro_of(cls))
    return any(type(member) is types.MemberDescriptorType for member in members)


def add_kind(is_kind: Callable[[Any], bool], tell: Callable[[Any], Parts]) -> None:
    """Have values of a kind described by a function, which comes before the others."""
    _ADDED.insert(0, (is_kind, tell))


def _member(value: enum.Enum) -> Parts:
    return f"enum {kind_of(type(value))}", (value.name, value.value)


def _hook(value: Any) -> Parts:
    """What boto3 is to call before it sends a request."""
    told = []
    for hook in hooks_of(value):
        # langchain-aws adds the headers of the model that the client was first made for.
        cells = [cell.cell_contents for cell in getattr(hook, "__closure__", None) or ()]
        headers = [getattr(it, "default_headers", it) for it in cells]
        told.append((getattr(hook, "__qualname__", ""), headers))
    return "hooks", told


def _path(value: PurePath) -> Parts:
    return "path", os.fspath(value)


def _partial(value: functools.partial[Any]) -> Parts:
    return "partial", (value.func, value.args, value.keywords)


def _method(value: types.MethodType) -> Parts:
    return "method", (value.__self__, value.__func__)


def _function(value: types.FunctionType | types.BuiltinFunctionType) -> Parts:
    module, name = value.__module__, value.__qualname__
    if not isinstance(module, str) or found_at(module, name) is not value:
        raise UntoldError  # a lambda, or one that a function made: its name is not what it does
    if module == "__main__" and isinstance(value, types.FunctionType):
        # Two scripts may have one of this name, and a notebook several, one after the other.
        return "function", (f"{module}.{name}", _code_of(value))
    return "function", f"{module}.{name}"


_codes: weakref.WeakKeyDictionary[types.FunctionType, bytes] = weakref.WeakKeyDictionary()


def _code_of(function: types.FunctionType) -> bytes:
    """A digest of what a function of the user's script does, as of when it was met."""
    known = _codes.get(function)
    if known is None:
        text = Behaviour(type("", (), {"__module__": "__main__"})).of(function)
        known = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
        _codes[function] = known
    return known


def _descriptor(value: types.MethodDescriptorType | types.WrapperDescriptorType) -> Parts:
    return "function", f"{kind_of(value.__objclass__)}.{value.__name__}"


def found_at(module: str, qualname: str) -> object:
    """What has that name in a module that is loaded; None if nothing has."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _class(value: type) -> Parts:
    digest = digest_of(value)
    if digest is None and found_at(*name_of(value)) is not value:
        raise UntoldError
    return "class", (kind_of(value), digest)


def _buffer(value: Any) -> Parts:
    view = memoryview(value)
    if "O" in view.format or "P" in view.format:
        raise UntoldError  # pointers
    return kind_of(type(value)), (view.format, view.shape, view.tobytes())


def _fields(value: BaseModel) -> Parts:
    own = dict(object.__getattribute__(value, "__dict__"))
    fields = type(value).__pydantic_fields__
    told = {name: it for name, it in own.items() if name in fields}
    return f"model {kind_of(type(value))}", (told, value.__pydantic_extra__ or {})


_ADDED: list[tuple[Callable[[Any], bool], Callable[[Any], Parts]]] = []

_KINDS: list[tuple[Any, Callable[[Any], Parts]]] = [
    (enum.Enum, _member),
    (PurePath, _path),
    (BaseModel, _fields),
    (functools.partial, _partial),
    (types.MethodType, _method),
    ((types.FunctionType, types.BuiltinFunctionType), _function),
    ((types.MethodDescriptorType, types.WrapperDescriptorType), _descriptor),
    (type, _class),
    ((bytearray, memoryview, array.array), _buffer),
    (range, lambda value: ("range", (value.start, value.stop, value.step))),
    (complex, lambda value: ("complex", (value.real, value.imag))),
    (types.EllipsisType, lambda _: ("ellipsis", None)),
    (slice, lambda value: ("slice", (value.start, value.stop, value.step))),
    (types.MappingProxyType, lambda value: ("mapping", dict(value))),
]

_COPIED: tuple[type, ...] = (type(iter([])), type(iter(())))

_PARTIAL = (BaseModel, itertools.count, *_COPIED)
"""What is told without its private attributes, or without where it stands."""

_HOOKS = {("botocore.hooks", "EventAliaser"), ("botocore.hooks", "HierarchicalEmitter")}

_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, lambda value: str.__getitem__(value, slice(None))),
    (int, int.__pos__),
    (float, float.__pos__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    # In their order, which an OrderedDict's equality goes by, too.
    (dict, lambda value: list(dict.items(value))),
    (list, lambda value: [*list.__iter__(value)]),
    (tuple, lambda value: [*tuple.__iter__(value)]),
    (set, lambda value: set(set.__iter__(value))),
    (frozenset, lambda value: frozenset(frozenset.__iter__(value))),
)
"""What plain values come out of instances of subclasses by, past what these override."""


def _dataclass(value: Any) -> Parts:
    return f"dataclass {kind_of(type(value))}", {
        field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)
    }


def _copied(value: Any) -> Parts:
    # What is left of it changes by being used; what it was made of does not.
    return "iterator", list(value.__reduce__()[1][0])


_OTHERS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Parts]], ...] = (
    (dataclasses.is_dataclass, _dataclass),
    (lambda value: name_of(type(value)) in _HOOKS, _hook),
    (lambda value: _is_array(type(value)), _buffer),
    (lambda value: isinstance(value, _COPIED), _copied),
    (lambda value: isinstance(value, itertools.count), lambda _: ("iterator", None)),
)
"""Kinds that no class tells, in the order in which they are tried."""


def _other(value: Any) -> Parts:
    cls = type(value)
    plain_kind = plain_state(value)
    if plain_kind is not None:
        return f"plain {plain_kind[0]}", plain_kind[1]
    for base, plain in _BASES:
        if isinstance(value, base):
            state = getattr(value, "__dict__", None)
            return kind_of(cls), (plain(value), state or None)
    for is_kind, tell in _OTHERS:
        if is_kind(value):
            return tell(value)
    raise UntoldError


def _is_array(cls: type) -> bool:
    """Whether a buffer says all of it: numpy's arrays and scalars, but not subclasses of users."""
    return cls.__module__ == "numpy" and hasattr(cls, "dtype")


_SECRETS = [SecretStr, SecretBytes]
"""A secret says that it is one; where it is a field, nothing."""

describer = Describer(parts, kind_of_client, _SECRETS)
"""Writes descriptions."""

plain_describer = Describer(plain_parts, kind_of_client, _SECRETS)
"""The same, of what is the same in every process only."""

"""Values that are neither JSON's nor Python's plainest, as a kind and plain parts.

For `Describer` (`rust/python/describe.rs`), which writes plain values itself. Two values have the same
kind and parts only if a model would be asked the same with either. A value that cannot be told is
`Untold`, and what holds it has no key.
"""

from __future__ import annotations

import array
import dataclasses
import enum
import functools
import itertools
import os
import secrets
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, TypeAlias

from langchain_core.language_models import BaseLanguageModel
from pydantic import BaseModel, SecretBytes, SecretStr

from llmemo._core import Describer
from llmemo.annotations import name_of
from llmemo.keys.clients import known_paths, paths
from llmemo.objects import taken
from llmemo.schemas import digest_of

Parts: TypeAlias = tuple[str, Any]
"""Kind, and what such a value holds."""


class UntoldError(Exception):
    """A value that may hold what cannot be seen."""


def parts(value: Any) -> Parts:
    """A value's kind and parts.

    Raises:
        UntoldError: It has none.
    """
    for kinds, tell in _TELLERS:
        if isinstance(value, kinds):
            return tell(value)
    return _other(value)


def kind_of(cls: type) -> str:
    """The name of a class: module and qualified name."""
    return "{}.{}".format(*name_of(cls))


def _member(value: enum.Enum) -> Parts:
    return f"enum {kind_of(type(value))}", (value.name, value.value)


def _path(value: PurePath) -> Parts:
    return "path", os.fspath(value)


def _partial(value: functools.partial[Any]) -> Parts:
    return "partial", (value.func, value.args, value.keywords)


def _method(value: types.MethodType) -> Parts:
    return "method", (value.__self__, value.__func__)


def _function(value: types.FunctionType | types.BuiltinFunctionType) -> Parts:
    module, name = value.__module__, value.__qualname__
    if not isinstance(module, str) or found_at(module, name) is not value:
        # A lambda, or a function that was made by another: its name is not what it does.
        return _stand_in(value)
    return "function", f"{module}.{name}"


def found_at(module: str, qualname: str) -> object:
    """What has that name in a module that is loaded; None if nothing has."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


def _class(value: type) -> Parts:
    digest = digest_of(value)
    if digest is None and found_at(*name_of(value)) is not value:
        return _stand_in(value)
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


def _language_model(value: BaseLanguageModel[Any]) -> Parts:
    # Late: a description of a model describes its values.
    from llmemo.keys.description import description_of  # noqa: PLC0415

    return "language model", description_of(value)


_TELLERS: list[tuple[Any, Callable[[Any], Parts]]] = [
    (enum.Enum, _member),
    (PurePath, _path),
    (BaseLanguageModel, _language_model),
    (BaseModel, _fields),
    (functools.partial, _partial),
    (types.MethodType, _method),
    ((types.FunctionType, types.BuiltinFunctionType), _function),
    (type, _class),
    ((bytearray, memoryview, array.array), _buffer),
    (range, lambda value: ("range", (value.start, value.stop, value.step))),
    (complex, lambda value: ("complex", (value.real, value.imag))),
    (types.EllipsisType, lambda value: ("ellipsis", None)),
    (slice, lambda value: ("slice", (value.start, value.stop, value.step))),
    (types.MappingProxyType, lambda value: ("mapping", dict(value))),
]

_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, lambda value: str.__getitem__(value, slice(None))),
    (int, lambda value: int.__pos__(value)),
    (float, lambda value: float.__pos__(value)),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    # In their order, which an OrderedDict's equality goes by, too.
    (dict, lambda value: list(dict.items(value))),
    (list, lambda value: list(list.__iter__(value))),
    (tuple, lambda value: list(tuple.__iter__(value))),
    (set, lambda value: set(set.__iter__(value))),
    (frozenset, lambda value: frozenset(frozenset.__iter__(value))),
)
"""What plain values come out of instances of subclasses by, past what these override."""


def _other(value: Any) -> Parts:
    cls = type(value)
    known = taken(value)
    if known is not None and known[1] is None:
        return f"plain {known[0]}", known[2]  # dates and the like
    for base, plain in _BASES:
        if isinstance(value, base):
            state = getattr(value, "__dict__", None)
            return kind_of(cls), (plain(value), state or None)
    if dataclasses.is_dataclass(value):
        return f"dataclass {kind_of(cls)}", {
            field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)
        }
    if _is_array(cls):
        return _buffer(value)
    return _stand_in(value)


def _is_array(cls: type) -> bool:
    """Whether a buffer says all of it: numpy's arrays and scalars, and no subclass with more state."""
    return cls.__module__ == "numpy" and hasattr(cls, "dtype")


# What only stands for itself.

_nonce = secrets.token_hex(16)
_numbers = itertools.count(1)
_known: dict[int, tuple[weakref.ref[Any], int]] = {}


def _stand_in(value: Any) -> Parts:
    """An object that says nothing is equal to itself alone, in this process."""
    if isinstance(value, Iterator):
        # It is used up by being used: what it would give next is no setting.
        return "iterator", None
    known = _known.get(id(value))
    if known is not None and known[0]() is value:
        number = known[1]
    else:
        number = next(_numbers)
        try:
            reference = weakref.ref(value, functools.partial(_forget, id(value), number))
        except TypeError:
            raise UntoldError from None
        _known[id(value)] = (reference, number)
    return "this object", (_nonce, number)


def is_local(description: bytes) -> bool:
    """Whether a description holds what only this process can tell from others."""
    return _nonce.encode() in description


def _forget(identity: int, number: int, _: object) -> None:
    known = _known.get(identity)
    if known is not None and known[1] == number:
        _known.pop(identity, None)


describer = Describer(parts, paths, known_paths, [SecretStr, SecretBytes])
"""Writes descriptions. A secret says that it is one; where it is a field, nothing."""

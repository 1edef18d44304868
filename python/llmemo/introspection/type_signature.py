"""Types and values as text: the same in every process, and no code of theirs is run."""

from __future__ import annotations

import functools
import sys
import types
import typing
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEPTH_MAX = 16
"""What is nested deeper than this does not count."""

PARTS_MAX = 20_000
"""Parts of one text (some 10 ms): what comes after them does not count."""

LEAVES = (str, type(None), bool, int, float, complex, bytes, type(Ellipsis))

_EXACT = (date, Decimal, range)
"""Types in C without attributes, and whose `repr` says all of it."""

_CONTAINERS = (list, tuple, set, frozenset, dict)

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)

_FOREIGN = {*sys.stdlib_module_names, "pydantic", "pydantic_core", "annotated_types"}
_FOREIGN |= {"typing_extensions", "langchain_core"}
"""Packages whose classes and functions are told by their names alone."""

# `type`'s own, so that no metaclass has a say.
mro_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
vars_of: Callable[[type], types.MappingProxyType[str, Any]] = type.__dict__["__dict__"].__get__
_module_of: Callable[[type], Any] = type.__dict__["__module__"].__get__
_qualname_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__


def name_of(cls: type) -> tuple[Any, str]:
    """Module (mostly a str) and qualified name of a class."""
    return _module_of(cls), _qualname_of(cls)


def is_foreign(it: type | types.FunctionType) -> bool:
    """Whether a class or function is the standard library's, Pydantic's or LangChain's."""
    module = _module_of(it) if issubclass(type(it), type) else it.__module__  # type: ignore[arg-type]
    return type(module) is str and module.partition(".")[0] in _FOREIGN


def text_of(value: Any, inner: list[type]) -> str:
    """The text of anything. Adds the classes that it names to `inner`."""
    text = SignatureText()
    written = text.of(value)
    inner += text.inner
    return written


class SignatureText:
    """The text of some values, one after the other."""

    def __init__(self) -> None:
        """Begin with an empty text."""
        self.inner: list[type] = []
        """The classes that were named so far."""
        self._rest = PARTS_MAX

    def of_field(self, field: Any) -> list[str]:
        """Of a field of Pydantic or of a dataclass."""
        if isinstance(field, FieldInfo):
            parts = [field.annotation, field.metadata, field.default, field.default_factory]
        else:
            parts = [field.type, field.default, field.default_factory, field.init]
        return [self.of(part) for part in parts]

    def of(self, value: Any, depth: int = 0) -> str:
        """Of anything. An object is told by its type's name, and by its attributes."""
        kind = type(value)
        if kind in (str, bytes):
            self._rest -= len(value) // 64
        elif kind in _CONTAINERS:
            self._rest -= len(value)
        self._rest -= 1
        if depth > DEPTH_MAX or self._rest < 0:
            return "..."
        if kind in LEAVES or kind in _EXACT:
            return repr(value)
        if issubclass(kind, type):
            self.inner.append(value)
            return "{}.{}".format(*name_of(value))
        write = _WRITERS.get(kind, SignatureText.instance)
        return write(self, value, depth)

    def instance(self, value: Any, depth: int) -> str:
        """Of an object, or of a type with arguments."""
        kind = type(value)
        origin = typing.get_origin(value)
        if origin is not None:
            arguments = [self.of(part, depth + 1) for part in typing.get_args(value)]
            return f"{self.of(origin, depth + 1)}[{', '.join(arguments)}]"
        if name_of(kind)[0] == "typing":
            return repr(value)  # `Any`, a type variable, a reference that is not resolved yet
        write = _STATES.get(kind, SignatureText.state)
        return "{}.{}{}".format(*name_of(kind), write(self, value, depth))

    def function(self, value: Any, depth: int) -> str:
        """Of a function: its name."""
        name = f"{value.__module__}.{value.__qualname__}"
        owner = getattr(value, "__self__", None)  # of a builtin's method: `{1, 2}.__contains__`
        if type(value) is types.FunctionType or isinstance(owner, types.ModuleType):
            return name
        return f"{name} of {self.of(owner, depth + 1)}"

    def container(self, value: Any, depth: int) -> str:
        """Of a list, tuple, set or dict: its parts. Sets get an order."""
        kind = type(value)
        if kind is dict:
            pairs = value.items()
            texts = [f"{self.of(k, depth + 1)}: {self.of(it, depth + 1)}" for k, it in pairs]
        else:
            texts = [self.of(part, depth + 1) for part in value]
        return f"{kind.__name__}({', '.join(sorted(texts) if kind in (set, frozenset) else texts)})"

    def state(self, value: Any, depth: int) -> str:
        """What follows the type's name of an object."""
        kind = type(value)
        if issubclass(kind, PurePath) and is_foreign(kind):
            return str(value)
        return str(sorted(self.attributes(value, depth)))

    def attributes(self, value: object, depth: int) -> Iterator[tuple[str, str]]:
        """The attributes of an object that can be told, by name.

        Not objects in objects: those lead anywhere, and some keep what they have computed.
        """
        for name, it in attributes(value):
            kind = type(it)
            if kind in LEAVES or kind in _EXACT:
                yield name, repr(it)
            elif kind in _FUNCTIONS or kind in (types.MethodType, functools.partial):
                yield name, self.of(it, depth + 1)


def _time(text: SignatureText, value: datetime | time, depth: int) -> str:
    return f"{value.replace(tzinfo=None)!r}{text.of(value.tzinfo, depth + 1)}"


def _method(text: SignatureText, value: types.MethodType, depth: int) -> str:
    return f"({text.of(value.__func__, depth + 1)}, {text.of(value.__self__, depth + 1)})"


def _wrapped(text: SignatureText, value: Any, depth: int) -> str:
    return text.of(value.__func__, depth + 1)


def _property(text: SignatureText, value: property, depth: int) -> str:
    return text.of([value.fget, value.fset], depth + 1)


def _partial(text: SignatureText, value: functools.partial[Any], depth: int) -> str:
    return text.of([value.func, value.args, value.keywords], depth + 1)


_Write: TypeAlias = "Callable[[SignatureText, Any, int], str]"

# By a lambda, since a subclass may override the method.
_WRITERS: dict[type, _Write] = {
    **dict.fromkeys(_CONTAINERS, SignatureText.container),
    **dict.fromkeys(_FUNCTIONS, lambda text, value, depth: text.function(value, depth)),
}
"""How values of some types are written."""

_STATES: dict[type, _Write] = {
    types.MethodType: _method,
    staticmethod: _wrapped,
    classmethod: _wrapped,
    property: _property,
    functools.partial: _partial,
    datetime: _time,
    time: _time,
}
"""What follows the type's name of values of some types."""


def attributes(value: object) -> Iterator[tuple[str, object]]:
    """What is in an object's slots and `__dict__`."""
    for base in mro_of(type(value)):
        for name, member in vars_of(base).items():
            if type(member) is types.MemberDescriptorType:
                try:
                    yield name, member.__get__(value)
                except AttributeError:
                    continue
    try:
        yield from object.__getattribute__(value, "__dict__").items()
    except AttributeError:
        return

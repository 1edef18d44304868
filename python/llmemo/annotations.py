"""Types and defaults of fields as text: the same in every process, and no code of theirs is run."""

from __future__ import annotations

import types
import typing
from typing import TYPE_CHECKING, Any

from pydantic.fields import FieldInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEPTH_MAX = 16
"""What is nested deeper than this does not count."""

LEAVES = (type(None), bool, int, float, str, bytes)

# `type`'s own, so that no metaclass has a say.
mro_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
vars_of: Callable[[type], types.MappingProxyType[str, Any]] = type.__dict__["__dict__"].__get__
_module_of: Callable[[type], Any] = type.__dict__["__module__"].__get__
_qualname_of: Callable[[type], str] = type.__dict__["__qualname__"].__get__


def name_of(cls: type) -> tuple[Any, str]:
    """Module (mostly a str) and qualified name of a class."""
    return _module_of(cls), _qualname_of(cls)


def text_of_field(field: Any, inner: list[type]) -> list[str]:
    """Of a field of Pydantic or of a dataclass; adds the classes that it names to `inner`."""
    if isinstance(field, FieldInfo):
        parts = [field.annotation, field.metadata, field.default, field.default_factory]
    else:
        parts = [field.type, field.default, field.default_factory, field.init]
    return [text_of(part, inner) for part in parts]


def text_of(value: Any, inner: list[type], depth: int = 0) -> str:  # noqa: PLR0911 (a table)
    """Of anything. What cannot be said is told by its type's name, and by its plain attributes."""
    kind = type(value)
    if depth > DEPTH_MAX:
        return "..."
    if kind in LEAVES:
        return repr(value)
    if issubclass(kind, type):
        inner.append(value)
        return "{}.{}".format(*name_of(value))
    if kind in (list, tuple, set, frozenset, dict):
        parts = value.items() if kind is dict else value
        texts = [text_of(part, inner, depth + 1) for part in parts]
        return f"{kind.__name__}({', '.join(sorted(texts) if kind in (set, frozenset) else texts)})"
    origin = typing.get_origin(value)
    if origin is not None:
        arguments = [text_of(part, inner, depth + 1) for part in typing.get_args(value)]
        return f"{text_of(origin, inner, depth + 1)}[{', '.join(arguments)}]"
    if kind in (types.FunctionType, types.BuiltinFunctionType):
        return f"{value.__module__}.{value.__qualname__}"
    if name_of(kind)[0] == "typing":
        return repr(value)  # `Any`, a type variable, a reference that is not resolved yet
    plain = {name: repr(it) for name, it in _attributes(value) if type(it) in LEAVES}
    return "{}.{}{}".format(*name_of(kind), sorted(plain.items()))


def _attributes(value: object) -> Iterator[tuple[str, object]]:
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

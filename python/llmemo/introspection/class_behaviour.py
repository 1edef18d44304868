"""What a class does to accept an instance, as text: its validators, and what these depend on.

Their bytecode is read, not run: names, constants, defaults, closures, and the globals and
attributes that they name. What they ask of the world outside (a database) is not in it.
"""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from llmemo.introspection.type_signature import (
    DEPTH_MAX,
    SignatureText,
    attributes,
    is_foreign,
    mro_of,
    name_of,
    vars_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HOOKS = ("__new__", "__init__", "__post_init__", "model_post_init", "__setattr__", "__set__")
"""What is run when an instance is made, whatever its fields are."""

_SCHEMA_DEPTH_MAX = 128

_JSON = (str, type(None), bool, int, float)

_REFERENCES = ("ref", "schema_ref")

_CALLED = (types.FunctionType, types.MethodType, functools.partial)

members_of: Any = vars(types.ModuleType)["__dict__"]
"""Gives what a module has, without asking the module."""


class Behaviour(SignatureText):
    """The text of what a class does."""

    def __init__(self, cls: type) -> None:
        """Begin with an empty text."""
        super().__init__()
        self._cls = cls
        self._home = _package(name_of(cls)[0])
        self._met: dict[tuple[int, str], object] = {}
        self._references: dict[Any, int] = {}
        self._names: dict[str, None] = {}

    def of_class(self) -> list[Any]:
        """All that it does to accept an instance."""
        cls = self._cls
        bases = [vars_of(base) for base in mro_of(cls) if not is_foreign(base)]
        hooks = ((name, base[name]) for base in bases for name in _HOOKS if name in base)
        written: list[Any] = [[name, self.of(it)] for name, it in hooks]
        written.append(self._schema(_schema_of(cls)))
        # What they may reach by way of the class: `cls.limit`, `self.check()`.
        looked_at: set[str] = set()
        while new := [name for name in self._names if name not in looked_at]:
            looked_at.update(new)
            members = ((name, base[name]) for base in bases for name in new if name in base)
            written += [[name, self._member(it, 0)] for name, it in members]
        return written

    @override
    def function(self, value: Any, depth: int) -> str:
        name = super().function(value, depth)
        if type(value) is not types.FunctionType or not self._meet(value, ""):
            return name
        cells = self._closure(value)
        if is_foreign(value):
            # It may stand around one of the user's.
            inner = (it for it in cells if type(it) in _CALLED)
            return f"{name}{[self.of(it, depth + 1) for it in inner]}"
        parts = [self._code(value.__code__, depth + 1), self.of(value.__defaults__, depth + 1)]
        parts.append(self.of(value.__kwdefaults__, depth + 1))
        names = _names_of(value.__code__)
        parts += [self._reached(it, names, depth) for it in cells]
        if _package(value.__module__) == self._home:
            found = ((it, value.__globals__[it]) for it in names if it in value.__globals__)
            parts += [f"{it}={self._reached(member, names, depth)}" for it, member in found]
        return f"{name}({', '.join(parts)})"

    @override
    def attributes(self, value: object, depth: int) -> Iterator[tuple[str, str]]:
        yield from super().attributes(value, depth)
        # One that is a validator itself.
        call = _members_of(type(value)).get("__call__")
        if call is not None:
            yield "__call__", self._member(call, depth)

    def _meet(self, it: object, name: str) -> bool:
        """Whether it, or its member of that name, was not met before."""
        is_new = (id(it), name) not in self._met
        self._met[id(it), name] = it
        return is_new

    def _closure(self, function: types.FunctionType) -> Iterator[object]:
        for cell in function.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:
                yield None  # not set yet

    def _schema(self, schema: Any, depth: int = 0) -> Any:
        """A core schema: what Pydantic made the validator of a class of."""
        kind = type(schema)
        if kind in _JSON:
            return schema
        if depth > _SCHEMA_DEPTH_MAX:
            return "..."
        if kind is dict:
            other = schema.get("cls")
            if issubclass(type(other), type) and other is not self._cls and _schema_of(other):
                # Described by itself.
                return [self.of(other)]
            # Metadata are for JSON schemas: keys have those.
            return [
                [name, self._reference(it) if name in _REFERENCES else self._schema(it, depth + 1)]
                for name, it in schema.items() if name != "metadata"
            ]  # fmt: skip
        if kind in (list, tuple):
            return [self._schema(it, depth + 1) for it in schema]
        return [self.of(schema)]

    def _reference(self, name: Any) -> int:
        # Ids are in their names, which are others in the next process.
        return self._references.setdefault(name, len(self._references))

    def _code(self, code: types.CodeType, depth: int) -> str:
        self._names.update(dict.fromkeys(code.co_names))
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        table = getattr(code, "co_exceptiontable", b"")
        constants = [self._constant(it, depth + 1) for it in code.co_consts]
        return f"{code.co_code!r}{table!r}{code.co_names}{code.co_freevars}{counts}{constants}"

    def _constant(self, it: Any, depth: int) -> str:
        if type(it) is types.CodeType and depth <= DEPTH_MAX:
            return self._code(it, depth)
        return self.of(it, depth)

    def _reached(self, it: Any, names: Iterable[str], depth: int) -> str:
        """What a function has hold of, with those of its members that it names."""
        kind = type(it)
        if kind is types.FunctionType:
            return self.of(it, depth + 1)
        if issubclass(kind, types.ModuleType):
            members = members_of.__get__(it)
            written = f"module {members.get('__name__')}"
            if _package(members.get("__name__")) != self._home:
                return written
        else:
            is_class = issubclass(kind, type)
            members = _members_of(it) if is_class else {**_members_of(kind), **dict(attributes(it))}
            written = self.of(it, depth + 1)
        named = [name for name in names if name in members and self._meet(it, name)]
        return f"{written}{[(name, self._member(members[name], depth)) for name in named]}"

    def _member(self, it: Any, depth: int) -> str:
        if type(it) in (types.MemberDescriptorType, types.GetSetDescriptorType):
            return "slot"
        return self.of(it, depth + 1)


def _schema_of(cls: type) -> Any:
    return vars_of(cls).get("__pydantic_core_schema__")


def _members_of(cls: type) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for base in reversed(mro_of(cls)):
        if not is_foreign(base):
            members.update(vars_of(base))
    return members


def _names_of(code: types.CodeType) -> dict[str, None]:
    """The names in a function, and in those within it."""
    names = dict.fromkeys(code.co_names)
    for it in code.co_consts:
        if type(it) is types.CodeType:
            names.update(_names_of(it))
    return names


def _package(module: Any) -> str | None:
    return module.partition(".")[0] if type(module) is str else None

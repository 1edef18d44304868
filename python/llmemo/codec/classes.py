"""Classes that stored answers hold instances of: which can be stored, and how they are found.

A stored value names a class by its module, its qualified name and a digest of what the state of its
instances depends on. The class is looked for among the loaded modules, never imported, and found
only if the digest is the same. No code of the class runs here, since a value may name any class:
attributes are read where they are kept, past properties, metaclasses and `__getattr__`.
"""

from __future__ import annotations

import enum
import hashlib
import json
import struct
import sys
import types
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel

from llmemo._core import ValueUnknown
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.introspection.class_behaviour import Behaviour, members_of
from llmemo.introspection.type_signature import mro_of, name_of, vars_of
from llmemo.langchain.class_schemas import run_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODEL, DATACLASS, ENUM = range(3)
"""Kinds of classes. The numbers are part of the value format: they never change."""

SLOTS_MAX = 64
"""Most slots of a class. Each takes memory in an instance whether or not it is set."""

_HEAP_TYPE = 1 << 9
"""The flag of classes that are not static ones of C (`Py_TPFLAGS_HEAPTYPE`)."""

_size_of: Callable[[type], int] = type.__dict__["__basicsize__"].__get__
_flags_of: Callable[[type], int] = type.__dict__["__flags__"].__get__


class ClassRecord(NamedTuple):
    """A class whose instances can be stored."""

    kind: int
    name: tuple[str, str, bytes]
    """Module, qualified name, digest."""
    slots: tuple[types.MemberDescriptorType, ...]
    """Where instances keep what is not in their `__dict__`: those of `BaseModel`, and others."""


_met: weakref.WeakKeyDictionary[type, None] = weakref.WeakKeyDictionary()
"""Classes that had a record when they were last described."""


class Classes:
    """The classes of one value, each described once.

    Nothing is remembered beyond one value: a class, or what its validators depend on, can change in
    place.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._records: dict[int, tuple[type, ClassRecord | None]] = {}
        self._parts: dict[int, tuple[bytes, list[type]]] = {}
        self._slots: dict[int, tuple[type, tuple[types.MemberDescriptorType, ...]]] = {}
        self._of_run: list[type] | None = None

    def record_of(self, cls: type) -> ClassRecord | None:
        """The record of a class; None if its instances cannot be stored."""
        known = self._records.get(id(cls))
        if known is None:
            # The class, too, so that its id stays its own.
            known = self._records[id(cls)] = cls, self._record_of(cls)
        return known[1]

    def _record_of(self, cls: type) -> ClassRecord | None:
        try:
            slots = self.slots_of(cls)
            kind = _kind_with(cls, slots)
            if kind is None:
                return None
            reached = {id(cls): cls}
            parts = []
            waiting = [cls]
            for each in waiting:
                # The classes that its fields name come after it, each once.
                part, inner = self._part(each)
                parts.append(part)
                new = {id(it): it for it in inner if id(it) not in reached}
                reached.update(new)
                waiting += new.values()
            digest = hashlib.blake2b(b"".join(parts), digest_size=32).digest()
            _met[cls] = None
        except Exception as error:  # a class may do anything
            if is_interrupt(error):
                raise
            return None
        module, qualname = name_of(cls)
        return ClassRecord(kind, (module, qualname, digest), slots)

    def _part(self, cls: type) -> tuple[bytes, list[type]]:
        """The digest of one class, and the classes that its fields name."""
        part = self._parts.get(id(cls))
        if part is None:
            text = Behaviour(cls)
            described = json.dumps([_describe(cls, text), text.of_class()])
            inner = [it for it in text.inner if _kind_of(it) is not None]
            part = hashlib.blake2b(described.encode(), digest_size=32).digest(), inner
            self._parts[id(cls)] = part
        return part

    def shape_of(self, cls: type) -> tuple[int, tuple[types.MemberDescriptorType, ...]] | None:
        """The kind and the slots of a class; None if its instances cannot be stored."""
        slots = self.slots_of(cls)
        kind = _kind_with(cls, slots)
        return None if kind is None else (kind, slots)

    def slots_of(self, cls: type) -> tuple[types.MemberDescriptorType, ...]:
        """Where instances of a class keep what is not in their `__dict__`."""
        known = self._slots.get(id(cls))
        if known is None:
            known = self._slots[id(cls)] = cls, tuple(_slots_of(cls))
        return known[1]

    def of_run(self) -> list[type]:
        """The classes in the parameters of the current model run."""
        if self._of_run is None:
            self._of_run = list(run_classes())
        return self._of_run

    def find(self, kind: int, module: str, qualname: str, digest: bytes) -> type:
        """The class that a value names.

        Looks among the parameters of the current model run, so that a chain gets its own class;
        then under its name; then among the classes that this process has described before.

        Raises:
            ValueUnknown: It is not loaded, has changed, or there are several.
        """
        name = (module, qualname, digest)
        reason = "unknown_class"
        for candidates in (self.of_run, lambda: _at(module, qualname), _seen):
            # A class described before is older than the one that has the name now.
            if candidates is _seen and reason == "changed_class":
                break
            named = {id(cls): cls for cls in candidates() if name_of(cls) == (module, qualname)}
            records = [(cls, self.record_of(cls)) for cls in named.values()]
            same = [cls for cls, it in records if it and (it.kind, it.name) == (kind, name)]
            if len(same) == 1:
                return same[0]
            if same:
                raise ValueUnknown("ambiguous_class")
            if named and candidates is not _seen:
                reason = "changed_class"
        raise ValueUnknown(reason)


def record_of(cls: type) -> ClassRecord | None:
    """The record of a class, as of now; None if its instances cannot be stored."""
    return Classes().record_of(cls)


def _seen() -> Iterator[type]:
    for reference in _met.keyrefs():
        cls = reference()
        if cls is not None:
            yield cls


def _at(module: str, qualname: str) -> Iterator[type]:
    """The class of that name in the module, if that is loaded."""
    # A parametrised generic is a subclass of its origin: only the origin need be in reach.
    path, bracket, _ = qualname.partition("[")
    try:
        found: Any = sys.modules.get(module)
        members: Any = members_of.__get__(found)
        for part in path.split("."):
            found = members.get(part)
            if not issubclass(type(found), type):
                return
            members = vars_of(found)
    except TypeError:
        return  # no module: `sys.modules` may hold anything
    yield from type.__subclasses__(found) if bracket else (found,)


def _kind_with(cls: type, slots: tuple[types.MemberDescriptorType, ...]) -> int | None:
    """The kind of a class; None if its instances cannot be stored."""
    kind = _kind_of(cls)
    # A class in C has state out of sight. The two words are `__dict__` and `__weakref__`.
    size = object.__basicsize__ + (len(slots) + 2) * struct.calcsize("P")
    if kind is None or len(slots) > SLOTS_MAX or (kind != ENUM and _size_of(cls) > size):
        return None
    return kind


def _kind_of(cls: type) -> int | None:
    """The kind of a class; None if its instances have state out of sight, or a finalizer."""
    mro = mro_of(cls)
    names = set().union(*map(vars_of, mro))
    # An instance whose constructor did not run must not run a finalizer.
    if "__del__" in names or not isinstance(name_of(cls)[0], str):
        return None
    if issubclass(type(cls), enum.EnumMeta):
        return ENUM if "_member_map_" in vars_of(cls) else None
    # Instances of built-in classes have state of their own.
    if not all(_flags_of(base) & _HEAP_TYPE for base in mro[:-1]):
        return None
    if BaseModel in mro:
        return MODEL
    return DATACLASS if "__dataclass_fields__" in names else None


def _slots_of(cls: type) -> Iterator[types.MemberDescriptorType]:
    for base in mro_of(cls):
        members = vars_of(base).values()
        yield from (it for it in members if type(it) is types.MemberDescriptorType)


def _describe(cls: type, text: Behaviour) -> list[Any]:
    """What the state of the instances depends on, for JSON; `text` notes the classes it names."""
    members = vars_of(cls)
    described: list[Any] = [".".join(map(str, name_of(base))) for base in mro_of(cls)]
    described.append([slot.__name__ for slot in _slots_of(cls)])
    if issubclass(type(cls), enum.EnumMeta):
        values = [
            (name, object.__getattribute__(member, "_value_"))
            for name, member in members["_member_map_"].items()
        ]
        return [*described, *([name, text.of(value)] for name, value in values)]
    if BaseModel in mro_of(cls):
        fields = members.get("__pydantic_fields__", members.get("model_fields", {}))
        described.append(text.of(members.get("model_config", {}).get("extra")))
        private = (vars_of(base).get("__private_attributes__", ()) for base in mro_of(cls))
        described += map(sorted, private)
    else:
        bases = (vars_of(base) for base in mro_of(cls))
        fields = next(base for base in bases if "__dataclass_fields__" in base)
        fields = fields["__dataclass_fields__"]
    described += [[name, *text.of_field(field)] for name, field in fields.items()]
    return described

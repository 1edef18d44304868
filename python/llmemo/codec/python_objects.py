"""Python objects taken apart into plain values, and put together again.

For objects that the Rust codec does not know: dates and the like, and instances of a user's
classes. Their state is read and set directly, without their constructor, properties or
`__setattr__`. Validators run for the classes that the current model run was given only: there the
class also has to accept the instance today (`acceptance`).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from llmemo._core import ValueUnknown
from llmemo.codec.acceptance import accepts
from llmemo.codec.classes import ENUM, Classes
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.introspection.standard_types import MAKE, STANDARD
from llmemo.introspection.type_signature import mro_of, name_of, vars_of

if TYPE_CHECKING:
    import types
    from collections.abc import Callable

    Parts = tuple[Any, ...]

FLAGS_MAX = 4096
"""Combinations that a flag class may hold, for good, before stored values add no more."""

FLAG_BITS_MAX = 256
"""Most bits of a combination of flags."""


class Instances:
    """Takes the objects of one value apart, and puts them together."""

    def __init__(self, *, validates: bool = True) -> None:
        """`validates`: whether the classes of the run have to accept their instances."""
        self._classes = Classes()
        self._validates = validates

    def find(self, kind: int, module: str, qualname: str, digest: bytes) -> type:
        """The class that a value names; see `Classes.find`."""
        return self._classes.find(kind, module, qualname, digest)

    def taken(self, it: Any) -> tuple[int, tuple[str, str, bytes] | None, Any] | None:
        """An object as its kind, its class (None: the kind says it) and its state.

        None if it cannot be stored.
        """
        plain = STANDARD.get(type(it))
        try:
            if plain is not None:
                kind, take, _ = plain
                return kind, None, take(it)
            record = self._classes.record_of(type(it))
            if record is None:
                return None
            state = _state_of(it, record.kind, record.slots)
            if record.kind != ENUM and self._is_of_run(type(it)) and accepts(it):
                # A class that accepted it once, and does not now, has changed.
                state = (*state, True)
        except Exception as error:  # a state that no such object should have
            if is_interrupt(error):
                raise
            return None
        return record.kind, record.name, state

    def state_of(self, it: Any) -> Any:
        """The state of an object, to be compared; None if it cannot be stored."""
        plain = STANDARD.get(type(it))
        try:
            if plain is not None:
                return plain[1](it)
            shape = self._classes.shape_of(type(it))
            return None if shape is None else _state_of(it, *shape)
        except Exception as error:  # a state that no such object should have
            if is_interrupt(error):
                raise
            return None

    def made(self, kind: int, cls: type | None, state: Any) -> Any:
        """The object that `taken` took apart.

        Raises:
            ValueUnknown: This process does not know the type, or the class has become stricter.
            Exception: No such object can have this state.
        """
        if cls is None:
            if kind >= len(MAKE):
                raise ValueUnknown("unknown_type")
            return MAKE[kind](*state)
        if kind == ENUM:
            return _make_member(cls, state)
        own, slots, *accepted = state
        it = _make_state(cls, own, slots, self._classes.slots_of(cls))
        if accepted not in ([], [True]):
            raise ValueError(accepted)
        if accepted and self._is_of_run(cls) and not accepts(it):
            raise ValueUnknown("changed_class")
        return it

    def _is_of_run(self, cls: type) -> bool:
        return self._validates and any(cls is each for each in self._classes.of_run())


# Instances.


def _state_of(it: Any, kind: int, members: tuple[types.MemberDescriptorType, ...]) -> Any:
    return _take_member(it) if kind == ENUM else _take_state(it, members)


def _take_state(it: Any, members: tuple[types.MemberDescriptorType, ...]) -> Parts:
    slots = {}
    for number, member in enumerate(members):
        try:
            slots[number] = member.__get__(it)
        except AttributeError:
            continue
    try:
        own = object.__getattribute__(it, "__dict__")
    except AttributeError:
        own = None
    else:
        _check_names(own)
    return own, slots


def _make_state(
    cls: type, own: Any, slots: Any, members: tuple[types.MemberDescriptorType, ...]
) -> object:
    it: object = object.__new__(cls)
    if own is not None:
        _check_names(own)
        object.__setattr__(it, "__dict__", own)
    for number, value in slots.items():
        members[number].__set__(it, value)
    return it


def _check_names(own: Any) -> None:
    if type(own) is not dict or not all(type(name) is str for name in own):
        raise TypeError


def _take_member(it: Any) -> str | int:
    name = object.__getattribute__(it, "_name_")
    if vars_of(type(it))["_member_map_"].get(name) is it:
        return name  # type: ignore[no-any-return]
    value = object.__getattribute__(it, "_value_")
    _combining(type(it), value)
    return value  # type: ignore[no-any-return]


def _make_member(cls: type, state: str | int) -> object:
    if type(state) is str:
        return vars_of(cls)["_member_map_"][state]
    combine, known = _combining(cls, state), vars_of(cls)["_value2member_map_"]
    if state in known or len(known) < FLAGS_MAX:
        return known.get(state) or combine(state)
    raise ValueError(state)


def _combining(cls: type, value: object) -> Callable[[object], object]:
    """The standard library's way to combine flags.

    Raises:
        TypeError: The class has its own way, or the value is no combination.
    """
    for base in mro_of(cls):
        method = vars_of(base).get("_missing_")
        if method is not None:
            is_own = name_of(base)[0] != "enum" or not issubclass(cls, enum.Flag)
            if is_own or type(value) is not int or value.bit_length() > FLAG_BITS_MAX:
                break
            return method.__get__(None, cls)  # type: ignore[no-any-return]
    raise TypeError

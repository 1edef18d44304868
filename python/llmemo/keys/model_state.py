"""Fields that are not settings of a model but its state: counters, logs.

`self.calls += 1` in a model's own code changes a field with every call. If it counted as a setting,
every request would be a new one. So the bytecode of users' classes is read: what a model runs to
answer, and the methods which that calls. A field is state if this code counts it up or down, or
only ever puts something there. As soon as an answer may depend on what was there before, other than
by a count, the field is a setting: a needless miss is better than another model's answer. What is
used up (`self.answers.pop(0)`) counts as it was when it was first seen: `keys.consumed_fields`.
"""

from __future__ import annotations

import dis
import types
from typing import TYPE_CHECKING

from llmemo.introspection.type_signature import vars_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ENTRIES = ("_generate", "_agenerate", "_stream", "_astream", "_call", "_acall")
"""Where LangChain lets a model answer."""

EVERY = "*"
"""Stands for all fields: the model itself was handed on, or all its fields were read at once."""

_PUTTING = {"add", "append", "appendleft", "extend", "insert"}
"""Methods that add to what a field holds. A dict that is updated may hold settings beside."""

_TAKING = {"pop", "popleft"}
"""Methods that take out what comes next, if they are not told what."""

_ALL_AT_ONCE = {"dict", "model_dump", "model_dump_json", "json", "__dict__", "model_copy", "copy"}
"""Attributes by which all fields are read."""

_COUNTING = {"INPLACE_ADD", "INPLACE_SUBTRACT", "BINARY_ADD", "BINARY_SUBTRACT"}
_LOADS = {"LOAD_ATTR", "LOAD_METHOD"}
_COPIES = {"COPY", "DUP_TOP"}
_SHUFFLES = {"CACHE", "PRECALL", "SWAP", "ROT_TWO", "ROT_THREE", "NOT_TAKEN"}


class Uses:
    """What a model's own code does with its fields."""

    def __init__(self, classes: Iterable[type]) -> None:
        """`classes`: the classes of the model whose code is its user's, itself first."""
        self.how: dict[str, set[str]] = {}
        """`counted` (by whole numbers), `added` to, `put` into, `taken` from, `written`, `length`
        or `read`. Of what is inside: `counts 'name'`, `item 'name'`."""
        methods: dict[str, list[types.FunctionType]] = {}
        for cls in classes:
            for name, member in vars_of(cls).items():
                function = getattr(member, "__func__", member)
                function = getattr(function, "fget", function)
                if isinstance(function, types.FunctionType):
                    methods.setdefault(name, []).append(function)  # `super()` may be called
        pending = [name for name in ENTRIES if name in methods]
        for name in pending:
            for function in methods[name]:
                for field, how in _uses_of(function):
                    self.how.setdefault(field, set()).add(how)
                    if field in methods and field not in pending:
                        pending.append(field)
        self._is_read_whole = EVERY in self.how or not _ALL_AT_ONCE.isdisjoint(self.how)

    def state(self) -> set[str]:
        """Names of the fields that hold state."""
        return {name for name, how in self.how.items() if self._is_state(how)}

    def consumed(self) -> set[str]:
        """Names of the fields that are used up, and not read otherwise."""
        return {name for name, how in self.how.items() if {"taken"} <= how <= {"taken", "length"}}

    def only_read(self) -> set[str]:
        """Names of what is read, and never changed."""
        return {name for name, how in self.how.items() if how <= {"read", "length"}}

    def _is_state(self, how: set[str]) -> bool:
        if "counted" in how:
            return True
        is_read = self._is_read_whole or not how.isdisjoint({"read", "taken"})
        items = {it[len("item ") :] for it in how if it.startswith("item ")}
        counts = {it[len("counts ") :] for it in how if it.startswith("counts ")}
        if is_read or not items <= counts:
            return False
        return bool(counts) or not how.isdisjoint({"added", "put", "written"})


def _uses_of(function: types.FunctionType) -> Iterator[tuple[str, str]]:
    me = next(iter(function.__code__.co_varnames), "")
    pending = [function.__code__]
    while pending:
        code = pending.pop()
        pending += [it for it in code.co_consts if isinstance(it, types.CodeType)]
        yield from _Code(code, me).uses()


class _Code:
    """The steps of some code."""

    def __init__(self, code: types.CodeType, me: str) -> None:
        self._steps = [it for it in dis.get_instructions(code) if it.opname not in _SHUFFLES]
        self._me = me
        self._has_cell = me in code.co_cellvars
        self._own = set[int]()
        """Where a field is loaded only to be counted."""

    def uses(self) -> Iterator[tuple[str, str]]:
        """The attributes of `self` that are used, and how."""
        for at, step in enumerate(self._steps):
            if step.opname == "STORE_ATTR":
                yield from self._stored(at)
        for at, step in enumerate(self._steps):
            if self._is_me(at) or self._is_first(at):
                yield from self._loaded(at, step)

    def _stored(self, at: int) -> Iterator[tuple[str, str]]:
        name = self._steps[at].argval
        is_plain = self._is_me(at - 1)
        found = self._sum(at, name) if is_plain else self._in_place(at, name)
        if found is not None:
            load, how = found
            self._own.add(load)
            yield name, how
        elif is_plain:
            yield name, "written"

    def _in_place(self, at: int, name: str) -> tuple[int, str] | None:
        """`self.n += …`: the model is copied before the field is loaded."""
        if not self._is_count(at - 1):
            return None
        for i in range(at - 2, 1, -1):
            if self._is_load(i, name) and self._steps[i - 1].opname in _COPIES:
                return (i, self._kind(at - 2)) if self._is_me(i - 2) else None
        return None

    def _sum(self, at: int, name: str) -> tuple[int, str] | None:
        """`self.n = self.n + 1`."""
        if self._is_count(at - 2) and self._is_load(at - 4, name) and self._is_me(at - 5):
            return at - 4, self._kind(at - 3)
        return None

    def _kind(self, at: int) -> str:
        step = self._at(at)
        if step is None:
            return "added"
        is_whole = step.opname.startswith(("LOAD_CONST", "LOAD_SMALL_INT"))
        return "counted" if is_whole and type(step.argval) is int else "added"

    def _loaded(self, at: int, step: dis.Instruction) -> Iterator[tuple[str, str]]:
        after = self._at(at + 1)
        if self._is_first(at) or after is None:
            yield EVERY, "read"
        elif after.opname in _COPIES or after.opname in {"STORE_ATTR", "LOAD_SUPER_ATTR"}:
            return  # read as `_stored`, or the code of a base: that is read itself
        elif after.opname not in _LOADS:
            if not (
                self._has_cell and step.opname == "LOAD_FAST"
            ):  # to be used in a function within
                yield EVERY, "read"
        elif at + 1 not in self._own:
            yield after.argval, self._how(at + 1)

    def _how(self, at: int) -> str:
        after, before = self._at(at + 1), self._at(at - 2)
        if after is not None and after.opname in _LOADS and after.argval in _PUTTING:
            return "put"
        if after is not None and after.opname in _LOADS and after.argval in _TAKING:
            return "taken" if self._is_taken(at + 2) else "read"
        item = self._item(at)
        if item is not None:
            return item
        is_call = after is not None and after.opname.startswith("CALL")
        is_len = any(
            it is not None and it.opname == "LOAD_GLOBAL" and it.argval == "len"
            for it in (before, self._at(at - 3))
        )
        return "length" if is_call and is_len else "read"

    def _is_taken(self, at: int) -> bool:
        """Whether a method is called without an argument, or with a number."""
        first = self._at(at)
        if first is not None and first.opname.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
            first = self._at(at + 1) if type(first.argval) is int else None
        return first is not None and first.opname.startswith(("CALL", "PUSH_NULL"))

    def _item(self, at: int) -> str | None:
        """`self.counts["n"]`, and whether it is counted."""
        name = self._at(at + 1)
        if name is None or not name.opname.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
            return None
        if self._is_item(at + 2):
            return f"item {name.argval!r}"
        i = at + 2
        while (step := self._at(i)) is not None and step.opname.startswith(("COPY", "DUP_TOP")):
            i += 1
        is_counted = i > at + 2 and self._is_item(i) and self._kind(i + 1) == "counted"
        store = self._at(i + 3)
        if is_counted and self._is_count(i + 2) and store and store.opname == "STORE_SUBSCR":
            return f"counts {name.argval!r}"
        return None

    def _is_item(self, at: int) -> bool:
        step = self._at(at)
        return step is not None and (step.opname == "BINARY_SUBSCR" or step.argrepr == "[]")

    def _at(self, at: int) -> dis.Instruction | None:
        return self._steps[at] if 0 <= at < len(self._steps) else None

    def _is_load(self, at: int, name: str) -> bool:
        step = self._at(at)
        return step is not None and step.opname in _LOADS and step.argval == name

    def _is_me(self, at: int) -> bool:
        """Whether a step loads `self`; some load two variables at once."""
        step = self._at(at)
        if step is None or not step.opname.startswith(_VARIABLES):
            return False
        return bool(
            (step.argval[-1] if isinstance(step.argval, tuple) else step.argval) == self._me
        )

    def _is_first(self, at: int) -> bool:
        """Whether a step loads `self`, and something else after it."""
        step = self._steps[at]
        return (
            step.opname.startswith("LOAD_FAST")
            and isinstance(step.argval, tuple)
            and step.argval[0] == self._me
        )

    def _is_count(self, at: int) -> bool:
        step = self._at(at)
        if step is None or step.opname in _COUNTING:
            return step is not None
        return step.opname == "BINARY_OP" and step.argrepr in {"+", "-", "+=", "-="}


_VARIABLES = ("LOAD_FAST", "LOAD_DEREF", "STORE_FAST_LOAD_FAST")

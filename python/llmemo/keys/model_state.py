"""Fields that are not settings of a model but its state: counters, logs.

`self.calls += 1` in a model's own code changes a field with every call. If it counted as a setting,
every request would be a new one. So the bytecode of users' classes is read: what a model runs to
answer, and the methods which that calls. A field is state if this code counts it up or down, adds
to what it holds or takes out of it, or only ever writes to it (then no answer can depend on it).
"""

from __future__ import annotations

import dis
import itertools
import types
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo.annotations import vars_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ENTRIES = ("_generate", "_agenerate", "_stream", "_astream", "_call", "_acall")
"""Where LangChain lets a model answer."""

_CHANGING = {
    "add", "append", "appendleft", "extend", "insert", "pop", "popitem", "popleft", "setdefault",
    "update",
}  # fmt: skip
"""Methods that add to what a field holds, or take out of it."""

_ALL_AT_ONCE = {"dict", "model_dump", "model_dump_json", "json", "__dict__", "model_copy", "copy"}
"""Attributes by which all fields are read."""

_COUNTING = {"INPLACE_ADD", "INPLACE_SUBTRACT", "BINARY_ADD", "BINARY_SUBTRACT"}
_LOADS = {"LOAD_ATTR", "LOAD_METHOD"}
_SHUFFLES = {"CACHE", "PRECALL", "COPY", "SWAP", "ROT_TWO", "DUP_TOP", "NOT_TAKEN"}


class _Use(NamedTuple):
    """One use of an attribute of `self`."""

    name: str
    how: str
    """`changed` (by what it was before), `written` or `read`."""


def state_fields(classes: Iterable[type]) -> set[str]:
    """Names of the fields that a model's own code keeps state in.

    Args:
        classes: The classes of the model whose code is its user's, itself first.
    """
    methods: dict[str, list[types.FunctionType]] = {}
    for cls in classes:
        for name, member in vars_of(cls).items():
            function = getattr(member, "__func__", member)
            function = getattr(function, "fget", function)
            if isinstance(function, types.FunctionType):
                methods.setdefault(name, []).append(function)  # `super()` may be called
    uses: dict[str, set[str]] = {}
    pending = [name for name in ENTRIES if name in methods]
    for name in pending:
        for use in itertools.chain.from_iterable(map(_uses_of, methods[name])):
            uses.setdefault(use.name, set()).add(use.how)
            if use.name in methods and use.name not in pending:
                pending.append(use.name)
    is_read_whole = not _ALL_AT_ONCE.isdisjoint(uses)
    return {name for name, how in uses.items() if _is_state(how, is_read_whole=is_read_whole)}


def _is_state(how: set[str], *, is_read_whole: bool) -> bool:
    if "changed" in how:
        return True
    return "written" in how and "read" not in how and not is_read_whole


def _uses_of(function: types.FunctionType) -> Iterator[_Use]:
    me = next(iter(function.__code__.co_varnames), "")
    pending = [function.__code__]
    while pending:
        code = pending.pop()
        pending += [it for it in code.co_consts if isinstance(it, types.CodeType)]
        steps = [it for it in dis.get_instructions(code) if it.opname not in _SHUFFLES]
        for at in range(1, len(steps)):
            use = _use_at(steps, at, me)
            if use is not None:
                yield use


def _use_at(steps: list[dis.Instruction], at: int, me: str) -> _Use | None:
    step, before = steps[at], steps[at - 1]
    if step.opname == "STORE_ATTR":
        # `self.n = …` has `self` before it; `self.n += 1` has it before what is loaded.
        loaded = [i for i in range(max(1, at - 5), at) if _is_load_of(steps[i], step.argval)]
        if loaded and _is_me(steps[loaded[-1] - 1], me):
            is_counted = any(_is_count(it) for it in steps[max(0, at - 2) : at])
            return _Use(step.argval, "changed" if is_counted else "written")
        return _Use(step.argval, "written") if _is_me(before, me) else None
    if step.opname not in _LOADS or not _is_me(before, me):
        return None
    after = steps[at + 1] if at + 1 < len(steps) else None
    method = after.argval if after is not None and after.opname in _LOADS else None
    return _Use(step.argval, "changed" if method in _CHANGING else "read")


def _is_load_of(step: dis.Instruction, name: Any) -> bool:
    return step.opname in _LOADS and step.argval == name


def _is_me(step: dis.Instruction, me: str) -> bool:
    """Whether a step loads `self`; some load two variables at once."""
    if not step.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "STORE_FAST_LOAD_FAST")):
        return False
    return bool((step.argval[-1] if isinstance(step.argval, tuple) else step.argval) == me)


def _is_count(step: dis.Instruction) -> bool:
    if step.opname in _COUNTING:
        return True
    return step.opname == "BINARY_OP" and step.argrepr in {"+", "-", "+=", "-="}

"""Which tests start processes: found by what their code names, and told when they do it."""

from __future__ import annotations

import functools
import multiprocessing
import subprocess
import sys
import types
from typing import TYPE_CHECKING, Any

from support import TESTS

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = str(TESTS)
STARTERS = (subprocess, multiprocessing)
EVENTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"}


def _names(code: types.CodeType) -> set[str]:
    inner = [_names(each) for each in code.co_consts if isinstance(each, types.CodeType)]
    return set(code.co_names).union(*inner)


def _is_ours(module: object) -> bool:
    return str(getattr(module, "__file__", "")).startswith(HERE)


def _functions(thing: Any) -> Iterator[types.FunctionType]:
    """Those of the tests' own that a name stands for: itself, what it wraps, its methods."""
    hypothesis = getattr(thing, "hypothesis", None)
    thing = hypothesis.inner_test if hypothesis else getattr(thing, "__wrapped__", thing)
    if isinstance(thing, types.FunctionType) and thing.__code__.co_filename.startswith(HERE):
        yield thing
    elif isinstance(thing, type) and _is_ours(sys.modules.get(thing.__module__)):
        for each in vars(thing).values():
            yield from _functions(getattr(each, "__func__", each))


@functools.cache
def _used(function: types.FunctionType) -> tuple[bool, frozenset[types.FunctionType]]:
    """Whether a function starts a process itself, and what other functions it may call."""
    names = _names(function.__code__)
    others: set[types.FunctionType] = set()
    for name in names & set(function.__globals__):
        it = function.__globals__[name]
        if it in STARTERS:
            return True, frozenset()
        others.update(_functions(it))
        if isinstance(it, types.ModuleType) and _is_ours(it):
            for inner in names & set(vars(it)):
                others.update(_functions(vars(it)[inner]))
    return "fork" in names, frozenset(others)


def starts_processes(*roots: object) -> bool:
    """Whether these functions, or any of the tests' own that they lead to, start a process."""
    left = [function for root in roots for function in _functions(root)]
    seen = set(left)
    while left:
        starts, others = _used(left.pop())
        if starts:
            return True
        left += others - seen
        seen |= others
    return False


started: list[str] = []


@functools.cache
def watch() -> None:
    """Have `started` name what is started from now on."""
    sys.addaudithook(lambda event, args: started.append(event) if event in EVENTS else None)

"""Where two requests differ, in words, for requests whose texts are known."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from llmemo.explain.values import Texts, is_told, paths_that_differ, values_of
from llmemo.keys.objects_in_messages import UNSENT

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT = 60
"""Longest value that is quoted, in characters."""

SECRETIVE = re.compile(r"header|key|token|secret|password|auth|credential|cookie", re.IGNORECASE)
"""Names of settings whose values are never quoted, but for `HARMLESS`."""

HARMLESS = re.compile(r"(max|min)_.*tokens|.*_tokens|token_count")

BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)
"""Brackets of JSON, and strings, which may hold brackets."""

DEEPEST = 64
"""Deepest nesting of messages that are parsed, which takes 20 KiB of stack."""


def setting(name: str, new: Texts, old: Texts | None) -> str:
    """How a setting of the new request differs."""
    if name == "llm_string" and old is not None:
        return _difference_of(name, [new.llm_string], [old.llm_string], ())
    if old is None or not is_told(name, new, old):
        return name
    mine, other = values_of(name, new), values_of(name, old)
    if mine == other:
        return f"{name}: the schema of a class in it differs"
    paths = [path for path, _ in paths_that_differ(name, new, old)] if mine and other else []
    if SECRETIVE.search(name) and not HARMLESS.fullmatch(name):
        return f"{_inside(name, paths)}: differs"
    return _difference_of(name, mine, other, paths)


def _difference_of(name: str, mine: list[str], other: list[str], paths: Sequence[str]) -> str:
    if not mine or not other:
        value = ", ".join(mine or other)
        value = value if len(value) <= SHORT else "set"
        return f"{name}: {value}, was not set" if mine else f"{name}: not set, was {value}"
    now, before = ", ".join(mine), ", ".join(other)
    if max(len(now), len(before)) <= SHORT:
        return f"{name}: {now} was {before}"
    inside = _inside(name, paths)
    where = "" if inside != name else f" from character {_first(now, before)}"
    return f"{inside}: differs{where}"


def _inside(name: str, paths: Sequence[str]) -> str:
    """The one place in a setting that differs, if its name tells no secret; or the setting."""
    inner = paths[0].removeprefix(f"{name}.") if len(paths) == 1 else ""
    is_harmless = len(inner) <= SHORT and not SECRETIVE.search(inner.rpartition(".")[2])
    return paths[0] if inner and is_harmless else name


def prompt(new: Texts, old: Texts | None) -> str:
    """How a prompt differs that is not a list of messages."""
    if old is None:
        return "prompt"
    if _messages(new.prompt) or _messages(old.prompt):
        return "prompt: one of the two is no list of messages"
    return f"prompt: differs from character {_first(new.prompt, old.prompt)}"


def message(index: int, new: Texts, old: Texts | None) -> str:
    """How a message of the new request, counted from 0, differs."""
    mine = _message(new.prompt, index)
    name = f"message {index + 1}" if mine is None else f"message {index + 1} ({mine[0]})"
    other = None if old is None else _message(old.prompt, index)
    if mine is None or other is None:
        return name
    if mine[0] != other[0]:
        return f"message {index + 1}: {mine[0]} was {other[0]}"
    now, before = ({k: v for k, v in it[1].items() if k not in UNSENT} for it in (mine, other))
    return f"{name}: {_difference(now, before, '')}"


def _message(prompt: str, index: int) -> tuple[str, dict[str, Any]] | None:
    messages = _messages(prompt)
    return messages[index] if index < len(messages) else None


def _messages(prompt: str) -> list[tuple[str, dict[str, Any]]]:
    """Role and arguments of each message; none if the text is something else, or too deep."""
    if _depth(prompt) > DEEPEST:
        return []
    try:
        return [(_role(it["id"][-1]), dict(it["kwargs"])) for it in json.loads(prompt)]
    except (ValueError, TypeError, LookupError, RecursionError):
        return []


def _depth(text: str) -> int:
    """How deep JSON is nested: `json.loads` recurses in C, and a thread may have little stack."""
    depth = deepest = 0
    for bracket in BRACKETS.finditer(text):
        if bracket[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket[0] in "]}":
            depth -= 1
    return deepest


def _role(name: str) -> str:
    return name.removesuffix("Chunk").removesuffix("Message").lower() or name


def _difference(new: Any, old: Any, path: str) -> str:
    """The first place where two values differ, and how."""
    if type(new) is type(old):
        if isinstance(new, dict):
            return _dicts(new, old, path)
        if isinstance(new, list):
            for at, (mine, other) in enumerate(zip(new, old, strict=False)):
                if repr(mine) != repr(other):
                    return _difference(mine, other, f"{path}[{at}]")
            return f"{path} has {len(new)} items, was {len(old)}"
        if isinstance(new, str):
            return f"{path} differs from character {_first(new, old)}"
    return f"{path} differs"


def _dicts(new: dict[str, Any], old: dict[str, Any], path: str) -> str:
    for key in {**new, **old}:
        where = f"{path}.{key}" if path else key
        if key not in old:
            return f"{where} is new"
        if key not in new:
            return f"{where} is gone"
        if repr(new[key]) != repr(old[key]):
            return _difference(new[key], old[key], where)
    return f"{path} has another order" if path else "differs"


def _first(new: str, old: str) -> int:
    """Number of the first character that differs, from 1."""
    pairs = zip(new, old, strict=False)
    same = next((at for at, (mine, other) in enumerate(pairs) if mine != other), None)
    return (min(len(new), len(old)) if same is None else same) + 1

"""The values of a request's settings: as they are written, and where two of them differ."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo._core import entries, settings
from llmemo.keys.description_text import MARK, UnreadableError, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEEPEST = 64
"""Deepest nesting of values that are parsed: `ast` and `json` recurse in C."""

LONGEST = 64 * 1024
"""Longest value that is parsed, in characters."""


class Texts(NamedTuple):
    """What is known of a request."""

    llm_string: str
    """LangChain's description of the model and the call."""
    prompt: str
    supplement: bytes | None = b""
    """What the model says beside the two texts: entries of a description (docs/keys.md). None if
    that is not at hand."""


def names_of(texts: Texts, ignore: Sequence[str] = ()) -> list[str]:
    """The settings of a request that count, by name."""
    beside = [entry.name for entry in entries(texts.supplement or b"")]
    return [*(name for name, _ in settings(texts.llm_string, ignore)), *beside]


def is_told(name: str, new: Texts, old: Texts) -> bool:
    """Whether it is known what the old request has for a setting, which may be nothing."""
    if old.supplement is not None:
        return True
    return any(name == told for texts in (new, old) for told, _ in settings(texts.llm_string))


def values_of(name: str, texts: Texts) -> list[str]:
    """The values of a setting, as they are written: a name may occur for the model and the call."""
    found = [value for other, value in settings(texts.llm_string) if other == name]
    return found + [
        repr(value) for other, value in _beside(texts.supplement or b"") if other == name
    ]


def paths_that_differ(name: str, new: Texts, old: Texts | None) -> list[tuple[str, Any]]:
    """Where the values of a setting differ, as dotted names, each with the new value.

    Without the other request: every place in the value, since any of them may differ.
    """
    mine = [_parsed(value) for value in values_of(name, new)]
    if old is None or not is_told(name, new, old):
        return [leaf for value in mine for leaf in _leaves(name, value)]
    other = [_parsed(value) for value in values_of(name, old)]
    if len(mine) == len(other):
        pairs = zip(mine, other, strict=True)
        return [leaf for pair in pairs for leaf in _differing(name, *pair)]
    if not mine:
        return [(path, None) for value in other for path, _ in _leaves(name, value)]
    return [leaf for value in mine for leaf in _leaves(name, value)]


def _differing(name: str, new: Any, old: Any) -> Iterator[tuple[str, Any]]:
    mine, other = _members(new), _members(old)
    if mine is None or other is None:
        if repr(new) != repr(old):
            yield name, new
        return
    if name.rpartition(".")[2].lower().endswith("headers"):
        mine, other = _lower(mine), _lower(other)
    for key in {**mine, **other}:
        if key not in mine:
            yield f"{name}.{key}", None
        elif key not in other:
            yield from _leaves(f"{name}.{key}", mine[key])
        else:
            yield from _differing(f"{name}.{key}", mine[key], other[key])


def _members(value: Any) -> dict[Any, Any] | None:
    """The members of a dict, or of a list of pairs, by name; None for another value.

    And for a dict that stands for another kind of value.
    """
    if isinstance(value, list) and value:
        pairs = [it for it in value if isinstance(it, list | tuple) and len(it) == 2]
        if len(pairs) == len(value) and all(isinstance(name, str) for name, _ in pairs):
            return {name: it for name, it in pairs}  # noqa: C416 (a pair may be a list)
    is_dict = isinstance(value, dict) and not any(str(key).startswith(MARK) for key in value)
    return value if is_dict else None


def _lower(headers: dict[Any, Any]) -> dict[Any, Any]:
    return {str(name).lower(): value for name, value in headers.items()}


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    members = _members(value)
    if members:
        for key, member in members.items():
            yield from _leaves(f"{name}.{key}", member)
    else:
        yield name, value


def _beside(supplement: bytes) -> Iterator[tuple[str, Any]]:
    try:
        yield from ((name, value) for _, name, value in to_json(supplement))
    except (UnreadableError, RecursionError):
        return


def _parsed(text: str) -> Any:
    """A value of Python's or of JSON; the text itself if it is neither, or too large to look at."""
    if len(text) > LONGEST or _depth(text) > DEEPEST:
        return text
    for parse in (ast.literal_eval, json.loads):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _depth(text: str) -> int:
    """How deep brackets are nested, or more: those in texts count, too."""
    depth = deepest = 0
    for character in text:
        if character in "[({":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "])}":
            depth -= 1
    return deepest

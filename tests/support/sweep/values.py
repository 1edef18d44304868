"""A value for a field that is not its default, by its annotation."""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, Union

from pydantic import SecretStr

NOTHING = object()
"""No value was found: the field needs one of its own, in `special.py`."""

PLAIN: dict[Any, list[Any]] = {
    bool: [True, False],
    int: [3, 4],
    float: [0.25, 0.5],
    str: ["other", "another"],
    SecretStr: [SecretStr("other-key")],
    dict: [{"added": "a"}],
    Mapping: [{"added": "a"}],
    list: [["other"]],
    Sequence: [["other"]],
    Collection: [["other"]],
    set: [{"other"}],
}


def _candidates(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin in {Union, types.UnionType}:
        return [each for argument in arguments for each in _candidates(argument)]
    if origin is Literal:
        return list(arguments)
    if origin in {list, Sequence} and arguments[0] is not str:
        return [[each] for each in _candidates(arguments[0])]
    if origin in {dict, Mapping} and arguments[1:] and arguments[1] not in {str, Any, object}:
        names, values = (_candidates(argument) for argument in arguments)
        return [{names[0]: values[0]}] if names and values else []
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return list(annotation)
    return PLAIN.get(origin or annotation, [])


def another(annotation: Any, default: Any) -> Any:
    """A value that the annotation admits and that is not `default`, or `NOTHING`."""
    for value in _candidates(annotation):
        if value != default or type(value) is not type(default):
            return value
    return NOTHING

"""Whether a class would accept an instance today.

Only for classes that the current model run was given: their validators are run, as the client that
parsed the answer ran them. A validator may depend on what no digest shows, such as an environment
or a database (see `class_behaviour`).
"""

from __future__ import annotations

from typing import Any

import pydantic
from pydantic import BaseModel, RootModel

from llmemo.concurrency.interrupts import is_interrupt
from llmemo.introspection.type_signature import mro_of, vars_of

_BY_NAME: dict[str, bool] = {}
if tuple(map(int, pydantic.VERSION.split(".")[:2])) >= (2, 11):
    _BY_NAME = {"by_alias": False, "by_name": True}


def accepts(it: object) -> bool:
    """Whether the class of an instance accepts the values that the instance is made of.

    Some classes never do: a validator need not take what it has made. So only a change of this
    result means anything. True for classes without validators.
    """
    validator: Any = vars_of(type(it)).get("__pydantic_validator__")
    if validator is None or BaseModel not in mro_of(type(it)):
        return True
    try:
        validator.validate_python(_given(it), **_BY_NAME)
    except Exception as error:  # whatever a validator may raise
        if is_interrupt(error):
            raise
        return False
    return True


def _given(it: Any) -> Any:
    """A value with its models taken apart, since Pydantic does not check instances again."""
    kind = type(it)
    if kind in (list, tuple, set, frozenset):
        return kind(map(_given, it))
    if kind is dict:
        return {name: _given(value) for name, value in it.items()}
    if BaseModel not in mro_of(kind):
        return it
    own = object.__getattribute__(it, "__dict__")
    if RootModel in mro_of(kind):
        return _given(own["root"])
    # A field that was not given has its default, which Pydantic does not check either.
    names = object.__getattribute__(it, "__pydantic_fields_set__")
    extra = object.__getattribute__(it, "__pydantic_extra__") or {}
    return {name: _given(value) for name, value in (own | extra).items() if name in names}

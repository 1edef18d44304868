"""Whether a class would accept an instance today.

Only for classes that the current model run was given: their validators are run, as the client that
parsed the answer ran them. What they depend on may be out of sight (`behaviour`): an environment, a
database.
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
    """Whether the class of an instance accepts what this is made of.

    Some do not, though nothing has changed: validators need not take what they have made. So only a
    change of this says something. True for classes without validators.
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
    """A value with its models as what they are made from: instances are not checked again."""
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
    # What was not given has a default, which is not checked either.
    names = object.__getattribute__(it, "__pydantic_fields_set__")
    extra = object.__getattribute__(it, "__pydantic_extra__") or {}
    return {name: _given(value) for name, value in (own | extra).items() if name in names}

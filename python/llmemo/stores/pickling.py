"""Stores are pickled by the arguments that they were made with."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from llmemo.errors import ConfigurationError

T = TypeVar("T")


def reduced_store(store: object) -> tuple[Any, ...]:
    """What `store.__reduce__` returns: its class, and the arguments of its constructor.

    Found as attributes of the same names, so that a new argument is not forgotten.

    Raises:
        ConfigurationError: It has no such attributes.
    """
    kind = type(store)
    settings = {}
    for name, parameter in inspect.signature(kind).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or not hasattr(
            store, name
        ):
            msg = (
                f"{kind.__name__} cannot be pickled: its argument {name!r} is no attribute of it."
                " Keep it as one, or define `__reduce__`"
            )
            raise ConfigurationError(msg)
        settings[name] = getattr(store, name)
    return _restored_store, (kind, settings)


def _restored_store(kind: type[T], settings: dict[str, Any]) -> T:
    positional = [
        settings.pop(name)
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is parameter.POSITIONAL_ONLY
    ]
    return kind(*positional, **settings)

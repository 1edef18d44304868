"""Fields that a model uses up while it answers: lists of answers to give, iterators.

What is left of them changes with every call, and is no setting; what they held at first is one, or
two models with other answers to give would share one. So it is kept for each model, from when the
model was first asked until the field is given something else.
"""

from __future__ import annotations

import functools
import secrets
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from llmemo._core import RequestBypassed
from llmemo.keys.values import describer

if TYPE_CHECKING:
    from langchain_core.language_models import BaseLanguageModel

_COPIED: tuple[type, ...] = (type(iter([])), type(iter(())), type(iter(range(0))))
"""Iterators that can be looked through without using them up."""

_firsts: dict[int, tuple[weakref.ref[Any], dict[str, tuple[object, bytes]]]] = {}
"""By the address of the model; for each field what it holds, and what that held at first."""


def initial_values(model: BaseLanguageModel[Any], names: tuple[str, ...]) -> dict[str, object]:
    """What these fields of a model held when it was first asked, by name."""
    reference, firsts = _firsts.get(id(model), (None, {}))
    if reference is None or reference() is not model:
        reference = weakref.ref(model, functools.partial(_forget, id(model)))
        firsts = {}
        _firsts[id(model)] = reference, firsts
    told: dict[str, object] = {}
    for name in names:
        held = model.__dict__.get(name)
        known = firsts.get(name)
        if known is None or known[0] is not held:
            known = firsts[name] = held, _first_of(held)
        told[name] = known[1]
    return told


def _first_of(held: Any) -> bytes:
    """As bytes: what is given as an answer may be changed by its receiver."""
    try:
        if type(held) in _COPIED:
            _, (source, *_), *at = held.__reduce__()
            return describer.value((list(source), at))
        if not isinstance(held, Iterator):
            return describer.value(held)
    except RequestBypassed:
        pass
    return secrets.token_bytes(16)  # equal to itself alone


def _forget(identity: int, reference: object) -> None:
    known = _firsts.get(identity)
    if known is not None and known[0] is reference:
        _firsts.pop(identity, None)

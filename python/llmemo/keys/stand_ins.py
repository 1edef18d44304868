"""Objects that cannot be described: a random token stands for each, in this process only."""

from __future__ import annotations

import functools
import logging
import secrets
import weakref
from typing import Any

from llmemo.introspection.type_signature import name_of

_log = logging.getLogger("llmemo")


class UntoldError(Exception):
    """A value cannot be described: it may hold what cannot be seen."""


def kind_of(cls: type) -> str:
    """The name of a class: module and qualified name."""
    return "{}.{}".format(*name_of(cls))


_stand_ins: dict[int, tuple[weakref.ref[Any], bytes]] = {}
"""By the object's address; random, so that neither a fork nor another process has them."""

KINDS_MAX = 32
"""Most kinds of objects that are named in the log."""

_logged: set[str] = set()


def stand_in(value: Any) -> tuple[str, bytes]:
    """Kind and token of an object that cannot be described: equal to itself, in this process only.

    Raises:
        UntoldError: It cannot be referenced weakly.
    """
    known = _stand_ins.get(id(value))
    if known is not None and known[0]() is value:
        return "this object", known[1]
    token = secrets.token_bytes(16)
    try:
        reference = weakref.ref(value, functools.partial(_forget, id(value), token))
    except TypeError:
        raise UntoldError from None
    _stand_ins[id(value)] = (reference, token)
    _log_kind(kind_of(type(value)))
    return "this object", token


def _forget(identity: int, token: bytes, _: object) -> None:
    known = _stand_ins.get(identity)
    if known is not None and known[1] == token:
        _stand_ins.pop(identity, None)


def _log_kind(kind: str) -> None:
    if kind not in _logged and len(_logged) < KINDS_MAX:
        _logged.add(kind)
        _log.info(
            "llmemo: a model holds an object that cannot be told (%s): its answers are found again"
            " by this process only. Give it plain values or `_identifying_params`, or declare the"
            " field with exclude=True if no answer depends on it",
            kind,
        )

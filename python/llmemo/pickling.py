"""Caches on their way to another process: `pickle`, and what is built on it.

A cache goes as its settings and a random name. Where a cache of that name lives, unpickling gives
that one; elsewhere it makes one, and keeps it: whoever hands a model to a pool of processes has it
unpickled there once for each task, and each of these would begin with an empty memory, and open the
store anew.
"""

from __future__ import annotations

import inspect
import os
import secrets
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from llmemo.codec.encryption import VARIABLE
from llmemo.errors import ConfigurationError

if TYPE_CHECKING:
    from llmemo.pipeline.tiers import Tiers


class Picklable(Protocol):
    """A cache, as far as this module needs it: `LLMCache` or a subclass."""

    _tiers: Tiers
    _name: str | None

    def __init__(self, **settings: Any) -> None:
        """Make one of these settings."""


KEPT = 8
"""Caches that unpickling has made and that stay open, the newest."""

SECRET = ("secret", "encryption_key")
"""Arguments of a cache that a pickle must not hold: it is written to disks and sent over networks.
"""

_kept: dict[str, Picklable] = {}
_by_name: weakref.WeakValueDictionary[str, Picklable] = weakref.WeakValueDictionary()


def reduced(cache: Picklable, name: str | None, base: type[Picklable]) -> tuple[Any, ...]:
    """What `cache.__reduce__` returns. `name`: the one it was unpickled by, if it was.

    Raises:
        ConfigurationError: It has a secret that was given in code.
    """
    tiers = cache._tiers  # noqa: SLF001 (it is the cache's own method)
    for argument in SECRET:
        if argument in tiers.secrets_given:
            from_environment = (
                f" Set {VARIABLE} in both processes instead." if argument != "secret" else ""
            )
            msg = (
                f"a cache with {argument}=… is not pickled: the pickle would hold the secret."
                f"{from_environment} Or make the cache in each process"
            )
            raise ConfigurationError(msg)
    if name is None:
        name = secrets.token_hex(16)
    _by_name[name] = cache
    settings = {
        parameter: tiers.store if parameter == "store" else getattr(tiers.settings, parameter)
        for parameter in _parameters(base)
        if parameter not in SECRET
    }
    # What a subclass, or the user, has put beside them.
    state = {key: value for key, value in vars(cache).items() if key not in OWN}
    is_encrypted = tiers.envelope.is_encrypting
    return _restored, (type(cache), base, name, settings, state, is_encrypted)


OWN = {"_tiers", "_recall", "_namespace", "_name"}
"""Attributes that the constructor sets."""


def _restored(  # noqa: PLR0917 (a pickle calls by position)
    kind: type[Picklable],
    base: type[Picklable],
    name: str,
    settings: dict[str, Any],
    state: dict[str, Any],
    is_encrypted: bool,
) -> Picklable:
    """The cache of a name, or a new one.

    Raises:
        ConfigurationError: It cannot be made here.
    """
    known = _by_name.get(name)
    if known is not None and not _is_closed(known):
        return known
    if is_encrypted and not os.environ.get(VARIABLE, "").strip():
        msg = (
            f"a cache that encrypts by {VARIABLE} was unpickled in a process without: set it here,"
            " too, or this process would store answers in clear"
        )
        raise ConfigurationError(msg)
    made = kind.__new__(kind)
    base.__init__(made, **settings)
    vars(made).update(state)
    made._name = name  # noqa: SLF001 (as above)
    kept = _kept.get(name)
    if kept is not None and _is_closed(kept):
        _kept.pop(name, None)
    # Of two threads that make one at once, the first; the other's has opened nothing yet.
    made = _by_name[name] = _kept.setdefault(name, made)
    for oldest in list(_kept)[:-KEPT]:
        _kept.pop(oldest, None)
    return made


def _is_closed(cache: Picklable) -> bool:
    return cache._tiers.is_closed  # noqa: SLF001 (as in `reduced`)


def _parameters(kind: type) -> dict[str, inspect.Parameter]:
    """Of its constructor, without `self`."""
    return dict(inspect.signature(kind).parameters)

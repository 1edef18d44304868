"""Kinds of trouble: what may pass, what a server refuses, and what is broken."""

from __future__ import annotations

import re

from redis.exceptions import (
    AuthenticationError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as BrokenConnectionError,
)
from redis.exceptions import (
    TimeoutError as LateReplyError,
)

from llmemo.errors import StoreError
from llmemo.stores.base import StoreRefusedError, StoreUnavailableError

REFUSED = {
    "OOM": "the server is full (maxmemory, with a policy that evicts nothing)",
    "READONLY": "the server is a read-only replica",
    "NOPERM": "the server's access list does not allow it",
    "MISCONF": "the server takes no writes, since it cannot save its snapshots",
}
"""What the server answers, and would answer again: by the code of its error."""

PASSING = ("LOADING", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY", "MOVED", "ASK")
"""What may pass."""

_DENIED_IN_SCRIPT = "The user executing the script can't"
"""How Redis 7 says NOPERM of a command in a script."""

_CODE = re.compile(r"\b(" + "|".join((*REFUSED, *PASSING)) + r")\b")

_CLASSES = {
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "NoPermissionError": "NOPERM",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "TryAgainError": "TRYAGAIN",
    "BusyLoadingError": "LOADING",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "NoScriptError": "NOSCRIPT",
}
"""Codes of the errors for which redis-py has classes: these leave the code out of their text."""


def code_of(error: BaseException) -> str:
    """The code of a server's error: READONLY, OOM, …; empty for another one."""
    known = _CLASSES.get(type(error).__name__)
    if known is not None:
        return known
    if isinstance(error, ResponseError) and _DENIED_IN_SCRIPT in str(error):
        return "NOPERM"
    # A script's error quotes the error of its command (before Redis 7 with a dash before the code).
    found = _CODE.search(str(error)) if isinstance(error, ResponseError) else None
    return "" if found is None else found[1]


def translated(error: BaseException) -> Exception:
    """The error that the contract of stores has for it. It names no password."""
    if isinstance(error, (StoreUnavailableError, StoreError)):
        return error
    if isinstance(error, AuthenticationError):
        return StoreRefusedError("the server refuses the user name or the password")
    code = code_of(error)
    if code in REFUSED:
        return StoreRefusedError(f"{REFUSED[code]} ({code})")
    if code:
        return StoreUnavailableError(f"the server answers {code}")
    return _without_code(error)


def _without_code(error: BaseException) -> Exception:
    if isinstance(error, (LateReplyError, TimeoutError)):
        return StoreUnavailableError("the server did not answer in time")
    if isinstance(error, (BrokenConnectionError, OSError)):
        return StoreUnavailableError(f"no connection to the server: {error}")
    if isinstance(error, RedisError):
        return StoreError(f"the server answered with an error: {error}")
    return error if isinstance(error, Exception) else StoreError("the store was cancelled")

"""Checks of what a cache is made with: bad input is an error at once, and says what would do."""

from __future__ import annotations

import inspect
import math
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from llmemo.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T", bound=None)


def check_whole(name: str, value: int, *, least: int) -> None:
    """Raise unless it is a whole number of at least so much.

    Raises:
        ConfigurationError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= sys.maxsize:
        msg = f"{name}={value!r} is not allowed: give a whole number of {least} or more"
        raise ConfigurationError(msg)


def seconds_of(value: float | timedelta | T) -> float | T:
    """A duration in seconds; what is none stays as it is."""
    return value.total_seconds() if isinstance(value, timedelta) else value


def check_seconds(name: str, given: float | timedelta) -> float:
    """A duration in seconds, if it is positive and finite.

    Raises:
        ConfigurationError: It is not.
    """
    value = seconds_of(given)
    if not _is_number(value) or not 0 < value < math.inf:
        hint = ", or None for no limit" if name.startswith(("ttl", "namespace_ttl[")) else ""
        wanted = f"give a positive number of seconds, or a timedelta{hint}"
        msg = f"{name}={given!r} is not allowed: {wanted}"
        raise ConfigurationError(msg)
    return value


def check_number(name: str, value: float, *, most: float = math.inf) -> None:
    """Raise unless it is a finite number from 0 to `most`.

    Raises:
        ConfigurationError: It is not.
    """
    if not _is_number(value) or not (0 <= value <= most and value < math.inf):
        bound = "of 0 or more" if most == math.inf else f"from 0 to {most:g}"
        msg = f"{name}={value!r} is not allowed: give a number {bound}"
        raise ConfigurationError(msg)


def _is_number(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        float(value)
    except OverflowError:  # an int beyond all floats, which is less than infinity
        return False
    return True


def check_flag(name: str, value: object) -> None:
    """Raise unless it is a bool.

    Raises:
        ConfigurationError: It is not.
    """
    if not isinstance(value, bool):
        msg = f"{name}={value!r} is not allowed: give True or False"
        raise ConfigurationError(msg)


def check_listener(name: str, value: object) -> None:
    """Raise unless it is None, or a function that can be called without `await`.

    Raises:
        ConfigurationError: It is not.
    """
    wanted = "give a function that takes a LookupEvent, or None"
    if value is None:
        return
    if not callable(value):
        msg = f"{name}={value!r} is not allowed: {wanted}"
        raise ConfigurationError(msg)
    for each in (value, type(value).__call__):
        if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            msg = f"{name}={value!r} is async, and nothing would await it: {wanted}, made by `def`"
            raise ConfigurationError(msg)


def secret_bytes(secret: str | bytes | None) -> bytes | None:
    """A secret as bytes.

    Raises:
        ConfigurationError: It is empty, or something else.
    """
    if secret is None or (isinstance(secret, bytes) and secret):
        return secret
    if isinstance(secret, str) and secret:
        return secret.encode("utf-8", "surrogatepass")
    # Its value stays out of the message.
    msg = "secret is not allowed: give a str or bytes that is not empty, or None"
    raise ConfigurationError(msg)


def absolute_path(name: str, path: str | os.PathLike[str], *, example: str) -> tuple[str, Path]:
    """A path as it was given, and the absolute one. Whether anything is there is not asked.

    Without symbolic links: SQLite has a database's other files beside what they lead to.

    Raises:
        ConfigurationError: It cannot be a path.
    """
    try:
        given = os.fspath(path)
    except TypeError:
        given = None
    if not isinstance(given, str) or not given.strip() or "\0" in given:
        msg = f"{name}={path!r} is not a path: give the name of a file, such as {example!r}"
        raise ConfigurationError(msg)
    try:
        absolute = Path(os.path.realpath(Path(given).expanduser()))
        absolute.exists()
    except (OSError, RuntimeError) as error:  # a name too long; `~somebody` who is not known
        msg = f"{name}={given!r} cannot be a path here: {error}"
        raise ConfigurationError(msg) from error
    return given, absolute


def check_prices(
    prices: Mapping[str, tuple[float, float]] | None,
) -> dict[str, tuple[float, float]]:
    """Prices by model, as `LLMCache` takes them: of 1,000,000 tokens sent to it, and made by it.

    Raises:
        ConfigurationError: One of them is no price.
    """
    taken = {}
    for name, price in (prices or {}).items():
        try:
            sent, made = map(float, price)
            name.encode()  # a str, without lone surrogates
            is_price = 0 <= sent < math.inf and 0 <= made < math.inf
        except (AttributeError, TypeError, ValueError):
            is_price = False
        if not is_price:
            msg = (
                f"prices[{name!r}]={price!r} is not allowed: write"
                " {'model-name': (input, output)}, each the price of 1,000,000 tokens"
            )
            raise ConfigurationError(msg)
        taken[name] = (sent, made)
    return taken

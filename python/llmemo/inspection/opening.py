"""A store to look at, by the path or the URL that a user gives."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmemo.errors import ConfigurationError
from llmemo.stores.schemes import REDIS_SCHEMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmemo.inspection.entries import View

SCHEME = re.compile(r"(?s)([A-Za-z][A-Za-z0-9+.-]*)://(.*)")

PREFIX = "llmemo"
"""Begins the keys on a server, unless another one is given: the default of `RedisStore`."""


def is_url(location: str) -> bool:
    """Whether this names a server."""
    found = SCHEME.fullmatch(location)
    return found is not None and found[1].lower() in REDIS_SCHEMES


@contextmanager
def viewed(location: str, *, prefix: str = PREFIX) -> Iterator[View]:
    """The store at a path or a URL, to be looked at.

    Raises:
        ConfigurationError: There is none. The message holds no password.
        StoreError: It cannot be read.
    """
    view = _view(location, prefix)
    try:
        yield view
    finally:
        view.close()


def _view(location: str, prefix: str) -> View:
    if is_url(location):
        try:
            from llmemo.inspection.redis_view import RedisView  # noqa: PLC0415 (an extra)
        except ImportError as error:
            raise ConfigurationError(str(error)) from None
        return RedisView(location, prefix)
    from llmemo.inspection.sqlite_view import SQLiteView  # noqa: PLC0415 (imports SQLite)

    return SQLiteView(file_path(location))


def file_path(location: str) -> str:
    """The path of a file, from a path or `sqlite:///…`.

    Raises:
        ConfigurationError: It is a URL of something else.
    """
    found = SCHEME.fullmatch(location)
    if found is None:
        if "://" in location or location.partition(":")[0].lower() in REDIS_SCHEMES:
            # Not a file: its name, which is printed, may hold a password.
            msg = "FILE is nearly a URL: write redis://host, or ./name for a file of such a name"
            raise ConfigurationError(msg)
        return location
    scheme, rest = found[1].lower(), found[2]
    if scheme == "sqlite" and rest.startswith("/") and rest != "/":
        return rest[1:]
    if scheme in REDIS_SCHEMES:
        msg = "this is for SQLite files: a server sees to it by itself"
        raise ConfigurationError(msg)
    # Not the whole URL: it may carry a password.
    known = ", ".join(f"{name}://" for name in ("sqlite", *REDIS_SCHEMES))
    msg = f"{scheme}://… names no store: known are {known} and plain paths"
    raise ConfigurationError(msg)

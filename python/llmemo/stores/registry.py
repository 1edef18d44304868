"""Stores by the path or the URL that a user gives. A store is imported when it is asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from llmemo.errors import ConfigurationError
from llmemo.stores.base import Store
from llmemo.stores.schemes import REDIS_SCHEMES

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence


def _sqlite_file(path: str | os.PathLike[str]) -> Store:
    from llmemo.stores.sqlite import SQLiteStore  # noqa: PLC0415 (see the module)

    return SQLiteStore(path)


def _sqlite(rest: str) -> Store:
    # As in SQLAlchemy: sqlite:///relative.db, sqlite:////absolute.db
    if not rest.startswith("/") or rest == "/":
        msg = f"store='sqlite://{rest}' names no file: write sqlite:///name.db, or just the path"
        raise ConfigurationError(msg)
    if "?" in rest:
        msg = "store=sqlite:///…?… has options: give a SQLiteStore(path, …) to set any"
        raise ConfigurationError(msg)
    return _sqlite_file(rest[1:])


def _redis(scheme: str) -> Callable[[str], Store]:
    def made(rest: str) -> Store:
        try:
            from llmemo.stores.redis import RedisStore  # noqa: PLC0415 (see the module)
        except ImportError as error:
            raise ConfigurationError(str(error)) from None
        return RedisStore(f"{scheme}://{rest}")

    return made


def _tiered(stores: list[Store]) -> Store:
    if not stores:
        msg = "store=[] names no store: give the near one and the far one, or None for memory only"
        raise ConfigurationError(msg)
    if len(stores) == 1:
        return stores[0]
    from llmemo.stores.tiered import TieredStore  # noqa: PLC0415 (see the module)

    return TieredStore(stores)


SCHEMES: dict[str, Callable[[str], Store]] = {
    "sqlite": _sqlite,
    **{scheme: _redis(scheme) for scheme in REDIS_SCHEMES},
}
"""Makes a store from what follows the scheme of a URL; a new store adds one row."""


Location: TypeAlias = "Store | str | os.PathLike[str]"
"""What names a store."""


def store_of(location: Location | Sequence[Location]) -> Store:
    """The store at a path or a URL; a store itself is returned as it is.

    Of two, the near one and the far one, it is a `TieredStore`.

    Raises:
        ConfigurationError: It is none of these, or the store refused it.
    """
    if isinstance(location, (list, tuple)):
        return _tiered([_single(one) for one in location])
    return _single(location)  # type: ignore[arg-type]


def _single(location: Location) -> Store:
    if isinstance(location, Store):
        return location
    if not isinstance(location, str):
        return _sqlite_file(location)
    url = re.match(r"(?s)([A-Za-z][A-Za-z0-9+.-]*)://(.*)", location)
    if url is None:
        if "://" in location or (":" in location and location.partition(":")[0] in REDIS_SCHEMES):
            # Not a file: its name, which is logged, may hold a password.
            msg = "store=… is nearly a URL: write redis://host or sqlite:///name.db, and no more"
            raise ConfigurationError(msg)
        return _sqlite_file(location)
    scheme = url[1].lower()
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        # Not the whole URL: it may carry a password.
        msg = f"store={scheme}://… has an unknown scheme: known are {known} and plain paths"
        raise ConfigurationError(msg)
    return SCHEMES[scheme](url[2])

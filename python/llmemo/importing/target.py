"""The store that a command imports into: a damaged file is left as it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmemo.errors import ConfigurationError
from llmemo.inspection.opening import PREFIX, file_path, is_url

if TYPE_CHECKING:
    from llmemo.stores.base import Store


def target_of(location: str, *, prefix: str = PREFIX) -> tuple[Store, bool]:
    """The store at a path or a URL, to be written to; and whether there is anything to look at.

    Args:
        location: Of the store. A file that is missing is made at first use.
        prefix: Begins its keys on a server.

    Raises:
        ConfigurationError: There can be no store.
    """
    if is_url(location):
        try:
            from llmemo.stores.redis import RedisStore  # noqa: PLC0415 (an extra)
        except ImportError as error:
            raise ConfigurationError(str(error)) from None
        return RedisStore(location, prefix=prefix), True
    from llmemo.inspection.careful_store import CarefulStore  # noqa: PLC0415 (as above)
    from llmemo.inspection.sqlite_view import translated  # noqa: PLC0415
    from llmemo.stores.sqlite.path_checks import check_header  # noqa: PLC0415
    from llmemo.stores.sqlite.schema import check_version  # noqa: PLC0415

    try:
        store = CarefulStore(file_path(location))
        with translated(store.path):
            version = check_header(store.path)
            check_version(version)
    except ConfigurationError as error:
        raise type(error)(str(error).removeprefix("store=")) from None
    # Services may keep what has expired, for `stale_if_error`: upkeep is to leave it to them.
    store.grace = math.inf
    return store, version > 0

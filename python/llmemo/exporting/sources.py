"""What reads a store, by the path or the URL that a person gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.errors import ConfigurationError
from llmemo.stores.registry import store_of
from llmemo.stores.schemes import REDIS_SCHEMES

if TYPE_CHECKING:
    from llmemo.exporting.source import Source

SQLITE = "sqlite:///"


def source_of(location: str) -> Source:
    """The source of a path, or of a URL as `LLMCache` takes it. The caller closes it.

    Raises:
        ConfigurationError: There is no store, or it cannot be read.
        StoreError: It cannot be read now.
    """
    scheme, has_scheme, _ = location.partition("://")
    if has_scheme and scheme.lower() in REDIS_SCHEMES:
        try:
            from llmemo.exporting.redis_source import RedisSource  # noqa: PLC0415 (an extra)
        except ImportError as error:
            raise ConfigurationError(str(error)) from None
        return RedisSource(location)
    if has_scheme and not location.startswith(SQLITE):
        store_of(location)  # raises
    from llmemo.exporting.sqlite_source import SQLiteSource  # noqa: PLC0415 (as above)

    return SQLiteSource(location.removeprefix(SQLITE))

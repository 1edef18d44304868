"""What reads a store, by the path or the URL that a person gives."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from llmemo.inspection.opening import PREFIX, is_url, viewed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmemo.exporting.source import Source


@contextlib.contextmanager
def source_of(location: str, *, prefix: str = PREFIX) -> Iterator[Source]:
    """The answers at a path or a URL.

    Args:
        location: Of the store.
        prefix: Begins its keys on a server.

    Raises:
        ConfigurationError: There is no store, or it cannot be read.
        StoreError: It cannot be read now.
    """
    view: Any
    with viewed(location, prefix=prefix) as view:
        if is_url(location):
            from llmemo.exporting.redis_source import RedisSource  # noqa: PLC0415 (an extra)

            yield RedisSource(view)
        else:
            from llmemo.exporting.sqlite_source import SQLiteSource  # noqa: PLC0415 (as above)

            yield SQLiteSource(view)

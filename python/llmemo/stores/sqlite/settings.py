"""The settings of an SQLite store, checked when it is made."""

from __future__ import annotations

from llmemo.config.validation import check_flag, check_whole
from llmemo.errors import ConfigurationError
from llmemo.stores.sqlite.connection import SYNCHRONOUS
from llmemo.stores.sqlite.read_only import refuse_options

LEAST_BYTES = 256 * 1024
"""A bound on the file that leaves room for its own bookkeeping."""


def check_settings(
    *, max_store_bytes: int | None, durability: object, store_requests: object, read_only: object
) -> None:
    """Raise unless these are settings of an SQLite store: see `SQLiteStore`.

    Raises:
        ConfigurationError: One is not allowed.
    """
    if not isinstance(durability, str) or durability not in SYNCHRONOUS:
        msg = f'durability={durability!r} is not known: it is "normal" or "full"'
        raise ConfigurationError(msg)
    check_flag("store_requests", store_requests)
    if max_store_bytes is not None:
        check_whole("max_store_bytes", max_store_bytes, least=LEAST_BYTES)
    check_flag("read_only", read_only)
    if read_only:
        refuse_options(max_store_bytes=max_store_bytes, store_requests=store_requests)

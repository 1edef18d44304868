"""Durable tiers: the contract of a store, and one sub-package or module for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo.stores.base import (
    Store,
    StoreRefusedError,
    StoreUnavailableError,
    StoreUnusableError,
)
from llmemo.stores.records import Record, Selection

if TYPE_CHECKING:
    from llmemo.stores.sqlite import SQLiteStore

__all__ = [
    "Record",
    "SQLiteStore",
    "Selection",
    "Store",
    "StoreRefusedError",
    "StoreUnavailableError",
    "StoreUnusableError",
]


if not TYPE_CHECKING:  # it would let a type checker take any name

    def __getattr__(name: str) -> Any:
        """A store is imported when it is asked for: a cache without one needs none."""
        if name == "SQLiteStore":
            from llmemo.stores.sqlite import SQLiteStore  # noqa: PLC0415 (see above)

            return SQLiteStore
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)

"""Durable tiers: the contract of a store, and one sub-package or module for each."""

from __future__ import annotations

from llmemo.stores.base import Store, StoreUnavailableError, StoreUnusableError
from llmemo.stores.records import Record, Selection
from llmemo.stores.sqlite import SQLiteStore

__all__ = [
    "Record",
    "SQLiteStore",
    "Selection",
    "Store",
    "StoreUnavailableError",
    "StoreUnusableError",
]

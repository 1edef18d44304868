"""The SQLite store: one file in WAL mode."""

from llmemo.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]

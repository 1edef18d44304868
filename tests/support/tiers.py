"""Tiered stores of two SQLite files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo import SQLiteStore
from llmemo.stores.tiered import TieredStore

if TYPE_CHECKING:
    from pathlib import Path


def tiered(folder: Path) -> TieredStore:
    """A near file and a far one in the same folder."""
    return TieredStore([SQLiteStore(folder / "near.db"), SQLiteStore(folder / "far.db")])

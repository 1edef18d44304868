"""The store that a tool imports into: it is looked at first, and left alone if it is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo.errors import ConfigurationError
from llmemo.exporting.sources import source_of
from llmemo.stores.registry import store_of
from llmemo.stores.sqlite import SQLiteStore
from llmemo.stores.sqlite.path_checks import check_header

if TYPE_CHECKING:
    import os

    from llmemo.exporting.source import Source
    from llmemo.stores.base import Store

WRITABLE = 0o222
"""Bits of a mode: root may write without them, and is not meant to."""


class _KeptFile(SQLiteStore):
    """A file that is not set aside when it is damaged: a person decides."""

    def __init__(self, path: str | os.PathLike[str], **settings: Any) -> None:
        super().__init__(path, **settings)
        self._session.sets_aside = False


def target_of(location: str) -> Store:
    """The store at a path or a URL, to be written to.

    Raises:
        ConfigurationError: There can be none.
    """
    store = store_of(location)
    if not isinstance(store, SQLiteStore):
        return store
    if store.path.exists() and not store.path.stat().st_mode & WRITABLE:
        msg = f"{str(store.path)!r} is read-only: change its mode, or name another file"
        raise ConfigurationError(msg)
    return _KeptFile(store.path)


def source_at(store: Store, location: str) -> Source | None:
    """What reads the store as it is now; None if it is a file that is yet to be made."""
    if isinstance(store, SQLiteStore) and not check_header(store.path):
        return None
    return source_of(location)

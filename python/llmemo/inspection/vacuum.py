"""Giving free pages back to the file system, in steps between which services write."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llmemo.errors import ConfigurationError
from llmemo.inspection.careful_store import CarefulStore
from llmemo.inspection.removal import patiently, run
from llmemo.inspection.sqlite_view import bytes_of
from llmemo.stores.sqlite.path_checks import wal_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.inspection.sqlite_view import SQLiteView


class Sizes(NamedTuple):
    """Bytes of a file."""

    file: int
    wal: int
    free: int
    """Of the file, in pages that hold nothing."""


class Vacuumed(NamedTuple):
    """What came of it."""

    before: Sizes
    after: Sizes
    is_checkpointed: bool
    """Whether the WAL was written back and cut; not if another process was reading from it."""


def vacuum(view: SQLiteView, progress: Callable[[int, int], object]) -> Vacuumed:
    """Give the free pages of a file back, and its WAL, if nothing reads from that.

    Raises:
        StoreError: The file cannot be written.
        ConfigurationError: It was not made by llmemo, and cannot give pages back.
    """
    if not view.can_give_back():
        msg = f"{view.shown!r} was made without auto_vacuum: it cannot give pages back"
        raise ConfigurationError(msg)
    before = _sizes(view)

    async def work(store: CarefulStore) -> bool:
        left = free = await patiently(store.give_back)
        while left:
            progress(free - left, free)
            left = await patiently(store.give_back)
        return await patiently(store.cut_wal)

    is_checkpointed = run(CarefulStore(view.path), work)
    return Vacuumed(before, _sizes(view), is_checkpointed)


def _sizes(view: SQLiteView) -> Sizes:
    return Sizes(bytes_of(view.path), bytes_of(wal_of(view.path)), view.facts()["free_bytes"])

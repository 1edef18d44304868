"""Files that a fork left open, and how to tell one file from another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.stores.base import StoreUnusableError

if TYPE_CHECKING:
    from pathlib import Path


def identity_of(path: Path) -> tuple[int, int] | None:
    """Tells the file of this name from another one that takes its place; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_inherited: set[object] = set()
"""Identities of files that this process has open since a fork, in copies of what another process
uses: SQLite takes its locks for our own (sqlite.org/howtocorrupt.html, 2.6)."""


def inherit(*identities: object) -> None:
    """Note files of these identities as such."""
    _inherited.update(one for one in identities if one is not None)


def check_inherited(path: Path) -> None:
    """Raise if the file is one of those.

    Raises:
        StoreUnusableError: It is.
    """
    if identity_of(path) in _inherited:
        msg = (
            f"{str(path)!r} was open, and could not be closed in time, when this process was"
            " forked: it is not used here, and memory alone serves. Close the cache before forking"
        )
        raise StoreUnusableError(msg)

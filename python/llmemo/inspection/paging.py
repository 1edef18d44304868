"""How much of a store is in memory at a time: whatever its values are, a few MiB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from llmemo.inspection.entries import Entry

BYTES_PER_PAGE = 4 * 2**20
"""Bytes after which a page ends."""

ROWS_PER_PAGE = 256
"""Most rows that are read with their values, for which a file is locked against a checkpoint."""


def page_of(rows: Iterable[Any]) -> list[Any]:
    """The rows of one page, from the first: at least one, if there is any.

    A row that is None is that of an entry that is gone.
    """
    found: list[Any] = []
    size = 0
    for row in rows:
        found.append(row)
        size += sum(len(field) for field in row or () if type(field) is bytes)
        if size > BYTES_PER_PAGE or len(found) == ROWS_PER_PAGE:
            break
    return found


def by_size(entries: Iterable[Entry]) -> Iterator[Sequence[Entry]]:
    """Entries in groups whose values make a page."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        if group and (size + entry.size > BYTES_PER_PAGE or len(group) == ROWS_PER_PAGE):
            yield group
            group, size = [], 0
        group.append(entry)
        size += entry.size
    if group:
        yield group

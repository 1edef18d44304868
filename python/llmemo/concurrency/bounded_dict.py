"""Dicts that remember only what was noted last."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


def note(notes: dict[K, V], key: K, value: V, most: int) -> None:
    """Note something as the last; of more than `most`, the oldest is forgotten."""
    notes.pop(key, None)
    notes[key] = value
    if len(notes) > most:
        # Other threads do the same at the same time.
        with contextlib.suppress(RuntimeError, StopIteration):
            notes.pop(next(iter(notes)), None)

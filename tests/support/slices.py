"""Slices of what takes too long to be tried whole each time: another one each day, all in a soak.

`LLMEMO_DAY=n pytest` takes the slices of another day; a failure says which day it was.
`LLMEMO_SLICE=n pytest` runs one in `n` of each test's parameters.
"""

from __future__ import annotations

import datetime
import os
from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

from support.doubles import ROUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

DAY = int(os.environ.get("LLMEMO_DAY") or datetime.datetime.now(datetime.timezone.utc).toordinal())

SLICE = int(os.environ.get("LLMEMO_SLICE") or 1)


def first(step: int) -> int:
    """Where to begin today, from 1 on, so that every `step`-th makes another slice each day."""
    return 1 + DAY * 61 % step


def some(items: Sequence[T], step: int) -> list[T]:
    """Every `step`-th of them, and others on each of as many days; all of them in a soak."""
    return list(items) if ROUNDS > 1 else list(items[DAY % step :: step])


def of_each(
    items: Sequence[T], key: Callable[[T], object], step: int = SLICE
) -> tuple[list[T], list[T]]:
    """Those to keep and to leave: every `step`-th of those of a key, and at least one of them."""
    counts: dict[object, int] = defaultdict(int)
    for item in items:
        counts[key(item)] += 1
    seen: dict[object, int] = defaultdict(int)
    kept: list[T] = []
    left: list[T] = []
    for item in items:
        one = key(item)
        # Of a few, each has its day too.
        is_taken = seen[one] % step == DAY % min(step, counts[one])
        (kept if is_taken else left).append(item)
        seen[one] += 1
    return kept, left

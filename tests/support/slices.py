"""Slices of what takes too long to be tried whole each time: another one each day, all in a soak.

`LLMEMO_DAY=n pytest` takes the slices of another day; a failure says which day it was.
"""

from __future__ import annotations

import datetime
import os
from typing import TYPE_CHECKING, TypeVar

from support.doubles import ROUNDS

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

DAY = int(os.environ.get("LLMEMO_DAY") or datetime.datetime.now(datetime.timezone.utc).toordinal())


def first(step: int) -> int:
    """Where to begin today, from 1 on, so that every `step`-th makes another slice each day."""
    return 1 + DAY * 61 % step


def some(items: Sequence[T], step: int) -> list[T]:
    """Every `step`-th of them, and others on each of as many days; all of them in a soak."""
    return list(items) if ROUNDS > 1 else list(items[DAY % step :: step])

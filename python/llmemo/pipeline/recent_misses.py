"""The last requests that had no answer, for a report: what nearly hit."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from llmemo.pipeline.looked_up import LookedUp

KEPT = 64
"""Misses that are remembered. Each has texts of 32 Ki characters at most (`LookedUp`)."""


class RecentMisses:
    """The last misses. Each step is atomic under the GIL: no lock that an interrupt could leave."""

    def __init__(self) -> None:
        """Nothing was missed yet."""
        self._misses: deque[LookedUp] = deque(maxlen=KEPT)

    def add(self, miss: LookedUp) -> None:
        """Remember a miss."""
        self._misses.append(miss)

    def forget(self, keys: Collection[bytes] | None = None) -> None:
        """Forget the requests of these keys, or all: their answers are removed on purpose."""
        left = () if keys is None else [miss for miss in self.newest() if miss.key not in keys]
        self._misses = deque(reversed(left), maxlen=KEPT)

    def newest(self) -> list[LookedUp]:
        """The misses, the newest first: of each request its last one."""
        found: dict[bytes, LookedUp] = {}
        for miss in reversed(self._misses.copy()):
            found.setdefault(miss.key, miss)
        return list(found.values())

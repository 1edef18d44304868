"""The last requests that had no answer, for a report: what nearly hit."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

KEPT = 64
"""Misses that are remembered."""

LONGEST = 32 * 2**10
"""Characters of the longest request that is remembered whole: 2 MiB of ASCII in all."""


class RecentMiss(NamedTuple):
    """A request that had no answer."""

    at: float
    """When, as Unix time in seconds."""
    key: bytes
    namespace: str
    name: str
    """What memory would know its model and call by; empty if the request is too long."""
    prompt: str
    """Empty if the request is too long."""
    supplement: bytes | None
    """What its model says beside the texts."""


class RecentMisses:
    """The last misses. Each step is atomic under the GIL: no lock that an interrupt could leave."""

    def __init__(self) -> None:
        """Nothing was missed yet."""
        self._misses: deque[RecentMiss] = deque(maxlen=KEPT)

    def add(self, miss: RecentMiss) -> None:
        """Remember a miss; a long request without its texts."""
        if len(miss.name) + len(miss.prompt) > LONGEST:
            miss = miss._replace(name="", prompt="", supplement=None)
        self._misses.append(miss)

    def forget(self, keys: Collection[bytes] | None = None) -> None:
        """Forget the requests of these keys, or all: their answers are removed on purpose."""
        left = () if keys is None else [miss for miss in self.newest() if miss.key not in keys]
        self._misses = deque(reversed(left), maxlen=KEPT)

    def newest(self) -> list[RecentMiss]:
        """The misses, the newest first: of each request its last one."""
        found: dict[bytes, RecentMiss] = {}
        for miss in reversed(self._misses.copy()):
            found.setdefault(miss.key, miss)
        return list(found.values())

"""The last requests that had no answer, for a report: what nearly hit."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from llmemo.keys.request import Request

KEPT = 64
"""Misses that are remembered. Each has texts of 32 Ki characters at most (`LookedUp`)."""


class Miss(Protocol):
    """A lookup without an answer: a `LookedUp`."""

    @property
    def at(self) -> float:
        """When it ended, as Unix time in seconds."""

    @property
    def namespace(self) -> str:
        """That of its call."""

    @property
    def key(self) -> bytes:
        """That of its request."""

    @property
    def name(self) -> str:
        """The text by which memory knows its model and the call; empty without the request."""

    @property
    def request(self) -> Request:
        """Its request; without texts if these are too long."""

    @property
    def has_texts(self) -> bool:
        """Whether its texts are not too long to be remembered."""


class RecentMisses:
    """The last misses. Each step is atomic under the GIL: no lock that an interrupt could leave."""

    def __init__(self) -> None:
        """Nothing was missed yet."""
        self._misses: deque[Miss] = deque(maxlen=KEPT)

    def add(self, miss: Miss) -> None:
        """Remember a miss."""
        self._misses.append(miss)

    def forget(self, keys: Collection[bytes] | None = None) -> None:
        """Forget the requests of these keys, or all: their answers are removed on purpose."""
        left = () if keys is None else [miss for miss in self.newest() if miss.key not in keys]
        self._misses = deque(reversed(left), maxlen=KEPT)

    def newest(self) -> list[Miss]:
        """The misses, the newest first: of each request its last one."""
        found: dict[bytes, Miss] = {}
        for miss in reversed(self._misses.copy()):
            found.setdefault(miss.key, miss)
        return list(found.values())

"""The caches whose figures are exported: each under a name, and none kept alive."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from llmemo.cache import LLMCache
from llmemo.errors import ConfigurationError
from llmemo.pipeline.health import passing_health
from llmemo.telemetry.health import Health
from llmemo.telemetry.measures import Reading

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator

    from llmemo.pipeline.counting import Counting
    from llmemo.pipeline.tiers import Tiers

LABEL = "cache"
"""Label of the cache's name."""


class Watched:
    """A cache and its name."""

    __slots__ = ("__weakref__", "_cache", "name")

    def __init__(self, cache: LLMCache, name: str) -> None:
        """Keep a weak reference."""
        self.name = name
        self._cache = weakref.ref(cache)

    @property
    def is_there(self) -> bool:
        """Whether it was not dropped."""
        return self._cache() is not None

    @property
    def is_live(self) -> bool:
        """Whether it is there, and not closed."""
        tiers = self._tiers()
        return tiers is not None and not tiers.is_closed

    def is_of(self, cache: LLMCache) -> bool:
        """Whether it is this one."""
        return self._cache() is cache

    def reading(self) -> Reading | None:
        """Its figures, also once it is closed; None if it is gone. Waits for nothing."""
        tiers = self._tiers()
        if tiers is None:
            return None
        has_store = tiers.durable is not None and not tiers.is_closed
        return Reading(tiers.stats(), passing_health(tiers), has_store)

    def _tiers(self) -> Tiers | None:
        cache = self._cache()
        return None if cache is None else cache._tiers  # noqa: SLF001 (the same package)


class WatchedCaches:
    """Caches by name. A closed or dropped one gives its name back."""

    def __init__(self, gone: deque[tuple[Watched, Reading]] | None = None) -> None:
        """Watch none yet. `gone`: gets the last figures of each cache that is dropped."""
        self._by_name: dict[str, Watched] = {}
        self._gone = gone

    def __iter__(self) -> Iterator[Watched]:
        """All of them, in any state."""
        return iter(list(self._by_name.values()))

    def readings(self) -> list[tuple[str, Reading]]:
        """The figures of each cache that is there and open."""
        return [
            (watched.name, reading)
            for watched in self
            if watched.is_live and (reading := watched.reading()) is not None
        ]

    def add(self, cache: LLMCache, name: str) -> None:
        """Watch a cache under a name. Once more under the same name has no effect.

        Raises:
            ConfigurationError: It is no `LLMCache`, or a closed one; the name is no text, or
                another open cache has it; the cache is here under another name.
        """
        if not isinstance(cache, LLMCache):
            msg = (
                f"cache={cache!r} of type {type(cache).__name__} cannot be measured: give an"
                " LLMCache (LangGraphCache and cached_embeddings take one as their store)"
            )
            raise ConfigurationError(msg)
        if not isinstance(name, str) or not name:
            msg = f"name={name!r} is not allowed: give a text that is not empty"
            raise ConfigurationError(msg)
        if cache._tiers.is_closed:  # noqa: SLF001 (the same package)
            msg = f"cache={cache!r} is closed and has nothing to measure: give an open one"
            raise ConfigurationError(msg)
        own = next((each.name for each in self if each.is_of(cache)), name)
        if own != name:
            msg = (
                f"name={name!r} is not allowed: this cache is measured as {own!r} already, and sums"
                " over all caches would count it twice. Leave one of the two names out"
            )
            raise ConfigurationError(msg)
        other = self._by_name.get(name)
        if other is not None and other.is_of(cache):
            return
        if other is not None and other.is_live:
            msg = f"name={name!r} is another cache's: give each cache a name of its own"
            raise ConfigurationError(msg)
        watched = Watched(cache, name)
        there = {each.name: each for each in self if each.is_there}
        self._by_name = {**there, name: watched}
        if self._gone is not None:
            # Nothing that leads to the cache: it could never go then.
            counting = cache._tiers.counting  # noqa: SLF001 (the same package)
            weakref.finalize(cache, _ended, self._gone, watched, counting).atexit = False


def _ended(gone: deque[tuple[Watched, Reading]], watched: Watched, counting: Counting) -> None:
    """Keep a cache's last figures. A finalizer: it may come anywhere, so it takes no lock."""
    closed = Health("degraded", "the cache is gone", 0.0)
    gone.append((watched, Reading(counting.last_stats(), closed, has_store=False)))

"""What a report says, gathered from a cache."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmemo._core import __version__
from llmemo.pipeline.health import known_health
from llmemo.report import formats
from llmemo.report.namespaces import in_memory, in_store
from llmemo.report.near_hits import near_hits
from llmemo.report.settings_in_force import settings_in_force
from llmemo.report.time_series import series_of

if TYPE_CHECKING:
    from llmemo.pipeline.tiers import Tiers
    from llmemo.report.namespaces import Namespaces
    from llmemo.report.near_hits import NearHits
    from llmemo.report.time_series import Series
    from llmemo.telemetry.stats import CacheStats


LATEST = 2.0**37
"""Later times are no dates: the year 6325, as Unix time in seconds."""


@dataclass(frozen=True)
class Contents:
    """All that a page shows."""

    stats: CacheStats
    series: Series
    near_hits: NearHits
    in_memory: Namespaces
    in_store: Namespaces | None
    store_trouble: str
    """Why the namespaces of the store are not known."""
    settings: list[tuple[str, str]]
    has_store: bool
    has_prices: bool
    has_texts: bool
    """Whether it may show texts of prompts."""
    trouble: str
    """What is wrong with the cache now; empty if nothing is."""
    now: float
    """Unix time in seconds, by the clock of the cache."""
    version: str
    host: str
    process: int


def contents_of(tiers: Tiers, *, texts: bool) -> Contents:
    """Gather what there is to say. Asks the store, and blocks for some seconds at most."""
    now = _now(tiers)
    of_store, trouble = in_store(tiers) if tiers.durable is not None else (None, "")
    near = near_hits(tiers, texts=texts)
    return Contents(
        series=series_of(tiers.memory, tiers.tally, now),
        stats=tiers.stats(),
        near_hits=near,
        in_memory=in_memory(tiers),
        in_store=of_store,
        store_trouble=trouble,
        settings=settings_in_force(tiers),
        has_store=tiers.durable is not None,
        has_prices=bool(tiers.settings.prices),
        has_texts=texts,
        trouble=_trouble(tiers),
        now=now,
        version=__version__,
        host=platform.node(),
        process=os.getpid(),
    )


def _now(tiers: Tiers) -> float:
    """The time of the cache; the system's, if its clock tells none that a calendar has."""
    now = tiers.clock()
    return now if 0 <= now < LATEST else time.time()


def _trouble(tiers: Tiers) -> str:
    health = known_health(tiers)
    if health.status == "ok":
        return ""
    status = "Memory only" if health.status == "memory_only" else "Degraded"
    return f"{status} for {formats.duration(health.since)}: {health.reason}"

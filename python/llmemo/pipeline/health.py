"""How a cache is: read from what its calls have met, and from one question to an idle store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llmemo.telemetry.health import Health, Status

if TYPE_CHECKING:
    from llmemo.pipeline.tiers import Tiers


def health(tiers: Tiers) -> Health:
    """The health of a cache, within 50 ms. Asks a store that seems well, and waits a moment."""
    known = known_health(tiers)
    durable = tiers.durable
    if durable is None or not durable.health.check.begin() or known.status != "ok":
        return known
    durable.health.check.wait()
    return known_health(tiers)


async def ahealth(tiers: Tiers) -> Health:
    """As `health`, without holding up the event loop."""
    known = known_health(tiers)
    durable = tiers.durable
    if durable is None or not durable.health.check.begin() or known.status != "ok":
        return known
    await durable.health.check.wait_async()
    return known_health(tiers)


def passing_health(tiers: Tiers) -> Health:
    """What is known, at once. A store that is open is asked: the next call has the answer."""
    durable = None if tiers.is_closed else tiers.durable
    if durable is not None and durable.executor.is_running:
        durable.health.check.begin()
    return known_health(tiers)


def known_health(tiers: Tiers) -> Health:
    """What is known now. Waits for nothing."""
    now = time.monotonic()
    if tiers.is_closed:
        return Health("degraded", "the cache is closed", max(0.0, now - tiers.closed_at))
    if tiers.durable is None:
        return Health("ok", None, now - tiers.made_at)
    unusable = tiers.tally.store_trouble.state
    troubles = tiers.durable.health.troubles()
    status: Status = "ok"
    if unusable[0] is not None:
        status, present = "memory_only", [unusable]
    else:
        present = [one for one in troubles if one[0] is not None]
    if present:
        status = "degraded" if status == "ok" else status
        since = min(start for _, start in present)
        # The same error may show in several places.
        reasons = dict.fromkeys(str(reason) for reason, _ in present)
        return Health(status, "; ".join(reasons), max(0.0, now - since))
    since = max([tiers.made_at, unusable[1], *(end for _, end in troubles)])
    return Health(status, None, max(0.0, now - since))

"""Why a lookup had the outcome that its event tells: as of then, not as of now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llmemo._core import RequestBypassed
from llmemo.explain.explain import Subject, bypassed, explain_request
from llmemo.keys.identity import REMEDIES
from llmemo.keys.memory_name import parsed_name
from llmemo.telemetry.explanation import Explanation

if TYPE_CHECKING:
    from llmemo.pipeline.looked_up import LookedUp
    from llmemo.pipeline.tiers import Tiers
    from llmemo.telemetry.tracking import LookupEvent

SOURCES = {
    "memory": "in memory",
    "store": "in the store",
    "flight": "from another caller, who asked the model at the same time",
}
"""Where a hit came from."""

WHY_REFRESHED = {
    "early": "its answer was about to expire, and this caller refreshes it (early_refresh)",
    "refresh": 'a fresh answer was wanted: options(mode="refresh"), or a retry of a chain',
    "closed": "the cache was closed",
}
"""By the reason of a miss that did not look for an answer."""

WHY_BYPASSED = {
    "requested": 'options(mode="bypass") was in force',
    "stream": (
        "LangChain asks no cache for a stream: use cached(model) or accelerate(streams=True)"
    ),
}


def explain_lookup(tiers: Tiers, looked_up: LookedUp, event: LookupEvent) -> Explanation:
    """Explain a lookup by its event. Counts nothing, and waits for the store.

    Raises:
        CacheClosedError: The cache was closed meanwhile.
    """
    if event.outcome == "hit":
        late = ", past its time to live, since the model failed" if event.is_stale else ""
        where = SOURCES.get(event.tier or "", "in the cache")
        return Explanation("hit", f"{where}{_age(event)}{late}", event.key)
    if event.outcome == "semantic":
        near = f"nearest {event.score or 0:.2f}: served ({event.neighbour!r})"
        reason = f"the answer to a similar question was served{_age(event)}"
        return Explanation("semantic", reason, event.key, semantic=(near,))
    if event.outcome == "bypass":
        return _bypass(looked_up, event)
    if event.reason in WHY_REFRESHED or not looked_up.key:
        reason = WHY_REFRESHED.get(event.reason or "", "no answer was looked for")
        return Explanation("miss", reason, event.key)
    return _miss(tiers, looked_up, event)


def _bypass(looked_up: LookedUp, event: LookupEvent) -> Explanation:
    reason = event.reason or ""
    if reason in REMEDIES:
        return bypassed(RequestBypassed(reason, looked_up.parameter))
    return Explanation("bypass", WHY_BYPASSED.get(reason, reason))


def _miss(tiers: Tiers, looked_up: LookedUp, event: LookupEvent) -> Explanation:
    subject = Subject(
        looked_up.request,
        looked_up.namespace or "",
        looked_up.key,
        parsed_name(looked_up.name).schemas,
        looked_up.at,
    )
    explanation = explain_request(tiers, subject)
    if looked_up.expired is not None:
        reason = f"its answer had expired {looked_up.expired:.3g} s before"
        explanation = replace(explanation, reason=reason)
    if event.score is not None:
        near = f"nearest {event.score:.2f}: not served ({event.neighbour!r})"
        explanation = replace(explanation, semantic=(near,))
    return explanation


def _age(event: LookupEvent) -> str:
    return "" if event.age is None else f", made {event.age:.3g} s before"

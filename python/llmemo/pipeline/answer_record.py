"""The record of an answer in a store: what it holds, when it was made and when it expires."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING

from llmemo.stores import Record

if TYPE_CHECKING:
    from llmemo.config.options import Options
    from llmemo.config.settings import Settings
    from llmemo.keys.identity import Identity
    from llmemo.pipeline.tiers import Tiers
    from llmemo.single_flight.lease import Lease
    from llmemo.stores.records import StoredQuestion

EARLIEST = 0.1
"""Largest fraction of a TTL before its end at which XFetch refreshes on average, however slow the
model is."""


def record_of(
    tiers: Tiers,
    request: tuple[str, str, str],
    identity: Identity,
    value: bytes,
    times: tuple[float, float | None],
    *,
    question: StoredQuestion | None = None,
) -> Record:
    """The record of an answer in a store.

    Args:
        tiers: For the label of the namespace, and for encryption.
        request: Namespace, llm_string and prompt.
        identity: As `describe` returns it.
        value: The answer in the value format.
        times: When it was made, and when it expires, as Unix times in seconds.
        question: What a semantic tier keeps with it.
    """
    namespace, llm_string, prompt = request
    key = identity.key
    return Record(
        key,
        tiers.envelope.seal(value, key),
        tiers.label(namespace),
        identity.label,
        *times,
        identity.outline,
        _request(tiers, prompt, llm_string, namespace, key),
        question,
    )


def times(
    settings: Settings, options: Options, namespace: str, now: float, lease: Lease | None
) -> tuple[float | None, float]:
    """When the answer expires, and XFetch's scale of how long before it may be refreshed."""
    ttl = settings.ttl_of(options, namespace)
    if ttl is None:
        return None, 0.0
    early = 0.0
    if lease is not None:
        took = time.monotonic() - lease.granted
        early = min(settings.early_refresh * took, EARLIEST * ttl)
    return now + ttl * (1 - settings.ttl_jitter * random.random()), early  # noqa: S311 (no secret)


def _request(
    tiers: Tiers, prompt: str, llm_string: str, namespace: str, key: bytes
) -> bytes | None:
    """The request, for a store that keeps requests: in plaintext, unless answers are encrypted."""
    if tiers.store is None or not tiers.store.store_requests:
        return None
    request = json.dumps([namespace, llm_string, prompt]).encode()
    return tiers.envelope.seal_request(request, key)

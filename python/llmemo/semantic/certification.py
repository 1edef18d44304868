"""The certificate of a cache, shared by all processes that use its store."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

from llmemo.semantic.certificate import Certificate
from llmemo.semantic.certificate_bytes import amended, dumps, loads

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.semantic.certificate import Verdict
    from llmemo.semantic.rule import Rule
    from llmemo.store_io.client import MakeCall, StoreClient
    from llmemo.store_io.time_budget import TimeBudget

PAUSE = 0.25
"""Seconds between two looks at the verdicts of other processes."""


class Certification:
    """Takes verdicts, and knows what they certify. Any thread may call."""

    def __init__(self, rule: Rule, name: bytes, durable: StoreClient | None) -> None:
        """Begin with no verdicts. `name`: of the certificate in the store."""
        self._rule = rule
        self._name = name
        has_vectors = durable is not None and durable.store.vectors is not None
        self._durable = durable if has_vectors else None
        self._looked = -PAUSE
        self.certificate = Certificate.fresh(rule)
        """As far as it is known here."""

    async def refresh(self, make_call: MakeCall, budget: TimeBudget | None) -> None:
        """Learn what other processes have found out, if the last look is a while ago."""
        now = time.monotonic()
        if self._durable is None or budget is None or now - self._looked < PAUSE:
            return
        self._looked = now
        known = await self._durable.state(self._name, make_call, budget)
        if known is not None:
            self._took(known.state)

    def add(self, verdict: Verdict) -> None:
        """Count a verdict: here at once, and in the store when it is written."""
        # Of two threads that do this at once one verdict may be lost here, which costs a check.
        self.certificate = self.certificate.after([verdict])
        self._amend(functools.partial(amended, self._rule, verdicts=[verdict]))

    def replace(self, certificate: Certificate) -> None:
        """Begin with another certificate, in all processes."""
        self.certificate = certificate
        dumped = dumps(certificate)
        self._amend(lambda _: dumped)

    def _amend(self, change: Callable[[bytes | None], bytes]) -> None:
        if self._durable is not None:
            self._durable.amend_soon(self._name, change, self._took)

    def _took(self, stored: bytes | None) -> None:
        if stored is not None:
            self.certificate = loads(self._rule, stored)

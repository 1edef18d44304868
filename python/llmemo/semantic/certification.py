"""The certificate of a cache, shared by all processes that use its store."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections import deque
from typing import TYPE_CHECKING

from llmemo._core import ValueDamaged
from llmemo.semantic.certificate import Certificate
from llmemo.semantic.certificate_bytes import dumps, loads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmemo.codec.envelope import Envelope
    from llmemo.semantic.certificate import Verdict
    from llmemo.semantic.rule import Rule
    from llmemo.store_io.client import MakeCall, StoreClient
    from llmemo.store_io.time_budget import TimeBudget

PAUSE = 0.25
"""Seconds between two looks at the verdicts of other processes."""

UNSAVED_MAX = 1_000
"""Verdicts that are kept for a store that does not take them."""


class Certification:
    """Takes verdicts, and knows what they certify. Any thread may call."""

    def __init__(
        self, rule: Rule, name: bytes, durable: StoreClient | None, envelope: Envelope
    ) -> None:
        """Begin with no verdicts. `name`: of the certificate in the store."""
        self._rule = rule
        self._envelope = envelope
        self._name = name
        has_vectors = durable is not None and durable.store.vectors is not None
        self._durable = durable if has_vectors else None
        self._looked = -PAUSE
        self._on_their_way: dict[object, None] = {}
        """Changes that the store has yet to confirm."""
        self._unsaved: deque[Verdict] = deque(maxlen=UNSAVED_MAX)
        self._seen: bytes | None = None
        """What the store had when it was last looked at."""
        self.certificate = Certificate.fresh(rule)
        """As far as it is known here."""

    async def refresh(self, make_call: MakeCall, budget: TimeBudget | None) -> None:
        """Learn what other processes have found out, if the last look is a while ago."""
        now = time.monotonic()
        if self._durable is None or budget is None or now - self._looked < PAUSE:
            return
        self._looked = now
        known = await self._durable.state(self._name, make_call, budget)
        if known is None or self._on_their_way or known.state in (None, self._seen):
            return
        self._seen = known.state
        with contextlib.suppress(ValueDamaged):
            # It knows nothing of the verdicts that it has not taken: they may speak against it.
            found = self._opened(known.state).after(list(self._unsaved))
            if found.epoch >= self.certificate.epoch:
                self.certificate = found

    def add(self, verdict: Verdict) -> None:
        """Count a verdict: here at once, and in the store when it is written."""
        # Of two threads that do this at once one verdict may be lost here, which costs a check.
        self.certificate = self.certificate.after([verdict])
        verdicts = [*self._taken(), verdict]
        self._amend(lambda stored: stored.after(verdicts), verdicts)

    def replace(self, certificate: Certificate) -> None:
        """Begin with another certificate, in all processes. Verdicts on the way count no more."""

        def after(before: Certificate) -> Certificate:
            return dataclasses.replace(certificate, epoch=before.epoch + 1)

        self._unsaved.clear()
        self.certificate = after(self.certificate)
        self._amend(after, ())

    def _amend(
        self, change: Callable[[Certificate], Certificate], verdicts: Sequence[Verdict]
    ) -> None:
        if self._durable is not None:
            token = object()
            self._on_their_way[token] = None
            when_done = functools.partial(self._amended, token, verdicts)
            changed = functools.partial(self._changed, change)
            self._durable.amend_soon(self._name, changed, when_done)

    def _changed(
        self, change: Callable[[Certificate], Certificate], stored: bytes | None
    ) -> bytes | None:
        """What is to be stored. On a thread of the store."""
        try:
            before = self._opened(stored)
        except ValueDamaged:
            return stored
        return self._envelope.seal_state(dumps(change(before)), self._name)

    def _opened(self, stored: bytes | None) -> Certificate:
        """The certificate that is stored; a fresh one where it cannot be trusted.

        Raises:
            ValueDamaged: Processes with an encryption key share it, and this one has none.
        """
        try:
            state = None if stored is None else self._envelope.open_state(stored, self._name)
        except ValueDamaged:
            if not self._envelope.is_encrypting:
                raise
            state = None
        return loads(self._rule, state)

    def _amended(self, token: object, verdicts: Sequence[Verdict], stored: bytes | None) -> None:
        self._on_their_way.pop(token, None)
        if stored is None:
            # Read-only, or full: it gets them with the next verdict.
            self._unsaved.extend(verdicts)
        elif not self._on_their_way and not self._unsaved:
            self._seen = stored
            with contextlib.suppress(ValueDamaged):
                self.certificate = self._opened(stored)

    def _taken(self) -> list[Verdict]:
        """The verdicts that the store has not taken, each for one caller only."""
        taken = []
        while self._unsaved:
            try:
                taken.append(self._unsaved.popleft())
            except IndexError:  # another thread took it
                break
        return taken

"""Streams that go past the cache: LangChain asks none for them. Their runs tell of them."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from llmemo.concurrency.interrupts import is_interrupt
from llmemo.config.options import DEFAULT, in_force
from llmemo.keys.request import Request
from llmemo.pipeline.announce import announce
from llmemo.pipeline.failures import SURVIVED, count_defect
from llmemo.pipeline.looked_up import LookedUp
from llmemo.telemetry.tracking import LookupEvent

if TYPE_CHECKING:
    from llmemo.pipeline.tiers import Tiers


def count_stream(tiers: Tiers) -> None:
    """Count a stream that has begun without a lookup. Raises only what a signal handler raises."""
    try:
        if tiers.is_closed:
            return
        tiers.tally.add("bypasses")
        options = in_force() or DEFAULT
        if options.mode == "bypass":
            reason = "requested"
            tiers.bypass_requested()
        else:
            reason = "stream"
            # It is how LangChain streams, and no trouble: nothing is logged.
            tiers.tally.count("bypassed", reason)
        event = LookupEvent("bypass", reason=reason, explainer=_looked_up(tiers))
        announce(tiers, options, event)
    except SURVIVED as error:
        if is_interrupt(error):
            raise
        count_defect(tiers, error)


def _looked_up(tiers: Tiers) -> LookedUp:
    """For the explanation of its event: nothing was looked up, so no request is known."""
    return LookedUp(
        weakref.ref(tiers),
        Request("", ""),
        at=tiers.clock(),
        namespace="",
        key=b"",
        name="",
        expired=None,
        parameter=None,
    )

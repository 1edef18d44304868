"""Questions to a store, which may be slow or away: a report does without the answer then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.errors import text_of
from llmemo.store_io.calls import Call, run_inline

if TYPE_CHECKING:
    from llmemo.pipeline.tiers import Tiers
    from llmemo.store_io.operations import Operation

TIMEOUT = 3.0
"""Longest time to wait for an answer, in seconds."""


def ask(tiers: Tiers, operation: Operation) -> tuple[Any, str]:
    """The store's answer, or None and what its trouble is. Blocks the thread."""
    if tiers.executor is None:
        return None, "this cache has no store"
    call: Call[Any] = Call.blocking(operation)
    try:
        tiers.executor.submit(call)
        return run_inline(call.wait(TIMEOUT)), ""
    except NotYetError:
        return None, f"the store did not answer within {TIMEOUT:.0f} s"
    except Exception as error:  # a store may fail in any way
        if is_interrupt(error):
            raise
        return None, f"the store failed to read: {text_of(error)}"

"""Questions to a store, which may be slow or away: one does without the answer then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.errors import text_of
from llmemo.store_io.calls import Call, run_inline

if TYPE_CHECKING:
    from llmemo.pipeline.tiers import Tiers
    from llmemo.store_io.operations import Operation


def ask(tiers: Tiers, operation: Operation, timeout: float) -> tuple[Any, str]:
    """The store's answer, or None and what its trouble is, if there is a store. Blocks the thread.

    Args:
        tiers: Of the cache.
        operation: What to ask.
        timeout: Longest time to wait, in seconds.
    """
    if tiers.executor is None:
        return None, ""
    call: Call[Any] = Call.blocking(operation)
    try:
        tiers.executor.submit(call)
        return run_inline(call.wait(timeout)), ""
    except NotYetError:
        return None, f"the store did not answer within {timeout:.0f} s"
    except Exception as error:  # a store may fail in any way
        if is_interrupt(error):
            raise
        return None, f"the store failed to read: {text_of(error)}"

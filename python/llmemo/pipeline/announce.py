"""Who is told what became of a lookup: trackers, the user's `on_event`, the tracers of the run."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from typing import TYPE_CHECKING

from llmemo._core import PanicException
from llmemo.concurrency.interrupts import is_interrupt

if TYPE_CHECKING:
    from llmemo.config.options import Options
    from llmemo.langchain.traced_runs import TracedRun
    from llmemo.pipeline.tiers import Tiers
    from llmemo.telemetry.tracking import LookupEvent


def announce(
    tiers: Tiers, options: Options, event: LookupEvent, traced: TracedRun | None = None
) -> None:
    """Tell all who want to know of a lookup. `traced`: its run, if that is traced.

    Raises only what a signal handler raises.
    """
    for tracker in options.trackers:
        tracker.events.append(event)
    if traced is not None:
        traced.tell(event, tiers.tally)
    on_event = tiers.settings.on_event
    if on_event is None:
        return
    try:
        returned: object = on_event(event)
        if returned is not None and _discarded(returned):
            text = "llmemo: on_event has returned an awaitable, which nothing awaits (%s)"
            tiers.tally.note("errors", "on_event", text, type(returned).__name__)
    except (Exception, PanicException) as error:
        if is_interrupt(error):
            raise
        # The type only: a message of unknown origin may quote a prompt.
        text = "llmemo: on_event has raised an error (%s)"
        tiers.tally.note("errors", "on_event", text, type(error).__name__)


def _discarded(returned: object) -> bool:
    """Whether it is an awaitable that would never run. A future or a task runs by itself."""
    if not inspect.isawaitable(returned) or asyncio.isfuture(returned):
        return False
    if isinstance(returned, Coroutine):
        # Unclosed, Python would warn that it was never awaited.
        returned.close()
    return True

"""Who is told what became of a lookup: trackers, the user's `on_event`, the tracers of the run."""

from __future__ import annotations

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
        on_event(event)
    except (Exception, PanicException) as error:
        if is_interrupt(error):
            raise
        # The type only: a message of unknown origin may quote a prompt.
        text = "llmemo: on_event has raised an error (%s)"
        tiers.tally.note("errors", "on_event", text, type(error).__name__)

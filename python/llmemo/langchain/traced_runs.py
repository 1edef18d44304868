"""The runs that a cache is asked from, as tracers keep them: they are told of hits and misses.

LangChain's frame has the run's manager, and that has the handlers. Most runs have none that traces:
their hits never come here, see `quiet`.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

from llmemo.concurrency.interrupts import is_interrupt
from llmemo.langchain.trace_marks import tracing_of
from llmemo.langchain.unbilled import Unbilled
from llmemo.telemetry.event_facts import is_answered

if TYPE_CHECKING:
    from llmemo.langchain.trace_marks import Tracing
    from llmemo.telemetry.stats import Tally
    from llmemo.telemetry.tracking import LookupEvent

quiet: set[type] = set()
"""Types of handlers that trace nothing, of modules. `Memory.recall` answers at once if a run has no
other."""

QUIET_MAX = 256
"""Types in `quiet`: a module may get another class of the same name again and again."""

UNTOLD = "llmemo: a tracer could not be told of a lookup (%s: %s)"


class TracedRun:
    """A run that is traced."""

    __slots__ = ("_manager", "_tracers")

    def __init__(self, manager: Any, tracers: list[tuple[Any, Tracing]]) -> None:
        """`manager`: the run's; `tracers`: those among its handlers."""
        self._manager = manager
        self._tracers = tracers

    def tell(self, event: LookupEvent, tally: Tally) -> None:
        """Tell the tracers what became of the run's lookup. Never raises."""
        for tracer, tracing in self._tracers:
            try:
                tracing.mark(tracer, self._manager.run_id, event)
            except Exception as error:  # noqa: BLE001 (it may be another version, or closed)
                _note(tally, tracer, error)
        try:
            self._bill(tally, is_hit=is_answered(event))
        except Exception as error:  # noqa: BLE001 (the manager may be of another version)
            _note(tally, self._manager, error)

    def _bill(self, tally: Tally, *, is_hit: bool) -> None:
        """Have the tracers be told the usage of the answer, or that there is none."""
        usages = {id(tracer): tracing.usage for tracer, tracing in self._tracers if is_hit}
        handlers = []
        for handler in map(_own, self._manager.handlers):
            usage = usages.get(id(handler))
            if usage is not None:
                handler = Unbilled(handler, usage, functools.partial(_note, tally, handler))  # noqa: PLW2901
            handlers.append(handler)
        # Another list: other runs of the same call may have this one.
        self._manager.handlers = handlers


def traced_run(manager: Any) -> TracedRun | None:
    """The run of this manager, if it is traced. Never raises.

    Args:
        manager: A `CallbackManagerForLLMRun`, or its async twin; None if there is no run.
    """
    if manager is None:
        return None
    try:
        found = [(_own(handler), _tracing(type(_own(handler)))) for handler in manager.handlers]
        tracers = [(tracer, tracing) for tracer, tracing in found if tracing is not None]
    except Exception as error:
        if is_interrupt(error):
            raise
        return None
    return TracedRun(manager, tracers) if tracers else None


def _own(handler: Any) -> Any:
    return handler.handler if type(handler) is Unbilled else handler


def _tracing(cls: type) -> Tracing | None:
    if cls in quiet:
        return None
    tracing = tracing_of(cls)
    if tracing is None and len(quiet) < QUIET_MAX and _is_lasting(cls):
        quiet.add(cls)
    return tracing


def _is_lasting(cls: type) -> bool:
    """Whether its module holds the class: it may be kept for ever.

    One that a function makes for each request is not: it would hold what its methods close over.
    """
    module: object = cls.__module__
    found = sys.modules.get(module) if isinstance(module, str) else None
    return found is not None and vars(found).get(cls.__qualname__) is cls


def _note(tally: Tally, tracer: object, error: Exception) -> None:
    """Count a tracer that could not be told.

    Raises:
        Exception: It is a signal handler's.
    """
    if is_interrupt(error):
        raise error
    # The types only: a message of unknown origin may quote a prompt.
    tally.note("errors", "trace", UNTOLD, type(tracer).__name__, type(error).__name__)

"""How each kind of tracer is told what became of a lookup.

A tracer keeps something for each run that is under way: a `Run` of LangChain's, or a span. That is
sent when the run ends, so what is added to it before is sent with it. The classes are known by
their names, and no tracer is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo.telemetry.event_facts import facts_of, is_answered, tags_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    from llmemo.telemetry.tracking import LookupEvent

Mark = "Callable[[Any, UUID, LookupEvent], None]"

NO_TOKENS = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
"""The usage of an answer that no model was asked for. Without any, servers count tokens by the
text."""

NO_COST = {**NO_TOKENS, "input_cost": 0, "output_cost": 0, "total_cost": 0}
"""The same for LangSmith, which also takes costs from there."""


class Tracing(NamedTuple):
    """How a kind of tracer is told of a lookup."""

    mark: Callable[[Any, UUID, LookupEvent], None]
    """Adds to what the tracer keeps of the run of this id. May raise anything."""
    usage: Mapping[str, int] | None = None
    """The usage that it is told for a hit, if a server would count the answer's own."""


def _mark_run(tracer: Any, run_id: UUID, event: LookupEvent) -> None:
    """Any tracer of LangChain's: tags and metadata of its `Run`."""
    run = tracer.run_map.get(str(run_id))
    if run is None:
        return
    run.tags = [tag for tag in run.tags or () if not tag.startswith("llmemo:")] + tags_of(event)
    # A copy: the runs of a chain share theirs.
    before = (run.extra.get("metadata") or {}).items()
    kept = {name: value for name, value in before if not name.startswith("llmemo_")}
    run.extra["metadata"] = {**kept, **_metadata(event)}


def _mark_openinference(tracer: Any, run_id: UUID, event: LookupEvent) -> None:
    _mark_run(tracer, run_id, event)
    _mark_span(tracer.get_span(run_id), event)


def _mark_openllmetry(tracer: Any, run_id: UUID, event: LookupEvent) -> None:
    holder = tracer.spans.get(run_id)
    _mark_span(None if holder is None else holder.span, event)


def _mark_langfuse(tracer: Any, run_id: UUID, event: LookupEvent) -> None:
    # `runs` in the first releases of version 3.
    runs = tracer._runs if hasattr(tracer, "_runs") else tracer.runs  # noqa: SLF001 (there is no other way)
    generation = runs.get(run_id)
    if generation is None:
        return
    # A cost that it is given goes before one that the server would compute.
    cost = {"cost_details": {"total": 0}} if is_answered(event) else {}
    generation.update(metadata=_metadata(event), **cost)


def _mark_span(span: Any, event: LookupEvent) -> None:
    if span is not None:
        for name, fact in facts_of(event).items():
            span.set_attribute(f"llmemo.{name}", fact)


def _metadata(event: LookupEvent) -> dict[str, object]:
    return {f"llmemo_{name}": fact for name, fact in facts_of(event).items()}


TRACERS = {
    ("langchain_core.tracers.core", "_TracerCore"): Tracing(_mark_run),
    ("langchain_core.tracers.langchain", "LangChainTracer"): Tracing(_mark_run, NO_COST),
    ("langfuse.langchain.CallbackHandler", "LangchainCallbackHandler"): Tracing(
        _mark_langfuse, NO_TOKENS
    ),
    ("openinference.instrumentation.langchain._tracer", "OpenInferenceTracer"): Tracing(
        _mark_openinference, NO_TOKENS
    ),
    ("opentelemetry.instrumentation.langchain.callback_handler", "TraceloopCallbackHandler"): (
        Tracing(_mark_openllmetry, NO_TOKENS)
    ),
}
"""By module and name of the class. The most special one of a tracer's classes counts. Only those
that send usage to a server have it changed: the others may show it to the user."""


def tracing_of(cls: type) -> Tracing | None:
    """How a handler of this class is told of a lookup; None if it traces nothing."""
    for base in cls.__mro__:
        tracing = TRACERS.get((base.__module__, base.__name__))
        if tracing is not None:
            return tracing
    return None

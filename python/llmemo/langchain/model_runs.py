"""The model runs that are open around a request, as LangChain tells its callbacks of them.

An inline handler keeps, for each run, its invocation parameters (`class_schemas` wants the classes
among them) and whether it goes on: a lease that a run stands behind ends with the run's failure
(`single_flight`). Within one run a model may call another, so they are a stack.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.callbacks import BaseCallbackHandler
from typing_extensions import override

from llmemo._core import Insisting
from llmemo.concurrency.bounded_dict import note
from llmemo.config.options import current
from llmemo.errors import CacheMiss
from llmemo.langchain import chains
from llmemo.langchain.only_mode import refuse_chat, refuse_completion
from llmemo.langchain.request_errors import refuses_request
from llmemo.langchain.uncached_streams import watch_stream
from llmemo.langchain.when_imported import when_imported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult


class Dependent(Protocol):
    """What ends with a run's failure: a lease."""

    def run_began(self, run: Run) -> None:
        """A run stands behind it from now on; it has to keep the run alive."""

    def run_ended(self, *, failed: bool) -> None:
        """One of its runs has ended, in whatever task or thread."""

    def end(self, *, failed: bool) -> None:
        """It is let go. Without effect the second time."""


class Run:
    """One run of a model."""

    __slots__ = ("__weakref__", "_dependents", "ended", "parameters", "was_refused")

    def __init__(self, parameters: Mapping[str, Any] | None) -> None:
        """Begin it. `parameters`: the model's, for this call, if LangChain tells them."""
        self.parameters = parameters
        self.ended = math.inf
        """When it ended (monotonic seconds); infinity as long as it has not."""
        self.was_refused = False
        """Whether it has failed because of what was asked, and not on the way."""
        # Weak, so that a dependent without a holder goes at once.
        self._dependents: list[weakref.ref[Dependent]] = []

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.ended == math.inf

    def stand_behind(self, dependent: Dependent) -> None:
        """Tell it how the run ends."""
        self._dependents.append(weakref.ref(dependent))
        dependent.run_began(self)

    def end(self, error: BaseException | None = None) -> None:
        """End it, for every context that knows it. `error`: what it has failed with."""
        failed = error is not None and not isinstance(
            error, (asyncio.CancelledError, GeneratorExit)
        )
        self.was_refused = self.was_refused or (error is not None and refuses_request(error))
        self.ended = min(self.ended, time.monotonic())
        # A context may know it for long after.
        self.parameters = None
        # A second call has no effect.
        for dependent in self.dependents():
            dependent.run_ended(failed=failed)

    def dependents(self) -> list[Dependent]:
        """What it stands behind now."""
        found = [reference() for reference in tuple(self._dependents)]
        return [each for each in found if each is not None]


_runs: ContextVar[tuple[Run, ...]] = ContextVar("llmemo_runs", default=())
"""Runs that were begun in this context, the innermost last. Some may have ended since: callbacks of
async runs end in a task of their own, so no end takes one out."""

OPEN_MAX = 1024
"""Runs known by their ids. Beyond it the oldest is forgotten: its end may never be reported."""

observers: list[Callable[[Run], object]] = []
"""Called with each run that begins, in its context."""


class Guard(Protocol):
    """What may refuse runs before they begin, by raising `CacheMiss`."""

    def chat(self) -> None:
        """A chat model's run is to begin."""

    def completion(self, prompts: Sequence[str]) -> None:
        """A completion model's run is to begin, for prompts without an answer."""


guards: list[Guard] = []
"""Asked before each run: a test that replays a cassette has one."""

_by_id: dict[object, Run] = {}
"""Async completion models begin runs in tasks of their own, and end them elsewhere."""


def open_runs() -> tuple[Run, ...]:
    """The runs that are open in this context, the innermost last."""
    runs = _runs.get()
    return runs and tuple([run for run in runs if run.is_open])


def _end(run_id: UUID, error: BaseException | None = None) -> None:
    number = chains.known_by(run_id)
    run = _by_id.get(number)
    if run is not None:
        run.end(error)
        # As the last: what was interrupted is done once more.
        _by_id.pop(number, None)


def _llm_ended(_: LLMResult, *, run_id: UUID, **__: Any) -> None:
    _end(run_id)


def _llm_failed(
    error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **_: Any
) -> None:
    chains.model_failed(parent_run_id, error)
    _end(run_id, error)


class RunWatch(BaseCallbackHandler):
    """Keeps the stack of runs, and tells `chains` of chains."""

    run_inline = True
    ignore_agent = True
    ignore_retriever = True
    ignore_custom_event = True

    @property
    def raise_error(self) -> bool:  # type: ignore[override]
        """Whether the error that LangChain has just caught from a method of this is for the user.

        It asks that while it handles the error. A defect of the cache must not end a model call.
        """
        return isinstance(sys.exc_info()[1], CacheMiss)

    @override
    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        if current.get() is not None:
            refuse_chat()
        for guard in guards:
            guard.chat()
        chains.enter(parent_run_id)
        _begin(run_id, kwargs)
        watch_stream()

    @override
    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        **kwargs: Any,
    ) -> None:
        if current.get() is not None:
            refuse_completion()
        for guard in guards:
            guard.completion(prompts)
        chains.enter(parent_run_id)
        _begin(run_id, kwargs)
        watch_stream()

    # What depends on a run has to know its end, though a signal handler raises something meanwhile.
    on_llm_end = staticmethod(Insisting(_llm_ended))
    on_llm_error = staticmethod(Insisting(_llm_failed))

    @override
    def on_chain_start(
        self,
        serialized: dict[str, Any],
        inputs: dict[str, Any],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        run_type: str | None = None,
        **kwargs: Any,
    ) -> None:
        chains.begin(run_id, parent_run_id, tags, run_type)

    @override
    def on_chain_end(self, outputs: dict[str, Any], *, run_id: UUID, **kwargs: Any) -> None:
        chains.end(run_id)

    @override
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        chains.end(run_id, error)


def _begin(run_id: UUID, arguments: dict[str, Any]) -> None:
    outer = open_runs()
    run = Run(arguments.get("invocation_params"))
    note(_by_id, chains.known_by(run_id), run, OPEN_MAX)
    _runs.set((*outer, run))
    for observe in observers:
        observe(run)


def begin_own(parameters: Mapping[str, Any]) -> Run:
    """A run of this context alone: the ones that are open around it end when they like."""
    run = Run(parameters)
    _runs.set((run,))
    return run


# By its default, so that every thread and context has it.
_watch: ContextVar[BaseCallbackHandler | None] = ContextVar(
    "llmemo_watch",
    default=RunWatch(),  # noqa: B039 (it holds nothing)
)


def _register() -> None:
    from langchain_core.tracers.context import register_configure_hook  # noqa: PLC0415 (see below)

    register_configure_hook(_watch, inheritable=True)


# That module imports `langsmith`, which takes longer than all of llmemo. LangChain reads the hooks
# from it at the start of each run, so the first run has this one.
when_imported("langchain_core.tracers.context", _register)

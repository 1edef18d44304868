"""The model runs that are open around a request, as LangChain tells its callbacks of them.

An inline handler keeps, for each run, its invocation parameters (`schemas` wants the classes among
them) and whether it goes on: a lease that a run stands behind ends with the run's failure
(`flight`). Within one run a model may call another, so they are a stack.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import weakref
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook
from typing_extensions import override

from llmemo._core import Insisting
from llmemo.concurrency.bounded_dict import note
from llmemo.config.options import current
from llmemo.errors import CacheMiss
from llmemo.langchain import chains
from llmemo.langchain.only_mode import refuse_chat, refuse_completion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult


HELD_MAX = 1024
"""What one task may hold at a time: beyond it the oldest is let go."""


class Dependent(Protocol):
    """What a run stands behind, and a context holds: a lease."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""

    @property
    def has_run(self) -> bool:
        """Whether a run stands, or stood, behind it."""

    def run_began(self, run: Run) -> None:
        """A run stands behind it from now on; it has to keep the run alive."""

    def run_ended(self, *, failed: bool) -> None:
        """One of its runs has ended, in whatever task or thread."""

    def end(self, *, failed: bool) -> None:
        """Whoever holds it has ended, or let go."""


class Run:
    """One run of a model."""

    __slots__ = ("__weakref__", "_dependents", "is_open", "parameters")

    def __init__(self, parameters: Mapping[str, Any] | None) -> None:
        """It begins. `parameters`: the model's, for this call, if they were told."""
        self.parameters = parameters
        self.is_open = True
        # Weak, so that what nobody holds any more goes at once.
        self._dependents: list[weakref.ref[Dependent]] = []

    def stand_behind(self, dependent: Dependent) -> None:
        """Tell it how the run ends."""
        self._dependents.append(weakref.ref(dependent))
        dependent.run_began(self)

    def end(self, *, failed: bool) -> None:
        """It has ended; every context that knows it sees that."""
        self.is_open = False
        # A context may know it for long after.
        self.parameters = None
        # Being told twice has no effect.
        for reference in tuple(self._dependents):
            dependent = reference()
            if dependent is not None:
                dependent.run_ended(failed=failed)


_runs: ContextVar[tuple[Run, ...]] = ContextVar("llmemo_runs", default=())
"""Runs that were begun in this context, the innermost last. Some may have ended since: callbacks of
async runs end in a task of their own, so no end takes one out."""

OPEN_MAX = 1024
"""So many runs are known by their ids: beyond it the oldest is forgotten; no end may be told."""

_by_id: dict[object, Run] = {}
"""Async completion models begin runs in tasks of their own, and end them elsewhere."""


def open_runs() -> tuple[Run, ...]:
    """The runs that are open in this context, the innermost last."""
    runs = _runs.get()
    return runs and tuple([run for run in runs if run.is_open])


class _Holder:
    """What one task, or thread, holds. Nobody else changes it, but others may look at any time."""

    __slots__ = ("inherited", "numbers", "owner", "things")

    def __init__(self, owner: object, inherited: _Holding | None) -> None:
        self.owner = owner
        self.inherited = inherited
        self.numbers = itertools.count(1)
        self.things: deque[tuple[int, Dependent]] = deque()

    def add(self, dependent: Dependent) -> int:
        things, number = self.things, next(self.numbers)
        while things and things[-1][1].is_over:
            things.pop()
        while things and (things[0][1].is_over or len(things) >= HELD_MAX):
            things.popleft()[1].end(failed=False)
        things.append((number, dependent))
        return number

    def let_go(self) -> None:
        """End what no run stands behind."""
        for _, thing in tuple(self.things):
            if not thing.has_run:
                thing.end(failed=False)

    def task_ended(self, task: asyncio.Task[Any]) -> None:
        # `exception()` would count as somebody's having seen it, and asyncio log it no more.
        failed = not task.cancelled() and getattr(task, "_exception", None) is not None
        while self.things:
            self.things[0][1].end(failed=failed)
            self.things.popleft()


class _Holding(NamedTuple):
    """What a context knows of a holder: a copy of it, in a child task, nothing that comes later."""

    holder: _Holder
    last: int
    """The number of the last thing."""

    def live(self, owner: object) -> Iterator[Dependent]:
        """What is not over of that, the newest first; for the holder itself, all that it holds."""
        is_owner = self.holder.owner == owner
        # A copy, since other threads inherit it, too.
        for number, thing in reversed(tuple(self.holder.things)):
            if (is_owner or number <= self.last) and not thing.is_over:
                yield thing


_holding: ContextVar[_Holding | None] = ContextVar("llmemo_holding", default=None)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _owner(task: asyncio.Task[Any] | None) -> object:
    # Weak: the task has the context that has the holder.
    return threading.get_ident() if task is None else weakref.ref(task)


def holds_anything() -> bool:
    """Whether this context, or one that it was copied from until then, holds what is not over."""
    holding = _holding.get()
    if holding is None:
        return False
    owner = _owner(_current_task())
    while holding is not None:
        for _ in holding.live(owner):
            return True
        holding = holding.holder.inherited
    return False


def hold(dependent: Dependent) -> None:
    """Have the current task (or thread, where there is none) hold something until it ends.

    The runs that are open stand behind it: all, since those of a batch cannot be told apart, and
    the first failure ends a batch. If there is none, the next one will: completion models ask a
    cache before they begin.
    """
    task = _current_task()
    owner = _owner(task)
    holding = _holding.get()
    if holding is None or holding.holder.owner != owner:
        # One callback for all that the task will ever hold.
        holder = _Holder(owner, holding if holds_anything() else None)
        if task is not None:
            task.add_done_callback(Insisting(holder.task_ended))
    else:
        holder = holding.holder
    _holding.set(_Holding(holder, holder.add(dependent)))
    for run in open_runs():
        run.stand_behind(dependent)


def let_go() -> None:
    """Have the current task (or thread) let go of what it holds for no run that has begun.

    For who raises what a signal handler has raised: a run that was to begin does not.
    """
    holding = _holding.get()
    if holding is not None and holding.holder.owner == _owner(_current_task()):
        holding.holder.let_go()


def _end(run_id: UUID, *, failed: bool) -> None:
    number = chains.known_by(run_id)
    run = _by_id.get(number)
    if run is not None:
        run.end(failed=failed)
        # As the last: what was interrupted is done once more.
        _by_id.pop(number, None)


def _llm_ended(_: LLMResult, *, run_id: UUID, **__: Any) -> None:
    _end(run_id, failed=False)


def _llm_failed(
    error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **_: Any
) -> None:
    chains.model_failed(parent_run_id, error)
    _end(run_id, failed=not isinstance(error, asyncio.CancelledError))


class RunWatch(BaseCallbackHandler):
    """Keeps the stack of runs, and tells of chains (`chains`)."""

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
        chains.enter(parent_run_id)
        _begin(run_id, kwargs)

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
        chains.enter(parent_run_id)
        _begin(run_id, kwargs)

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


def _begin(run_id: UUID, told: dict[str, Any]) -> None:
    outer = open_runs()
    run = Run(told.get("invocation_params"))
    note(_by_id, chains.known_by(run_id), run, OPEN_MAX)
    _runs.set((*outer, run))
    holding = _holding.get()
    if holding is not None:
        for dependent in holding.live(_owner(_current_task())):
            if not dependent.has_run:
                run.stand_behind(dependent)


# By its default, so that every thread and context has it.
_watch: ContextVar[BaseCallbackHandler | None] = ContextVar(
    "llmemo_watch",
    default=RunWatch(),  # noqa: B039 (it holds nothing)
)
register_configure_hook(_watch, inheritable=True)

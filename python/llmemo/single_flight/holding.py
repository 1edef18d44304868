"""Which task, thread or context holds which leases, and which model runs stand behind them.

A task (or a thread, where there is no task) holds a lease until it ends. A child task inherits a
view of what its parent held when it began: its calls do not wait for the parent's own answers.

Every step takes the same time however many leases are held: each leads to an older one, past those
that are over. What is over stays over, and what has had a run keeps it, so no walk is done twice.
"""

from __future__ import annotations

import asyncio
import weakref
from asyncio import _get_running_loop
from collections import deque
from contextvars import ContextVar
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from llmemo._core import Insisting
from llmemo.langchain import model_runs
from llmemo.langchain.model_runs import open_runs

if TYPE_CHECKING:
    from llmemo.langchain.model_runs import Run

HELD_MAX = 1024
"""Leases that one task may hold at a time: beyond it the oldest ends."""


TIDY_EVERY = 32
"""Leases after which a task looks for those that are over without having ended. A divisor of
`HELD_MAX`."""


class Held(model_runs.Dependent, Protocol):
    """What is held: a lease."""

    older: Held | None
    """One that its holder has held for longer; those between the two are over."""
    has_ended: bool
    is_settled: bool
    """Whether it and all that are older have a run, or are over."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended. It stays so."""

    @property
    def has_run(self) -> bool:
        """Whether a run stands, or stood, behind it."""

    def end(self, *, failed: bool) -> None:
        """Its holder has ended, or let go. Without effect the second time."""


class _Holder:
    """The leases of one task or thread. Only that changes it; others may look at any time."""

    __slots__ = ("inherited", "leases", "owner")

    def __init__(self, owner: object, inherited: _View | None) -> None:
        self.owner = owner
        self.inherited = inherited
        self.leases: deque[Held] = deque()
        """The oldest first."""

    def make_room(self) -> None:
        """Let go of what is over at either end; and of the oldest, if there are too many."""
        leases = self.leases
        while leases and leases[-1].has_ended:
            leases.pop()
        if len(leases) >= HELD_MAX:
            self._pop_oldest()
        elif not len(leases) % TIDY_EVERY:
            # These are over by the clock, without an end. (First they end: an interrupt in between
            # loses nothing.)
            while leases and leases[-1].is_over:
                leases[-1].end(failed=False)
                leases.pop()
            while leases and leases[0].is_over:
                self._pop_oldest()
        while leases and leases[0].has_ended:
            self._pop_oldest()

    def _pop_oldest(self) -> None:
        leases = self.leases
        # First it ends: an interrupt in between loses nothing.
        leases[0].end(failed=False)
        leases.popleft()
        if leases:
            # Or each would keep all that were before it.
            leases[0].older = None

    def end_unbacked(self) -> None:
        for lease in tuple(self.leases):
            if not lease.has_run:
                lease.end(failed=False)

    def task_ended(self, task: asyncio.Task[Any]) -> None:
        # `exception()` would mark it as retrieved, and asyncio would no longer log it.
        failed = not task.cancelled() and getattr(task, "_exception", None) is not None
        while self.leases:
            self.leases[0].end(failed=failed)
            self.leases.popleft()


_View: TypeAlias = tuple[_Holder, "Held"]
"""What a context knows of a holder, up to its newest lease then. In a child task it is a copy, and
shows nothing newer. (No class: it is made at each miss.)"""

_holding: ContextVar[_View | None] = ContextVar("llmemo_holding", default=None)


def current_task() -> asyncio.Task[Any] | None:
    """The task that runs in this thread. None where there is none."""
    # Not `get_running_loop`: what that raises outside a loop takes longer than all the rest.
    loop = _get_running_loop()
    return None if loop is None else asyncio.current_task(loop)


def _owner(task: asyncio.Task[Any] | None) -> object:
    # Weak: the task has the context that has the holder.
    return get_ident() if task is None else weakref.ref(task)


def _newest(view: _View, owner: object) -> Held | None:
    """The newest lease that a view shows; to the holder itself, the newest that it holds."""
    holder, lease = view
    if holder.owner != owner:
        return lease
    try:
        return holder.leases[-1]
    except IndexError:
        return None


def _shows_any(view: _View, owner: object) -> bool:
    """Whether a view shows any lease that is not over."""
    lease, over = _newest(view, owner), []
    while lease is not None and lease.is_over:
        over.append(lease)
        lease = lease.older
    for each in over:
        each.older = lease
    return lease is not None


def _showing(view: _View | None, owner: object) -> _View | None:
    """The first that shows any, of this view and those that its holder inherited."""
    while view is not None and not _shows_any(view, owner):
        view = view[0].inherited
    return view


def holds_anything() -> bool:
    """Whether this context, or one that it was copied from until then, holds what is not over."""
    view = _holding.get()
    return view is not None and _showing(view, _owner(current_task())) is not None


def hold_apart() -> None:
    """Have this context, a copy, hold what comes apart from the thread (or task) it was copied in.

    That goes on with something else, while other threads go on in this context.
    """
    if not holds_anything():
        _holding.set(None)


def hold(lease: Held) -> object:
    """Have the current task (or thread, where there is none) hold a lease until it ends.

    Returns the number of the thread, or a weak reference to the task.

    The runs that are open stand behind it: all, since those of a batch cannot be told apart, and
    the first failure ends a batch. If there is none, the next one will: completion models ask a
    cache before they begin.
    """
    # Few calls, and no look at the clock: this is done at each miss.
    loop = _get_running_loop()
    task = None if loop is None else asyncio.current_task(loop)
    owner = get_ident() if task is None else weakref.ref(task)
    view = _holding.get()
    if view is None or view[0].owner != owner:
        # One callback for all that the task will ever hold.
        holder = _Holder(owner, _showing(view, owner))
        if task is not None:
            task.add_done_callback(Insisting(holder.task_ended))
    else:
        holder = view[0]
    leases = holder.leases
    if leases and (leases[-1].has_ended or leases[0].has_ended or not len(leases) % TIDY_EVERY):
        holder.make_room()
    if leases:
        lease.older = leases[-1]
    leases.append(lease)
    _holding.set((holder, lease))
    for run in open_runs():
        run.stand_behind(lease)
    return owner


def end_unbacked() -> None:
    """End the leases that the current task (or thread) holds for no run that has begun.

    For a call that raises what a signal handler has raised: a run that was to begin does not.
    """
    view = _holding.get()
    if view is not None and view[0].owner == _owner(current_task()):
        view[0].end_unbacked()


def _back(run: Run) -> None:
    """Have a run that begins stand behind the leases that have none."""
    view = _holding.get()
    lease = None if view is None else _newest(view, _owner(current_task()))
    seen = []
    while lease is not None:
        if not (lease.is_over or lease.has_run):
            run.stand_behind(lease)
        seen.append(lease)
        lease = None if lease.is_settled else lease.older
    for each in seen:
        each.is_settled = True


model_runs.observers.append(_back)

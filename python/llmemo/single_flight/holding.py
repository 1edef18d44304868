"""Which task, thread or context holds which leases, and which model runs stand behind them.

A task (or a thread, where there is no task) holds a lease until it ends. A child task inherits a
view of what its parent held when it began: its calls do not wait for the parent's own answers.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
import weakref
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from llmemo._core import Insisting
from llmemo.langchain import model_runs
from llmemo.langchain.model_runs import open_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmemo.langchain.model_runs import Run

HELD_MAX = 1024
"""Leases that one task may hold at a time: beyond it the oldest ends."""


class Held(model_runs.Dependent, Protocol):
    """What is held: a lease."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""

    @property
    def has_run(self) -> bool:
        """Whether a run stands, or stood, behind it."""

    def end(self, *, failed: bool) -> None:
        """Its holder has ended, or let go."""


class _Holder:
    """The leases of one task or thread. Only that changes it; others may look at any time."""

    __slots__ = ("inherited", "leases", "numbers", "owner")

    def __init__(self, owner: object, inherited: _View | None) -> None:
        self.owner = owner
        self.inherited = inherited
        self.numbers = itertools.count(1)
        self.leases: deque[tuple[int, Held]] = deque()

    def add(self, lease: Held) -> int:
        leases, number = self.leases, next(self.numbers)
        while leases and leases[-1][1].is_over:
            leases.pop()
        while leases and (leases[0][1].is_over or len(leases) >= HELD_MAX):
            leases.popleft()[1].end(failed=False)
        leases.append((number, lease))
        return number

    def end_unbacked(self) -> None:
        for _, lease in tuple(self.leases):
            if not lease.has_run:
                lease.end(failed=False)

    def task_ended(self, task: asyncio.Task[Any]) -> None:
        # `exception()` would mark it as retrieved, and asyncio would no longer log it.
        failed = not task.cancelled() and getattr(task, "_exception", None) is not None
        while self.leases:
            self.leases[0][1].end(failed=failed)
            self.leases.popleft()


class _View(NamedTuple):
    """What a context knows of a holder. In a child task it is a copy, and shows nothing newer."""

    holder: _Holder
    last: int
    """The number of the last lease that it shows."""

    def live(self, owner: object) -> Iterator[Held]:
        """The leases that are not over, the newest first; to the holder itself, all it holds."""
        # A copy, since other threads inherit it, too.
        return self._live(owner, reversed(tuple(self.holder.leases)))

    def shows_any(self, owner: object) -> bool:
        """Whether there is any of them. Takes the same time however many there are, as a rule."""
        try:
            # No copy: the newest is mostly not over, and those that are leave with the next one.
            return any(True for _ in self._live(owner, reversed(self.holder.leases)))
        except RuntimeError:  # the holder, or a signal handler, has changed them meanwhile
            return any(True for _ in self.live(owner))

    def _live(self, owner: object, newest_first: Iterator[tuple[int, Held]]) -> Iterator[Held]:
        last = math.inf if self.holder.owner == owner else self.last
        return (lease for number, lease in newest_first if number <= last and not lease.is_over)


_holding: ContextVar[_View | None] = ContextVar("llmemo_holding", default=None)


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
    view = _holding.get()
    if view is None:
        return False
    owner = _owner(_current_task())
    while view is not None:
        if view.shows_any(owner):
            return True
        view = view.holder.inherited
    return False


def hold(lease: Held) -> None:
    """Have the current task (or thread, where there is none) hold a lease until it ends.

    The runs that are open stand behind it: all, since those of a batch cannot be told apart, and
    the first failure ends a batch. If there is none, the next one will: completion models ask a
    cache before they begin.
    """
    task = _current_task()
    owner = _owner(task)
    view = _holding.get()
    if view is None or view.holder.owner != owner:
        # One callback for all that the task will ever hold.
        holder = _Holder(owner, view if holds_anything() else None)
        if task is not None:
            task.add_done_callback(Insisting(holder.task_ended))
    else:
        holder = view.holder
    _holding.set(_View(holder, holder.add(lease)))
    for run in open_runs():
        run.stand_behind(lease)


def end_unbacked() -> None:
    """End the leases that the current task (or thread) holds for no run that has begun.

    For a call that raises what a signal handler has raised: a run that was to begin does not.
    """
    view = _holding.get()
    if view is not None and view.holder.owner == _owner(_current_task()):
        view.holder.end_unbacked()


def _back(run: Run) -> None:
    """Have a run that begins stand behind the leases that have none."""
    view = _holding.get()
    if view is not None:
        for lease in view.live(_owner(_current_task())):
            if not lease.has_run:
                run.stand_behind(lease)


model_runs.observers.append(_back)

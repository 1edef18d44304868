"""Questions whose answers are to come, and what these will say of near matches.

A check waits for the model's answer. There may be none: a provider refuses some content with an
error. Then the near match would have been a wrong answer, and its check says so. Otherwise just
the questions that a provider refuses would never be checked.
"""

from __future__ import annotations

import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING

from llmemo.concurrency.bounded_dict import note
from llmemo.langchain import model_runs
from llmemo.langchain.model_runs import open_runs

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.langchain.model_runs import Run
    from llmemo.semantic.checks import Check
    from llmemo.semantic.question import Asked, Rest

EXPECTED_MAX = 1_024
"""Questions that are remembered until their answers come."""


class Expected:
    """What is known of a question whose answer is to come."""

    __slots__ = ("__weakref__", "_count_as_wrong", "_runs", "asked", "check")

    def __init__(
        self,
        asked: Asked,
        check: Check | None = None,
        count_as_wrong: Callable[[Check], object] | None = None,
    ) -> None:
        """`count_as_wrong`: called with the check if the provider refuses the question."""
        self.asked = asked
        self.check = check
        self._count_as_wrong = count_as_wrong
        self._runs: tuple[Run, ...] = ()

    @property
    def is_unbacked(self) -> bool:
        """Whether it waits for a run that has yet to begin."""
        return self.check is not None and not self._runs

    def run_began(self, run: Run) -> None:
        """Note that a model run is to bring the answer."""
        self._runs = (*self._runs, run)

    def run_ended(self, *, failed: bool) -> None:
        """Note that one of its runs has ended: a refusal is the answer."""
        check = self.check
        if failed and check is not None and any(run.was_refused for run in self._runs):
            self.check = None
            if self._count_as_wrong is not None:
                self._count_as_wrong(check)

    def end(self, *, failed: bool) -> None:
        """Wait on: a caller that is let go may ask again."""


_unbacked: ContextVar[tuple[weakref.ref[Expected], ...]] = ContextVar("llmemo_expected", default=())
"""Of this context: completion models ask a cache before their runs begin."""


def _back(run: Run) -> None:
    """Have a run that begins stand behind the questions that have none."""
    waiting = _unbacked.get()
    if waiting:
        _unbacked.set(())
    for reference in waiting:
        expected = reference()
        if expected is not None and expected.is_unbacked:
            run.stand_behind(expected)


model_runs.observers.append(_back)


class ExpectedAnswers:
    """The questions of one cache. Any thread may call."""

    def __init__(self) -> None:
        """Begin with none."""
        self._expected: dict[tuple[Rest, str], Expected | None] = {}

    def add(self, rest: Rest, question: str, expected: Expected | None) -> None:
        """Remember a question until its answer comes. None: it has no vector."""
        note(self._expected, (rest, question), expected, EXPECTED_MAX)
        if expected is None or expected.check is None:
            return
        runs = open_runs()
        for run in runs:
            run.stand_behind(expected)
        if not runs:
            others = (each for each in _unbacked.get() if each() is not None)
            _unbacked.set((*others, weakref.ref(expected))[-EXPECTED_MAX:])

    def __contains__(self, key: tuple[Rest, str]) -> bool:
        """Whether it is known of a question what its answer will say."""
        return key in self._expected

    def pop(self, rest: Rest, question: str) -> Expected | None:
        """What is known of a question whose answer has come."""
        return self._expected.pop((rest, question), None)

"""Judgements that no caller waits for."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo import lifecycle
from llmemo.concurrency.blocking_future import NotYetError, blocking_future
from llmemo.config.options import options
from llmemo.semantic.background import Background, Loop, Note
from llmemo.semantic.judges import judge_of, same_answer

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS_MAX = 256
"""Judgements that wait, at most. More are dropped: The certificate only takes longer."""

TIME_LIMIT = 60.0
"""Longest time that an async judge takes, in seconds."""

PATIENCE = 600.0
"""Seconds after which a sync judge counts as stuck, and another thread takes over."""

INLINE_MAX = 16_384
"""Characters that the default judge compares in the caller's thread: 3 ms for JSON, at most."""


class _Job(NamedTuple):
    question: str
    stored: str
    fresh: str
    done: Callable[[bool | None], object]


class BackgroundJudge:
    """Runs a judge on a private thread, one judgement after the other.

    The default judge is quick: it runs in the caller's thread, unless the texts are long.
    """

    def __init__(
        self,
        judge: Callable[..., Any] | None,
        note: Note,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start no thread yet.

        Args:
            judge: See `judges`; None is the default one.
            note: Counts and logs trouble.
            clock: Monotonic time in seconds.

        Raises:
            ConfigurationError: The judge is no function of two or three texts.
        """
        self._judge = judge_of(judge)
        self._is_quick = judge is None or judge is same_answer
        self._note = note
        self._is_closed = False
        self._jobs: deque[_Job | Callable[[], object]] = deque()
        self._background = Background(self._step, PATIENCE, clock)
        lifecycle.has_lock(self)

    def after_fork_in_child(self) -> None:
        """Leave the judgements that wait to the parent."""
        self._background.after_fork_in_child()
        self._jobs.clear()

    def submit(
        self, question: str, stored: str, fresh: str, done: Callable[[bool | None], object]
    ) -> None:
        """Have two answers to a question compared.

        Args:
            question: The new question.
            stored: The answer that a hit would have served.
            fresh: What the model has answered.
            done: Called with the verdict in any thread, or in this one before this returns. None:
                there is no verdict, or the judge is in trouble. Never called for a dropped check,
                nor once this is closed.
        """
        job = _Job(question, stored, fresh, done)
        if self._is_quick and len(stored) + len(fresh) <= INLINE_MAX:
            done(same_answer(stored, fresh))
            return
        if self._is_closed:
            return
        if len(self._jobs) < JOBS_MAX:
            self._jobs.append(job)
            if self._background.wake():
                return
            with contextlib.suppress(ValueError):  # a thread has taken it all the same
                self._jobs.remove(job)
        self._note("judge_skipped", "llmemo: an answer was not judged: too many are waiting")

    def flush(self, timeout: float) -> bool:
        """Wait for the present judgements, for `timeout` seconds at most.

        Returns whether they are done.
        """
        if not self._jobs and not self._background.is_working:
            return True
        over = blocking_future()
        self._jobs.append(lambda: over.set_result(True))
        if not self._background.wake():
            return False
        try:
            over.wait(timeout)
        except NotYetError:
            return False
        return True

    def close(self) -> None:
        """End the thread after its present judgement. That one and the others are dropped."""
        self._is_closed = True
        self._background.close()
        self._jobs.clear()

    def _step(self, loop: Loop) -> bool:
        """One judgement, in the thread. Returns whether there are more."""
        try:
            job = self._jobs.popleft()
        except IndexError:
            return False
        try:
            if not isinstance(job, _Job):
                job()
                return bool(self._jobs)
            verdict = self._verdict(job, loop)
            # The store that would keep it may be closed, too.
            if not self._is_closed:
                job.done(verdict)
        except BaseException as error:  # noqa: BLE001 (the thread goes on)
            self._failed(type(error).__name__)
        return bool(self._jobs)

    def _verdict(self, job: _Job, loop: Loop) -> bool | None:
        try:
            # A judge may ask a model with the same cache: each check would lead to another.
            with options(semantic=False):
                verdict: Any = self._judge(job.question, job.stored, job.fresh)
                if inspect.isawaitable(verdict):
                    verdict = loop.run(verdict, TIME_LIMIT)
        except BaseException as error:  # noqa: BLE001 (of a user's code, in a thread of ours)
            self._failed(type(error).__name__)
            return None
        if verdict is None or isinstance(verdict, bool):
            return verdict
        self._failed(f"returned {type(verdict).__name__}, not a bool or None")
        return None

    def _failed(self, what: str) -> None:
        # Not what an error says: that may quote the texts.
        self._note("judge_failed", "llmemo: the judge has failed: %s", what)

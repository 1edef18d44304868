"""Checks of near matches: which to serve, which to compare with what the model says instead."""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING, NamedTuple

from llmemo.semantic.certificate import Verdict, counts

if TYPE_CHECKING:
    from llmemo.semantic.background_judge import BackgroundJudge
    from llmemo.semantic.certification import Certification
    from llmemo.semantic.neighbours import Neighbour
    from llmemo.semantic.settings import Semantic
    from llmemo.telemetry.stats import Tally


class Check(NamedTuple):
    """A near match that is not served: the model's answer will tell what it would be worth."""

    question: str
    answer: str
    """The answer to it that is there."""
    score: float
    is_served: bool
    """Whether it would be served, if it were not checked."""
    epoch: int
    """Of the certificate."""


class Decision(NamedTuple):
    """What to do with a near match."""

    is_served: bool
    reason: str = ""
    """Why it is not served."""
    check: Check | None = None
    """None, too, for a match that is not served and that does not count."""


class Checks:
    """Decides by the certificate, and feeds it. Any thread may call."""

    def __init__(
        self, settings: Semantic, certification: Certification, judge: BackgroundJudge, tally: Tally
    ) -> None:
        """Begin."""
        self._shadow = settings.shadow
        self._certification, self._judge, self._tally = certification, judge, tally
        # A test puts another in its place.
        self.random = random.Random()  # noqa: S311 (no secret)

    def decide(
        self, question: str, neighbour: Neighbour, *, must_serve: bool, is_repeated: bool
    ) -> Decision:
        """Whether to serve a near match, or how to check it.

        Args:
            question: What is asked.
            neighbour: The match.
            must_serve: Whether the model cannot be asked for a check.
            is_repeated: Whether the same request was given near matches often enough.
        """
        certificate = self._certification.certificate
        threshold, score = certificate.threshold, neighbour.score
        is_certified = threshold is not None and score >= threshold
        if is_certified and is_repeated and not must_serve:
            # The next time it has an answer of its own. No check: it would not have been a hit.
            return Decision(False, "repeated")
        if is_certified and (must_serve or self.random.random() >= self._shadow):
            return Decision(is_served=True)
        reason = "shadow" if is_certified else "not_certified"
        # Of matches that are served, too, only a share is checked: the mix has to stay the same.
        is_counted = is_certified or counts(score, threshold, self._shadow, self.random)
        if must_serve or not is_counted:
            return Decision(False, reason)
        check = Check(question, neighbour.answer.text, score, is_certified, epoch=certificate.epoch)
        return Decision(False, reason, check)

    def compare(self, check: Check, fresh: str | None) -> None:
        """Compare a near match with the text of the model's answer; None if that is no plain text.

        In the background, unless the judge is quick.
        """
        done = functools.partial(self._judged, check)
        if fresh is None:
            # The model calls a tool, say: a text would not have done.
            done(False)
        else:
            self._judge.submit(check.question, check.answer, fresh, done)

    def refused(self, check: Check) -> None:
        """Count a near match as wrong: the provider refuses the question."""
        self._judged(check, False)

    def _judged(self, check: Check, verdict: bool | None) -> None:
        if verdict is None:
            self._tally.count("abstained", "no_verdict")
            return
        self._tally.add("semantic_checks")
        if not verdict:
            self._tally.add("semantic_wrong")
        self._certification.add(Verdict(check.score, not verdict, check.is_served, check.epoch))

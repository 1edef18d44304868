"""The state of a certificate: which scores may be served, after all checks so far.

For each threshold it counts the checks with at least that score, and how many were wrong. A
threshold passes when its e-value reaches `Rule.limit`. Two sequences of tests go from strict to
loose, each at half the level, and end where a threshold has not passed. What is served is the
loosest threshold that either has reached (fixed-sequence testing; Angelopoulos et al., "Learn then
test", 2021).

A threshold that has passed holds until its observed rate of errors reaches `max_error`: the test
is valid at any time (Ville 1939), and what is served does not flap. A change of the answers is
the detector's to find. It resets all.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from llmemo.semantic.e_values import DetectorState, DriftDetector, error_bound

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from llmemo.semantic.rule import Rule


class Verdict(NamedTuple):
    """What a judge said of one would-be hit.

    Attributes:
        score: Similarity of the two questions.
        is_wrong: Whether the stored answer would not have done.
        is_served: Whether it would have been served, and was asked for real as a shadow check.
        epoch: `Certificate.epoch` when the request was made.
    """

    score: float
    is_wrong: bool
    is_served: bool
    epoch: int


class Count(NamedTuple):
    """Checks with at least the score of one threshold.

    Attributes:
        checks: Number of checks.
        wrong: How many of these were wrong.
        is_held: Whether the threshold has passed, and still holds.
    """

    checks: int
    wrong: int
    is_held: bool


_NO_CHECKS = Count(0, 0, is_held=False)


@dataclass(frozen=True)
class Certificate:
    """An immutable state. `after` gives the next one.

    Attributes:
        rule: What is promised.
        counts: One for each of `rule.thresholds`, from strict to loose; since the last reset.
        detector: State of `rule.detector`; since the last reset.
        checks: All verdicts counted, resets or not.
        wrong: How many of these were wrong.
        resets: How often evidence of too many wrong hits has reset the counts.
        epoch: Goes up with each reset. Verdicts of another epoch are ignored.
    """

    rule: Rule
    counts: tuple[Count, ...]
    detector: DetectorState = DriftDetector.START
    checks: int = 0
    wrong: int = 0
    resets: int = 0
    epoch: int = 0

    @classmethod
    def fresh(cls, rule: Rule) -> Certificate:
        """Return one without a check. It abstains."""
        return cls(rule, (_NO_CHECKS,) * len(rule.thresholds))

    @classmethod
    def of_sample(cls, rule: Rule, sample: Iterable[tuple[float, bool]]) -> Certificate:
        """Return one for checks whose order says nothing, each a score and whether it is wrong.

        It is tested once, at the end: a sorted sample certifies what a shuffled one does.
        """
        checks, wrong = [0] * len(rule.thresholds), [0] * len(rule.thresholds)
        for score, is_wrong in sample:
            if not score >= rule.min_score:  # which NaN is not either
                continue
            for index in range(_first_at(rule, score), len(checks)):
                checks[index] += 1
                wrong[index] += is_wrong
        counts = [_count(rule, n, k, is_held=False) for n, k in zip(checks, wrong, strict=True)]
        return cls(rule, tuple(counts), checks=checks[-1], wrong=wrong[-1])

    def after(self, verdicts: Iterable[Verdict]) -> Certificate:
        """Return the state after these verdicts, in their order.

        Verdicts of another epoch, or with a score below all thresholds (or NaN), are ignored.
        """
        state = self
        for verdict in verdicts:
            if verdict.epoch == state.epoch and verdict.score >= state.rule.min_score:
                state = state._with(verdict)
        return state

    def _with(self, verdict: Verdict) -> Certificate:
        rule, detector = self.rule, self.detector
        checks, wrong = self.checks + 1, self.wrong + verdict.is_wrong
        if verdict.is_served:
            detector = rule.detector.after(detector, is_wrong=verdict.is_wrong)
            if rule.detector.is_alarm(detector):
                nothing = (_NO_CHECKS,) * len(self.counts)
                resets, epoch = self.resets + 1, self.epoch + 1
                return Certificate(rule, nothing, DriftDetector.START, checks, wrong, resets, epoch)
        first = _first_at(rule, verdict.score)
        counted = [
            _count(rule, old.checks + 1, old.wrong + verdict.is_wrong, is_held=old.is_held)
            for old in self.counts[first:]
        ]
        counts = (*self.counts[:first], *counted)
        return Certificate(rule, counts, detector, checks, wrong, self.resets, self.epoch)

    @cached_property
    def served(self) -> int | None:
        """Index of the threshold that is served; None while the cache abstains."""
        reached = -1
        for start in self.rule.starts:
            index = start
            while index < len(self.counts) and self.counts[index].is_held:
                reached = max(reached, index)
                index += 1
        return None if reached < 0 else reached

    @cached_property
    def threshold(self) -> float | None:
        """Lowest score that may be served; None while the cache abstains."""
        return None if self.served is None else self.rule.thresholds[self.served]

    @cached_property
    def error(self) -> float | None:
        """Observed share of wrong checks at or above the threshold; None while it abstains."""
        if self.served is None:
            return None
        count = self.counts[self.served]
        return count.wrong / count.checks

    @cached_property
    def bound(self) -> float | None:
        """Upper confidence bound on the share of wrong hits; None while the cache abstains.

        It is at most `max_error`: a bound that was proved once holds until a reset.
        """
        if self.served is None:
            return None
        count = self.counts[self.served]
        bound = error_bound(count.checks, count.wrong, self.rule.limit)
        return min(bound, self.rule.max_error)

    @cached_property
    def needed(self) -> int:
        """Number of checks without an error that would certify a first threshold; 0 if one is.

        Only checks count whose score is at least that threshold.
        """
        if self.served is not None:
            return 0
        starts = [self.counts[start] for start in self.rule.starts]
        return min(self.rule.checks_needed(count.wrong) - count.checks for count in starts)


def counts(score: float, threshold: float | None, shadow: float, rng: Random) -> bool:
    """Whether the verdict on a would-be hit that was asked for real counts.

    At or above the threshold only a share `shadow` of the hits is asked for real. Below it all
    are, so the same share of them counts: the mix of scores stays that of the requests.

    Args:
        score: Similarity of the two questions.
        threshold: `Certificate.threshold` when the request was made; None counts all.
        shadow: Share of the hits that are asked for real, more than 0, at most 1.
        rng: Source of chance.
    """
    return threshold is None or score >= threshold or rng.random() < shadow


def _first_at(rule: Rule, score: float) -> int:
    """Return the index of the strictest threshold that the score reaches; all later ones do."""
    return bisect_left(rule.thresholds, -score, key=_negative)


def _negative(value: float) -> float:
    return -value


def _count(rule: Rule, checks: int, wrong: int, *, is_held: bool) -> Count:
    if wrong >= rule.max_error * checks:
        return Count(checks, wrong, is_held=False)
    return Count(checks, wrong, is_held or checks >= rule.checks_needed(wrong))

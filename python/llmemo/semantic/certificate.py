"""The state of a certificate: which scores may be served, after all checks so far.

For each threshold it counts the checks with at least that score, and how many were wrong. A
threshold passes when its e-value reaches `Rule.limit`. Two sequences of tests go from strict to
loose, each at half the level, and end where a threshold has not passed (fixed-sequence testing;
Angelopoulos et al., "Learn then test", 2021).

What is served is the loosest threshold that either has reached and that has *support*: checks of
its own near it. Otherwise right checks of high scores would vouch for scores that no check has
seen. Support is two tests: of the band just above the threshold, and of a stretch of such bands.

A threshold that has passed holds until its observed rate of errors reaches `max_error`: the test
is valid at any time (Ville 1939), and what is served does not flap. A change of the answers is
the detector's to find. It resets all.
"""

from __future__ import annotations

import functools
import itertools
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from llmemo.semantic.e_values import DetectorState, DriftDetector, error_bound

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from llmemo.semantic.rule import RateTest, Rule


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
    """The checks that one test counts.

    Attributes:
        checks: Number of checks.
        wrong: How many of these were wrong.
        is_held: Whether the test has passed, and still holds.
    """

    checks: int
    wrong: int
    is_held: bool

    def after(self, test: RateTest, *, is_wrong: bool) -> Count:
        """Return the count after one more check."""
        return Count(self.checks + 1, self.wrong + is_wrong, self.is_held).tested(test)

    def tested(self, test: RateTest) -> Count:
        """Return it as the test says of it now: a test that has passed is held for a while."""
        if self.wrong >= test.rate * self.checks:
            return self._replace(is_held=False)
        is_held = self.is_held or self.checks >= test.checks_needed(self.wrong)
        return self._replace(is_held=is_held)


Counts: TypeAlias = tuple[Count, ...]
"""One for each of `Rule.thresholds`, from strict to loose."""

_NO_CHECKS = Count(0, 0, is_held=False)


@dataclass(frozen=True)
class Certificate:
    """An immutable state. `after` gives the next one.

    Attributes:
        rule: What is promised.
        counts: Of the checks with at least the score of a threshold; since the last reset.
        stretches: Of those in the stretch above it; likewise.
        bands: Of those below the next stricter threshold; likewise.
        detector: State of `rule.detector`; since the last reset.
        checks: All verdicts counted, resets or not.
        wrong: How many of these were wrong.
        resets: How often evidence of too many wrong hits has reset the counts.
        epoch: Goes up with each reset. Verdicts of another epoch are ignored.
    """

    rule: Rule
    counts: Counts
    stretches: Counts
    bands: Counts
    detector: DetectorState = DriftDetector.START
    checks: int = 0
    wrong: int = 0
    resets: int = 0
    epoch: int = 0

    @classmethod
    def fresh(cls, rule: Rule) -> Certificate:
        """Return one without a check. It abstains."""
        return cls(rule, *_nothing(rule))

    @classmethod
    def of_sample(cls, rule: Rule, sample: Iterable[tuple[float, bool]]) -> Certificate:
        """Return one for checks whose order says nothing, each a score and whether it is wrong.

        It is tested once, at the end: a sorted sample certifies what a shuffled one does.
        """
        bands = [_NO_CHECKS for _ in rule.thresholds]
        for score, is_wrong in sample:
            if score >= rule.min_score:  # which NaN is not
                band = _band_of(rule, score)
                old = bands[band]
                bands[band] = Count(old.checks + 1, old.wrong + is_wrong, is_held=False)
        wholes = itertools.accumulate(bands, _sum)
        every = range(len(bands))
        stretches = [
            functools.reduce(_sum, (bands[b] for b in every if at in rule.stretches_at(b)))
            for at in every
        ]
        return cls(
            rule,
            counts := tuple(each.tested(rule.whole) for each in wholes),
            tuple(each.tested(rule.stretch) for each in stretches),
            tuple(each.tested(rule.band) for each in bands),
            checks=counts[-1].checks,
            wrong=counts[-1].wrong,
        )

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
                resets, epoch = self.resets + 1, self.epoch + 1
                start = DriftDetector.START
                return Certificate(rule, *_nothing(rule), start, checks, wrong, resets, epoch)
        band, is_wrong = _band_of(rule, verdict.score), verdict.is_wrong
        return Certificate(
            rule,
            _after(self.counts, range(band, len(self.counts)), rule.whole, is_wrong=is_wrong),
            _after(self.stretches, rule.stretches_at(band), rule.stretch, is_wrong=is_wrong),
            _after(self.bands, range(band, band + 1), rule.band, is_wrong=is_wrong),
            detector,
            checks,
            wrong,
            self.resets,
            self.epoch,
        )

    @cached_property
    def served(self) -> int | None:
        """Index of the threshold that is served; None while the cache abstains."""
        reached = -1
        for sequence in self.rule.sequences:
            for index in itertools.takewhile(lambda at: self.counts[at].is_held, sequence):
                if self.is_supported(index):
                    reached = max(reached, index)
        return None if reached < 0 else reached

    def is_supported(self, index: int) -> bool:
        """Whether a threshold has enough checks near it."""
        return self.stretches[index].is_held and self.bands[index].is_held

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

        Only checks count whose score is that threshold, or just above.
        """
        if self.served is not None:
            return 0
        return min(self._needed_at(start) for start in self.rule.starts)

    def _needed_at(self, index: int) -> int:
        rule = self.rule
        tests = (
            (rule.whole, self.counts[index]),
            (rule.stretch, self.stretches[index]),
            (rule.band, self.bands[index]),
        )
        return max(
            0 if count.is_held else test.checks_needed(count.wrong) - count.checks
            for test, count in tests
        )


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


def _band_of(rule: Rule, score: float) -> int:
    """Return the index of the strictest threshold that the score reaches; all later ones do."""
    return bisect_left(rule.thresholds, -score, key=_negative)


def _negative(value: float) -> float:
    return -value


def _nothing(rule: Rule) -> tuple[Counts, Counts, Counts]:
    none = (_NO_CHECKS,) * len(rule.thresholds)
    return none, none, none


def _sum(one: Count, other: Count) -> Count:
    return Count(one.checks + other.checks, one.wrong + other.wrong, is_held=False)


def _after(counts: Counts, which: range, test: RateTest, *, is_wrong: bool) -> Counts:
    """Return the counts after a check that some of them count."""
    counted = [counts[index].after(test, is_wrong=is_wrong) for index in which]
    return (*counts[: which.start], *counted, *counts[which.stop :])

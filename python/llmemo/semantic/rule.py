"""What a certificate promises, and the thresholds that it chooses from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple, NoReturn

from llmemo.errors import ConfigurationError
from llmemo.semantic.e_values import DriftDetector, checks_to_pass

_THRESHOLDS: Final = 13
_STRICTEST: Final = 0.96
_SECOND_START: Final = 6
"""Index of the threshold, from strict to loose, at which the second sequence of tests begins."""
_STRETCH: Final = 6
"""Bands of a stretch, of those below the strictest threshold."""


class RateTest(NamedTuple):
    """A test that refutes a rate of wrong checks.

    Attributes:
        rate: The rate, more than 0, less than 1.
        limit: The e-value to reach, more than 1.
    """

    rate: float
    limit: float

    def checks_needed(self, wrong: int = 0) -> int:
        """Return how many checks refute the rate when `wrong` of them are wrong."""
        return checks_to_pass(wrong, self.rate, self.limit)


@dataclass(frozen=True)
class Rule:
    """A bound on the share of served hits that are wrong.

    Attributes:
        max_error: Largest share of wrong hits, more than 0, at most 0.5.
        confidence: Probability that the bound holds, from 0.5 to less than 1.
        min_score: Lowest score of a would-be hit (cosine similarity), from 0 to less than 1.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    max_error: float = 0.02
    confidence: float = 0.95
    min_score: float = 0.8

    def __post_init__(self) -> None:
        """Check the values."""
        if not (_is_number(self.max_error) and 0 < self.max_error <= 0.5):
            _refuse("max_error", self.max_error, "more than 0, at most 0.5, such as 0.02")
        if not (_is_number(self.confidence) and 0.5 <= self.confidence < 1):
            _refuse("confidence", self.confidence, "from 0.5 to less than 1, such as 0.95")
        if not (_is_number(self.min_score) and 0 <= self.min_score < 1):
            _refuse("min_score", self.min_score, "from 0 to less than 1, such as 0.8")

    @cached_property
    def thresholds(self) -> tuple[float, ...]:
        """Scores that may be served from, from strict to loose; the last is `min_score`."""
        strictest = max(_STRICTEST, (self.min_score + 1) / 2)
        step = (strictest - self.min_score) / (_THRESHOLDS - 1)
        return (*(strictest - step * i for i in range(_THRESHOLDS - 1)), self.min_score)

    @cached_property
    def sequences(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the thresholds in the order in which each sequence of tests takes them.

        The second goes on with stricter ones, from where it began, once it has passed the loosest:
        one of these may have the only support.
        """
        every = tuple(range(_THRESHOLDS))
        return every, (*every[_SECOND_START:], *reversed(every[:_SECOND_START]))

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Indices of the thresholds at which a sequence of tests begins."""
        return tuple(sequence[0] for sequence in self.sequences)

    @cached_property
    def limit(self) -> float:
        """The e-value that a threshold has to reach: each sequence has its share of the level."""
        return len(self.sequences) / (1 - self.confidence)

    @cached_property
    def detector(self) -> DriftDetector:
        """Detects that served hits are wrong more often than `max_error`."""
        return DriftDetector(self.max_error)

    @cached_property
    def whole(self) -> RateTest:
        """Test of all checks with at least the score of a threshold."""
        return RateTest(self.max_error, self.limit)

    @cached_property
    def stretch(self) -> RateTest:
        """Test of the checks in the stretch above a threshold: no more than thrice `max_error`."""
        return RateTest(min(3 * self.max_error, (1 + self.max_error) / 2), self.limit)

    @cached_property
    def band(self) -> RateTest:
        """Test of the checks between a threshold and the next stricter one: fewer than half.

        It is there for a change of the rate within a stretch.
        """
        return RateTest(max(0.5, self.stretch.rate), max(2.0, self.limit / 4))

    def stretches_at(self, band: int) -> range:
        """Indices of the thresholds whose stretch has this band.

        A stretch is the band just above a threshold and the five above it. The strictest band,
        of near copies, stands for none but itself.
        """
        return range(band, 1 if band == 0 else min(band + _STRETCH, _THRESHOLDS))

    def checks_needed(self, wrong: int = 0) -> int:
        """Return how many checks certify a threshold when `wrong` of them are wrong."""
        return self.whole.checks_needed(wrong)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _refuse(name: str, value: object, wanted: str) -> NoReturn:
    msg = f"{name}={value!r} is not allowed: give a number {wanted}"
    raise ConfigurationError(msg)

"""Evidence on a rate of errors that may be looked at after every check.

An e-value is a bet against a hypothesis: under it, the wealth exceeds `x` at any time with a
probability of at most `1 / x` (Ville 1939). So a test may stop whenever it likes. The bets here
are mixtures of likelihood ratios (Waudby-Smith and Ramdas, "Estimating means of bounded random
variables by betting", 2024).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, TypeAlias

DetectorState: TypeAlias = tuple[float, ...]
"""One Shiryaev-Roberts statistic for each rate that a `DriftDetector` bets on."""

_SMALLEST: Final = 1e-300
_PRECISION: Final = 1e-15
_MOST_TERMS: Final = 100_000
_BISECTIONS: Final = 60
_HALF_LOG_TWO_PI: Final = 0.5 * math.log(2 * math.pi)


def log_e_value(checks: int, wrong: int, max_error: float) -> float:
    """Return the natural log of the e-value against "at least `max_error` are wrong".

    The bet is a mixture over all rates `q < max_error` of the likelihood ratio of `q` to
    `max_error`. Its prior is Beta(1/2, 1/2), truncated to `[0, max_error]`. The ratio of two
    incomplete Beta functions gives it in closed form.

    Args:
        checks: Number of independent checks.
        wrong: How many of these were wrong, at most `checks`.
        max_error: The rate to refute, between 0 and 1 (both excluded).

    Returns:
        The log; 0.0 (no evidence) where an argument is out of range. Relative error: 1e-9.
    """
    if not (0 < max_error < 1 and 0 <= wrong <= checks and checks > 0):
        return 0.0
    x, y = max_error, 1 - max_error
    a, b = wrong + 0.5, checks - wrong + 0.5
    # E = B_x(a, b) / (B_x(1/2, 1/2) x^(a - 1/2) y^(b - 1/2)), and B_x(1/2, 1/2) = 2 asin(sqrt(x)).
    scale = 0.5 * math.log(x * y) - math.log(2 * math.asin(math.sqrt(x)))
    if x < (a + 1) / (a + b + 2):
        return scale + math.log(_fraction(a, b, x) / a)
    whole = _log_scaled_beta(a, b, x)
    beyond = math.exp(-whole) * _fraction(b, a, y) / b
    return scale + whole + math.log1p(-beyond)


@lru_cache(maxsize=65_536)
def checks_to_pass(wrong: int, max_error: float, limit: float) -> int:
    """Return the smallest number of checks whose e-value reaches `limit` in spite of errors.

    For a fixed number of errors the e-value grows with each check. So `n` checks with `wrong`
    errors pass exactly where `n >= checks_to_pass(wrong, ...)`.

    Args:
        wrong: Number of checks that were wrong.
        max_error: The rate to refute, between 0 and 1 (both excluded).
        limit: The e-value to reach, more than 1. At level `alpha` it is `1 / alpha`.
    """
    goal = math.log(limit)
    # Where the observed rate is `max_error` or more, every bet has lost.
    low = max(wrong, math.floor(wrong / max_error))
    below = -goal
    step = math.ceil((8 + math.sqrt(8 * goal * wrong)) / max_error)
    while (above := log_e_value(low + step, wrong, max_error) - goal) < 0:
        low, below = low + step, above
        step *= 2
    high = low + step
    # Regula falsi, in the Illinois way: an end that stays is weighed half.
    while high - low > 1:
        guess = low + round((high - low) * below / (below - above))
        guess = min(max(guess, low + 1), high - 1)
        value = log_e_value(guess, wrong, max_error) - goal
        if value < 0:
            low, below, above = guess, value, above / 2
        else:
            high, above, below = guess, value, below / 2
    return high


def error_bound(checks: int, wrong: int, limit: float) -> float:
    """Return the upper confidence bound on the rate of errors, for all times at once.

    It is the smallest rate against which the e-value reaches `limit`, found by bisection.

    Args:
        checks: Number of checks.
        wrong: How many of these were wrong.
        limit: The e-value to reach. For confidence `1 - alpha` it is `1 / alpha`.

    Returns:
        A rate; 1.0 where the checks refute none.
    """
    if checks <= 0 or wrong >= checks:
        return 1.0
    goal = math.log(limit)
    low, high = max(wrong, 0) / checks, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if log_e_value(checks, wrong, middle) < goal:
            low = middle
        else:
            high = middle
    return high


class DriftDetector:
    """Detect that errors are more frequent than a rate, from any moment on.

    An e-detector sums, over all moments at which a change may have come, the e-value of "since
    then". Source: Shin, Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential
    change detection", 2023 (the Shiryaev-Roberts kind). While the rate of errors is at most
    `max_error`, the mean number of checks between two alarms is at least `LIMIT`.

    The state is not kept here: `after` maps one to the next.
    """

    LIMIT: Final = 2000.0
    HIGHEST_RATE: Final = 0.9
    WEIGHTS: Final = (1 / 6, 1 / 6, 1 / 6, 1 / 2)
    """Of the rates bet on, from the lowest up. The highest finds a sudden change."""

    START: Final[DetectorState] = (0.0,) * len(WEIGHTS)

    __slots__ = ("_if_right", "_if_wrong")

    def __init__(self, max_error: float) -> None:
        """Detect more than `max_error` wrong checks, a rate of at most 0.5."""
        lowest = min(2 * max_error, (max_error + self.HIGHEST_RATE) / 2)
        step = (self.HIGHEST_RATE / lowest) ** (1 / (len(self.WEIGHTS) - 1))
        rates = [lowest * step**i for i in range(len(self.WEIGHTS))]
        self._if_wrong = tuple(rate / max_error for rate in rates)
        self._if_right = tuple((1 - rate) / (1 - max_error) for rate in rates)

    def after(self, state: DetectorState, *, is_wrong: bool) -> DetectorState:
        """Return the state after one more check."""
        factors = self._if_wrong if is_wrong else self._if_right
        return tuple([(old + 1) * factor for old, factor in zip(state, factors, strict=True)])

    def is_alarm(self, state: DetectorState) -> bool:
        """Whether the state refutes that at most `max_error` of the checks are wrong."""
        return sum(w * value for w, value in zip(self.WEIGHTS, state, strict=True)) >= self.LIMIT


def _fraction(a: float, b: float, x: float) -> float:
    """Return `a B_x(a, b) / (x^a (1 - x)^b)` by its continued fraction, by Lentz's method.

    Source: NIST Digital Library of Mathematical Functions, 8.17.22. It converges quickly for
    `x < (a + 1) / (a + b + 2)`.
    """
    numerator = 1.0
    denominator = _away_from_zero(1 - (a + b) * x / (a + 1))
    inverse = 1 / denominator
    value = inverse
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        inverse = 1 / _away_from_zero(1 + even * inverse)
        numerator = _away_from_zero(1 + even / numerator)
        value *= numerator * inverse
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        inverse = 1 / _away_from_zero(1 + odd * inverse)
        numerator = _away_from_zero(1 + odd / numerator)
        change = numerator * inverse
        value *= change
        if abs(change - 1) <= _PRECISION:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _SMALLEST else _SMALLEST


def _log_scaled_beta(a: float, b: float, x: float) -> float:
    """Return `log(B(a, b) / (x^a (1 - x)^b))` without the cancellation of large logarithms.

    Source: Loader, "Fast and accurate computation of binomial probabilities", 2000.
    """
    total = a + b
    return (
        _deviance(a, total * x)
        + _deviance(b, total * (1 - x))
        + _HALF_LOG_TWO_PI
        + 0.5 * math.log(total / (a * b))
        + _stirling_error(a)
        + _stirling_error(b)
        - _stirling_error(total)
    )


def _deviance(value: float, expected: float) -> float:
    """Return `value log(value / expected) + expected - value`."""
    difference = (value - expected) / expected
    if abs(difference) > 0.1:
        return value * math.log(value / expected) + expected - value
    # (1 + d) log(1 + d) - d = d^2/2 - d^3/6 + d^4/12 - ...
    power, total = difference * difference, 0.0
    for n in range(2, 20):
        total += power / (n * (n - 1))
        power *= -difference
    return expected * total


def _stirling_error(z: float) -> float:
    """Return what Stirling's formula lacks of `log(gamma(z))`."""
    if z < 16:
        return math.lgamma(z) - ((z - 0.5) * math.log(z) - z + _HALF_LOG_TWO_PI)
    square = 1 / (z * z)
    series = 1 / 1260 - square * (1 / 1680 - square / 1188)
    return (1 / 12 - square * (1 / 360 - square * series)) / z

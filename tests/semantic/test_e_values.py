"""E-values agree with slow integration, are valid, and the detector finds changes quickly."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from support.doubles import ROUNDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmemo.semantic.e_values import DetectorState

from llmemo.semantic.e_values import (
    DriftDetector,
    checks_to_pass,
    error_bound,
    log_e_value,
)


def integrated(checks: int, wrong: int, max_error: float) -> float:
    """The log of the mixture by the trapezoidal rule, with q = sin(t)^2 and t by a tanh-sinh map.

    The prior Beta(1/2, 1/2) is uniform in t.
    """
    end = math.asin(math.sqrt(max_error))
    null = wrong * math.log(max_error) + (checks - wrong) * math.log1p(-max_error)
    steps = 4000
    logs = []
    for i in range(-steps, steps + 1):
        u = 3.5 * i / steps
        s = math.pi / 2 * math.sinh(u)
        t = end / (1 + math.exp(-2 * s))
        weight = math.log(math.pi / 2 * math.cosh(u)) - 2 * math.log(math.cosh(s))
        if t == 0.0:
            continue
        ratio = 2 * wrong * math.log(math.sin(t)) + 2 * (checks - wrong) * math.log(math.cos(t))
        logs.append(weight + ratio - null)
    top = max(logs)
    return top + math.log(math.fsum(math.exp(x - top) for x in logs) * 3.5 / steps / 2)


def by_fractions(checks: int, wrong: int, max_error: Fraction) -> float:
    """The same by the exact series of the incomplete Beta function, divided by 2 asin(sqrt)."""
    a, b = wrong + Fraction(1, 2), checks - wrong + Fraction(1, 2)
    term, total, n = Fraction(1), Fraction(0), 0
    while n < 400:
        total += term / (a + n)
        term *= (n + 1 - b) * max_error / (n + 1)
        n += 1
    # B_x(a, b) = x^a * total; the likelihood at max_error is x^(a - 1/2) (1 - x)^(b - 1/2).
    scaled = total / (1 - max_error) ** (checks - wrong)
    x = float(max_error)
    return math.log(scaled) + 0.5 * math.log(x) - math.log(2 * math.asin(math.sqrt(x)))


@pytest.mark.parametrize(
    ("checks", "wrong"),
    [(1, 0), (1, 1), (7, 3), (90, 0), (90, 4), (90, 90), (700, 21), (700, 35), (700, 60)],
)
@pytest.mark.parametrize("max_error", [0.02, 0.05, 0.1, 0.5])
def test_it_is_the_mixture(checks: int, wrong: int, max_error: float) -> None:
    expected = integrated(checks, wrong, max_error)
    assert log_e_value(checks, wrong, max_error) == pytest.approx(expected, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize(
    ("checks", "wrong"),
    [(10**5, 1000), (10**5, 4990), (10**6, 0), (10**6, 49_000), (10**6, 50_100)],
)
def test_it_is_the_mixture_of_many_checks(checks: int, wrong: int) -> None:
    expected = integrated(checks, wrong, 0.05)
    # The slow sum itself loses digits: its terms are differences of large logs.
    assert log_e_value(checks, wrong, 0.05) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("checks", "wrong"), [(1, 0), (5, 5), (40, 1), (90, 0), (90, 7)])
def test_it_is_exact_in_fractions(checks: int, wrong: int) -> None:
    expected = by_fractions(checks, wrong, Fraction(1, 20))
    assert log_e_value(checks, wrong, 0.05) == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("max_error", [1e-6, 0.02, 0.5, 0.999])
def test_its_mean_over_the_next_check_is_its_value(max_error: float) -> None:
    """A martingale: the defining property of a bet at fair odds."""
    for checks, wrong in [(1, 0), (30, 2), (999, 20), (5000, 5000), (12_345, 600)]:
        now = log_e_value(checks, wrong, max_error)
        right = math.exp(log_e_value(checks + 1, wrong, max_error) - now)
        bad = math.exp(log_e_value(checks + 1, wrong + 1, max_error) - now)
        assert max_error * bad + (1 - max_error) * right == pytest.approx(1, rel=1e-8)


@pytest.mark.parametrize(
    "arguments",
    [(0, 0, 0.05), (-1, 0, 0.05), (3, 4, 0.05), (3, -1, 0.05), (3, 1, 0.0), (3, 1, 1.0)],
)
def test_what_is_out_of_range_is_no_evidence(arguments: tuple[int, int, float]) -> None:
    assert log_e_value(*arguments) == 0.0


def test_no_input_raises() -> None:
    rng = random.Random(5)
    for _ in range(300 * min(ROUNDS, 20)):
        checks = int(10 ** rng.uniform(0, 6))
        wrong = rng.choice([0, checks, rng.randint(0, checks), int(checks * 0.05)])
        max_error = rng.choice([1e-12, 1e-4, 0.05, 0.5, 1 - 1e-9, rng.random()])
        assert math.isfinite(log_e_value(checks, wrong, max_error))


@pytest.mark.parametrize(("max_error", "needed"), [(0.05, 90), (0.02, 227)])
def test_checks_without_an_error(max_error: float, needed: int) -> None:
    assert checks_to_pass(0, max_error, 40) == needed


@pytest.mark.parametrize("limit", [1.5, 40, 2000])
@pytest.mark.parametrize("max_error", [0.001, 0.02, 0.05, 0.5])
def test_the_fewest_checks_that_pass(max_error: float, limit: float) -> None:
    for wrong in (0, 1, 2, 5, 50, 3000):
        needed = checks_to_pass(wrong, max_error, limit)
        assert log_e_value(needed, wrong, max_error) >= math.log(limit)
        assert log_e_value(needed - 1, wrong, max_error) < math.log(limit)


def test_the_bound_is_where_the_test_passes() -> None:
    assert error_bound(0, 0, 40) == 1.0
    assert error_bound(5, 5, 40) == 1.0
    for checks, wrong in [(1, 0), (90, 0), (90, 3), (700, 14), (10**5, 1000)]:
        bound = error_bound(checks, wrong, 40)
        assert wrong / checks < bound < 1
        assert log_e_value(checks, wrong, bound) >= math.log(40)
        assert log_e_value(checks, wrong, bound - 1e-6) < math.log(40)
    assert error_bound(90, 0, 40) < 0.05 < error_bound(89, 0, 40)


def alarm_after(
    detector: DriftDetector, state: DetectorState, verdicts: Iterable[bool]
) -> int | None:
    """The number of checks until the alarm."""
    for number, is_wrong in enumerate(verdicts, 1):
        state = detector.after(state, is_wrong=is_wrong)
        if detector.is_alarm(state):
            return number
    return None


@pytest.mark.parametrize(("max_error", "most"), [(0.02, 3), (0.05, 3), (0.1, 4)])
def test_a_few_wrong_ones_in_a_row_are_an_alarm(max_error: float, most: int) -> None:
    detector = DriftDetector(max_error)
    state = detector.START
    for _ in range(200):
        state = detector.after(state, is_wrong=False)
    assert alarm_after(detector, state, [True] * 10) in range(2, most + 1)


@pytest.mark.parametrize("max_error", [0.05, 0.1])
def test_a_doubled_rate_of_errors_is_found(max_error: float) -> None:
    detector, rng = DriftDetector(max_error), random.Random(11)
    delays = [
        alarm_after(detector, detector.START, (rng.random() < 2 * max_error for _ in range(5000)))
        for _ in range(40)
    ]
    found = [delay for delay in delays if delay is not None]
    assert len(found) == len(delays)
    assert sum(found) / len(found) < 400


@pytest.mark.slow
@pytest.mark.parametrize("max_error", [0.02, 0.05, 0.1, 0.5])
def test_false_alarms_are_rare(max_error: float) -> None:
    """At the very rate that is allowed: the mean run is at least the limit (Shin et al., 2023)."""
    detector, rng = DriftDetector(max_error), random.Random(12)
    runs = [
        alarm_after(detector, detector.START, (rng.random() < max_error for _ in range(20_000)))
        for _ in range(12 * min(ROUNDS, 10))
    ]
    assert sum(run or 20_000 for run in runs) / len(runs) > 2000

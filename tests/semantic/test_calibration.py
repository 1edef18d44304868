"""A calibration says what would be served, from which pairs, and how sure that is."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, cast

import pytest

from llmemo.errors import ConfigurationError
from llmemo.semantic.calibration import checked_pairs, checks_needed, report_of
from llmemo.semantic.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD: list[tuple[float, bool, str | None]] = [(0.97, True, None)] * 90


def mixed(number: int = 2000) -> Iterator[tuple[float, bool, str | None]]:
    rng = random.Random(8)
    for _ in range(number):
        score = rng.uniform(0.7, 1.0)
        guard = "numbers" if rng.random() < 0.1 else "names" if rng.random() < 0.03 else None
        yield score, rng.random() > 5 * (1 - score) ** 2, guard


def test_it_counts_what_is_needed() -> None:
    assert checks_needed(0.05, 0.95) == 90
    assert checks_needed(0.02, 0.95) == 227
    with pytest.raises(ConfigurationError, match="max_error=0 "):
        checks_needed(0, 0.95)


def test_a_report_and_its_certificate_agree() -> None:
    report, certificate = report_of(Rule(0.05), mixed())
    assert report.pairs == 2000
    assert report.threshold == certificate.threshold is not None
    chosen = next(row for row in report.rows if row.threshold == report.threshold)
    assert (report.hits, report.error) == (chosen.pairs, chosen.wrong / chosen.pairs)
    assert report.bound is not None
    assert report.error < report.bound <= 0.05 == report.max_error
    assert report.would_be_hits == report.rows[-1].pairs == certificate.checks
    assert report.hits < report.would_be_hits
    assert report.refused.keys() == {"numbers", "names"}
    at_least = sum(score >= 0.8 for score, _, _ in mixed())
    assert sum(report.refused.values()) + report.would_be_hits == at_least
    assert report_of(Rule(0.05), sorted(mixed(), key=str)) == (report, certificate)


def test_the_table_is_clear() -> None:
    report, _ = report_of(Rule(0.05), mixed())
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    assert lines[0].startswith("2000 pairs, ")
    assert lines[0].endswith("at most 5 % wrong, confidence 95 %")
    marked = [line for line in lines if line.startswith(">")]
    assert len(marked) == 1
    assert f"{report.threshold:.3f}" in marked[0]
    assert "certified" in marked[0]
    assert f"Served from {report.threshold:.3f}: {report.hits} hits, " in str(report)
    assert lines[-2].split()[-1] == "numbers"


def test_nothing_certified_is_said() -> None:
    pairs = [(0.5, True, None)] * 60 + [(0.9, True, None)] * 40
    report, certificate = report_of(Rule(0.05), pairs)
    assert (report.threshold, report.bound, report.hits, report.error) == (None, None, 0, 0.0)
    assert certificate.threshold is None
    assert "Nothing is served" in str(report)
    assert "90 would-be hits without an error" in str(report)
    assert "Refused" not in str(report)


def test_too_few_pairs_are_refused() -> None:
    message = "90 pairs without an error are needed for max_error=0.05, confidence=0.95; 12 were"
    with pytest.raises(ConfigurationError, match=message):
        report_of(Rule(0.05), GOOD[:12])
    report, _ = report_of(Rule(0.05), GOOD)
    assert report.threshold == 0.96


def test_refused_pairs_and_scores_that_are_none_prove_nothing() -> None:
    pairs = [(0.97, True, "numbers")] * 500 + [(float("nan"), True, None)] * 500
    report, _ = report_of(Rule(0.05), pairs)
    assert (report.would_be_hits, report.threshold) == (0, None)


def test_pairs_are_checked_one_by_one() -> None:
    good = ("How do I pay?", "How can I pay?", True)
    assert list(checked_pairs(iter(cast("Any", [good, list(good)])))) == [good, good]


@pytest.mark.parametrize(
    ("bad", "shape"),
    [
        (("a", "b"), r"\(str, str\)"),
        (("a", "b", 1), r"\(str, str, int\)"),
        (("a", None, True), r"\(str, NoneType, bool\)"),
        ("abc", "a str"),
        (None, "a NoneType"),
        ({"a": "secret"}, "a dict"),
        (("a",) * 100, "a tuple"),
    ],
)
def test_anything_else_is_refused(bad: Any, shape: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"pairs\[1\] is {shape}; give \(question") as e:
        list(checked_pairs([("a", "b", True), bad]))
    assert "secret" not in str(e.value)


def test_pairs_that_are_no_iterable_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="pairs: a int was given; give an iterable"):
        list(checked_pairs(cast("Any", 5)))

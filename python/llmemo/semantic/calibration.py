"""What pairs of questions, judged by hand, say of the score to serve from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from llmemo.errors import ConfigurationError
from llmemo.semantic.certificate import Certificate
from llmemo.semantic.e_values import error_bound
from llmemo.semantic.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ROW = "{:1} {:>9} {:>8} {:>7} {:>8} {:>8}  {}"
_WANTED = "(question, question, same), such as ('How do I pay?', 'How can I pay?', True)"


class ThresholdRow(NamedTuple):
    """What the pairs say of one threshold.

    Attributes:
        threshold: Lowest score.
        pairs: Number of would-be hits with at least that score.
        wrong: How many of these ask for different answers.
        bound: Upper confidence bound on the share of wrong ones.
        is_certified: Whether `max_error` is refuted at this threshold alone, and enough pairs are
            near it.
    """

    threshold: float
    pairs: int
    wrong: int
    bound: float
    is_certified: bool


@dataclass(frozen=True)
class CalibrationReport:
    """The result of a calibration. `str()` gives a table.

    Attributes:
        threshold: Lowest score that may be served; None where no threshold is certified.
        hits: Number of pairs that would be served.
        pairs: Number of pairs given.
        would_be_hits: Number of pairs with at least `min_score` that no guard has refused.
        error: Observed share of wrong ones among the hits; 0.0 without hits.
        bound: Upper confidence bound on that share; None without a threshold.
        max_error: Largest share of wrong hits that was asked for.
        confidence: Probability that the bound holds.
        refused: Number of pairs with at least `min_score` that each guard has refused.
        checks_needed: Number of would-be hits without an error that certify a threshold.
        rows: One for each threshold, from strict to loose.
    """

    threshold: float | None
    hits: int
    pairs: int
    would_be_hits: int
    error: float
    bound: float | None
    max_error: float
    confidence: float
    refused: dict[str, int]
    checks_needed: int
    rows: tuple[ThresholdRow, ...]

    def __str__(self) -> str:
        """Return a table of at most 80 columns; the threshold that is served has a `>`."""
        wanted = f"at most {_percent(self.max_error)} wrong, confidence {_percent(self.confidence)}"
        lines = [
            f"{self.pairs} pairs, {self.would_be_hits} would-be hits; {wanted}",
            _ROW.format("", "threshold", "hits", "wrong", "error", "bound", "").rstrip(),
        ]
        for row in self.rows:
            chosen = ">" if row.threshold == self.threshold else ""
            error = f"{row.wrong / row.pairs:.2%}" if row.pairs else "-"
            told = "certified" if row.is_certified else ""
            score, bound = f"{row.threshold:.3f}", f"{row.bound:.2%}"
            line = _ROW.format(chosen, score, row.pairs, row.wrong, error, bound, told)
            lines.append(line.rstrip())
        lines.append(self._result())
        if self.refused:
            lines.append("Refused by guards:")
            by_number = sorted(self.refused.items(), key=lambda item: (-item[1], item[0]))
            lines += [f"  {number:>8} {guard[:60]}" for guard, number in by_number]
        return "\n".join(lines)

    def _result(self) -> str:
        if self.threshold is None or self.bound is None:
            return (
                "Nothing is served: no threshold is certified.\n"
                f"{self.checks_needed} would-be hits without an error certify one."
            )
        return (
            f"Served from {self.threshold:.3f}: {self.hits} hits, "
            f"{self.error:.2%} wrong, at most {self.bound:.2%}."
        )


def checks_needed(max_error: float, confidence: float) -> int:
    """Return how many checks without an error certify a threshold.

    Args:
        max_error: Largest share of wrong hits, more than 0, at most 0.5.
        confidence: Probability that the bound holds, from 0.5 to less than 1.

    Raises:
        ConfigurationError: A value is out of its range.
    """
    return Rule(max_error, confidence).checks_needed()


def report_of(
    rule: Rule, scored: Iterable[tuple[float, bool, str | None]]
) -> tuple[CalibrationReport, Certificate]:
    """Return what scored pairs prove, and the certificate that follows from them.

    All pairs are tested at once: their order says nothing.

    Args:
        rule: What is promised.
        scored: For each pair its score, whether both questions have the same answer, and the
            name of the guard that refused it (None: no guard did).

    Raises:
        ConfigurationError: There are too few pairs to certify anything.
    """
    pairs = 0
    refused: Counter[str] = Counter()
    sample: list[tuple[float, bool]] = []
    for score, same, guard in scored:
        pairs += 1
        if not score >= rule.min_score:  # which NaN is not either
            continue
        if guard is None:
            sample.append((score, not same))
        else:
            refused[guard] += 1
    check_enough(rule, pairs)
    certificate = Certificate.of_sample(rule, sample)
    hits = 0 if certificate.served is None else certificate.counts[certificate.served].checks
    report = CalibrationReport(
        threshold=certificate.threshold,
        hits=hits,
        pairs=pairs,
        would_be_hits=len(sample),
        error=certificate.error or 0.0,
        bound=certificate.bound,
        max_error=rule.max_error,
        confidence=rule.confidence,
        refused=dict(refused),
        checks_needed=rule.checks_needed(),
        rows=_rows(certificate),
    )
    return report, certificate


def check_enough(rule: Rule, pairs: int) -> None:
    """Raise unless this number of pairs can certify anything.

    Raises:
        ConfigurationError: It cannot.
    """
    needed = rule.checks_needed()
    if pairs < needed:
        msg = (
            f"{needed} pairs without an error are needed for max_error={rule.max_error:g}, "
            f"confidence={rule.confidence:g}; {pairs} were given"
        )
        raise ConfigurationError(msg)


def _rows(certificate: Certificate) -> tuple[ThresholdRow, ...]:
    rule = certificate.rule
    return tuple(
        ThresholdRow(
            threshold,
            count.checks,
            count.wrong,
            error_bound(count.checks, count.wrong, rule.limit),
            count.is_held and certificate.is_supported(at),
        )
        for at, (threshold, count) in enumerate(
            zip(rule.thresholds, certificate.counts, strict=True)
        )
    )


def checked_pairs(pairs: Iterable[tuple[str, str, bool]]) -> Iterator[tuple[str, str, bool]]:
    """Yield the pairs, each checked to be two questions and a bool.

    Raises:
        ConfigurationError: A pair is something else, or `pairs` cannot be iterated over. The
            message gives its number, counted from 0, and its type but not its text.
    """
    try:
        iterator = iter(pairs)
    except TypeError:
        msg = f"pairs: a {type(pairs).__name__} was given; give an iterable of {_WANTED}"
        raise ConfigurationError(msg) from None
    for number, pair in enumerate(iterator):
        if not _is_pair(pair):
            msg = f"pairs[{number}] is {_shape(pair)}; give {_WANTED}"
            raise ConfigurationError(msg)
        first, second, same = pair
        yield first, second, same


def _percent(share: float) -> str:
    return f"{100 * share:.6g} %"


def _is_pair(pair: object) -> bool:
    if not isinstance(pair, (tuple, list)) or len(pair) != 3:
        return False
    first, second, same = pair
    return isinstance(first, str) and isinstance(second, str) and isinstance(same, bool)


def _shape(pair: object) -> str:
    if isinstance(pair, (tuple, list)) and len(pair) <= 8:
        return "(" + ", ".join(type(part).__name__ for part in pair) + ")"
    return f"a {type(pair).__name__}"

"""Streams of would-be hits, and what a cache that follows a certificate makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmemo.semantic.certificate import Certificate, Verdict, counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

    from llmemo.semantic.rule import Rule

ERRORS_BY_SCORE = {
    "guarded": ((0.97, 0.002), (0.95, 0.004), (0.90, 0.02), (0.85, 0.06), (0.80, 0.20)),
    "unguarded": ((0.99, 0.01), (0.95, 0.05), (0.90, 0.15), (0.85, 0.25), (0.80, 0.45)),
    "easy": ((0.97, 0.0005), (0.95, 0.002), (0.90, 0.01), (0.85, 0.03), (0.80, 0.08)),
}
"""Shares of wrong would-be hits by score; "unguarded" resembles the Quora questions."""


@dataclass
class Followed:
    """What came of a stream."""

    certificate: Certificate
    requests: int = 0
    hits: int = 0
    wrong: int = 0
    hit_times: list[int] = field(default_factory=list)

    @property
    def error(self) -> float:
        return self.wrong / self.hits if self.hits else 0.0


def follow(
    certificate: Certificate,
    stream: Iterable[tuple[float, bool] | None],
    *,
    shadow: float,
    rng: Random,
) -> Followed:
    """Serve a stream of would-be hits (score, is it wrong?), and of misses (None)."""
    result = Followed(certificate)
    for time, would_be in enumerate(stream):
        result.requests += 1
        if would_be is None:
            continue
        score, is_wrong = would_be
        now = result.certificate
        is_served = now.threshold is not None and score >= now.threshold
        if is_served and rng.random() >= shadow:
            result.hits += 1
            result.wrong += is_wrong
            result.hit_times.append(time)
        elif counts(score, now.threshold, shadow, rng):
            verdict = Verdict(score, is_wrong, is_served, now.epoch)
            result.certificate = now.after([verdict])
    return result


def would_be_hits(
    kind: str, rng: Random, requests: int, *, share: float = 0.6
) -> Iterator[tuple[float, bool] | None]:
    """Yield requests, `share` of them near an earlier one, wrong as often as their score says."""
    errors = ERRORS_BY_SCORE[kind]
    for _ in range(requests):
        if rng.random() >= share:
            yield None
            continue
        score = 0.8 + 0.2 * rng.betavariate(1.5, 1.5)
        yield score, rng.random() < _interpolated(errors, score)


def _interpolated(points: tuple[tuple[float, float], ...], score: float) -> float:
    strict, error = points[0]
    if score >= strict:
        return error
    for looser, next_error in points[1:]:
        if score >= looser:
            part = (score - looser) / (strict - looser)
            return math.exp(part * math.log(error) + (1 - part) * math.log(next_error))
        strict, error = looser, next_error
    return error


def is_ever_certified(rule: Rule, rng: Random, error: float, checks: int) -> bool:
    """Whether a cache that is looked at after each check certifies a constant rate of errors."""
    certificate = Certificate.fresh(rule)
    for _ in range(checks):
        verdict = Verdict(rng.uniform(0.8, 1.0), rng.random() < error, is_served=False, epoch=0)
        certificate = certificate.after([verdict])
        if certificate.threshold is not None:
            return True
    return False

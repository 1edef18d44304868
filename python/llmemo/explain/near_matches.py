"""Why a similar question is answered, or is not, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo._core import RequestBypassed
from llmemo.keys.identity import partition_of
from llmemo.semantic.tier import REPEATS_MAX
from llmemo.semantic.unread import objection
from llmemo.store_io.calls import Call, run_inline
from llmemo.store_io.time_budget import TimeBudget

if TYPE_CHECKING:
    from llmemo.keys.request import Request
    from llmemo.pipeline.tiers import Tiers
    from llmemo.semantic.tier import SemanticTier

SHOWN = 3
"""Questions that are told."""

SHORT = 60
"""Longest part of a question that is quoted, in characters."""

WHY_NOT = {
    "no_question": "the request does not end in a question of plain text",
    "too_long": "the question is longer than an embedder reads",
}
"""By the reason for which a question is not compared."""

NO_JUDGE = (
    "without a judge an answer counts as wrong unless its text is equal: long free text never"
    " certifies (give Semantic(judge=LLMJudge(model)))"
)


def near_matches(
    tiers: Tiers, semantic: SemanticTier, request: Request, namespace: str, key: bytes
) -> tuple[bool, list[str]]:
    """Whether an answer to a similar question would be served, and a line for each neighbour."""
    try:
        found = partition_of(tiers.memory, request, namespace)
    except RequestBypassed:
        found = None
    question, reason = (None, "no_question") if found is None else semantic.question_in(found[1])
    if found is None or question is None:
        return False, [WHY_NOT[reason]]
    budget = None
    if tiers.durable is not None:
        budget = TimeBudget(tiers.durable.waited, tiers.durable.health.waiting_reads)
    rest = semantic.rest(namespace, found[0])
    asked = run_inline(semantic.prepared(rest, question, Call.blocking, budget))
    if asked is None:
        return False, ["the embedder gives no vector for the question"]
    lines: list[str] = []
    would_serve = False
    for other, neighbour, score in semantic.neighbours.candidates(asked):
        against = objection(asked.text, neighbour, score)
        if against is None:
            if run_inline(semantic.neighbours.answer(other, Call.blocking, budget)) is None:
                continue  # its entry has expired, or was removed
            verdict = _verdict(semantic, score, key)
        else:
            verdict = f"refused, {against.reason}"
        would_serve = verdict == SERVED
        if would_serve or len(lines) < SHOWN:
            lines.append(f"nearest {score:.2f}: {verdict} ({_short(neighbour)})")
        if against is None:
            break  # a lookup looks no further
    if not lines:
        least = semantic.settings.min_score
        return False, [f"no question of the same context has a score of {least:g} or more"]
    if not would_serve and semantic.settings.judge is None:
        lines.append(NO_JUDGE)
    return would_serve, lines


SERVED = "served"


def _verdict(semantic: SemanticTier, score: float, key: bytes) -> str:
    certificate = semantic.certification.certificate
    threshold = certificate.threshold
    if threshold is not None and score >= threshold:
        if semantic.is_repeated(key):
            return f"not served, the request was given near matches {REPEATS_MAX} times already"
        return SERVED
    if threshold is not None:
        return f"not served, below the certified {threshold:.2f}"
    return f"not served yet, {certificate.needed} more checks without an error are needed"


def _short(question: str) -> str:
    text = " ".join(question.split())
    return repr(text if len(text) <= SHORT else text[: SHORT - 1] + "…")

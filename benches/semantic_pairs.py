"""Hits and wrong hits of semantic caches on pairs of questions, as one table for each set.

Usage: python benches/semantic_pairs.py

The sets: the pairs that ship (`data/question_pairs.jsonl`); the held-out fifth of fow-cache's
(Mabon ap Gwyn, CC BY 4.0; `sha1(a)[0] % 5 == 0`); a sample of the file that the variable
LLMEMO_QUESTION_PAIRS names, of lines `[question, question, 1 if they ask the same]`.

A pair is a cache that holds one question and is asked the other. Every rule gets the same vectors,
of all-MiniLM-L6-v2: thresholds are the libraries' defaults, the models are not.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import itertools
import json
import os
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

# Run as a file, Python would look for modules in benches/ only. The embedder is the tests'.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "tests"))

from rich.console import Console
from rich.table import Table
from support.minilm import embed

from benches.data.make_question_pairs import TARGET as SHIPPED
from llmemo.errors import ConfigurationError
from llmemo.semantic.calibration import report_of
from llmemo.semantic.guards import refusal
from llmemo.semantic.rule import Rule

VARIABLE = "LLMEMO_QUESTION_PAIRS"
SAMPLE, SEED = 2_500, 17
"""Pairs of a large file that are measured, and the seed that draws them."""

MAX_ERRORS = (0.02, 0.05, 0.10)
THRESHOLDS = (0.95, 0.90, 0.80)
REDISVL_DISTANCE = 0.1
"""`distance_threshold` of RedisVL's SemanticCache: serve up to this cosine distance."""
BANDS = (-1.0, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)

NOTE = (
    "A pair is a cache that holds one question and is asked the other: hits are pairs that are "
    "served, wrong ones ask for different answers. llmemo has its guards, and the threshold that "
    "`calibrate` certifies on other pairs: the other half of a set, or the part of fow-cache "
    "(Mabon ap Gwyn, CC BY 4.0) that is not held out. `static, same error` is the lowest static "
    "threshold whose error is not larger, found by looking at the answers, and its hits; the ratio "
    "is llmemo's hits by these. With 0 hits llmemo abstains: no threshold is certified. "
    "Every rule gets the vectors of all-MiniLM-L6-v2. The thresholds of RedisVL and "
    "GPTCache are their defaults. Labels of the Quora pairs, where they are shown, are "
    "noisy: of 40 pairs above 0.95 that are labelled as different, 27 ask the same."
)

Judged = tuple[float, bool]
"""A score, and whether the stored answer was right."""
Guard = Callable[[str, str], "str | None"]
"""(asked, stored) -> why the stored answer is refused, or None."""
Chooser = Callable[[Sequence[Judged]], "float | None"]
"""Checks in the order of their coming -> the threshold they certify, or None."""


class Pair(NamedTuple):
    """Two questions, the cosine of their vectors, and whether one answer is right for both."""

    asked: str
    stored: str
    score: float
    same: bool


class Counted(NamedTuple):
    """What a rule serves of some pairs."""

    hits: int
    wrong: int

    @property
    def error(self) -> float:
        """Share of the hits that are wrong; 0 without hits."""
        return self.wrong / self.hits if self.hits else 0.0


class Fold(NamedTuple):
    """Pairs to learn a threshold from, and others to count."""

    learnt: Sequence[Pair]
    counted: Sequence[Pair]


@dataclass(frozen=True)
class QuestionSet:
    """Pairs with a name; every pair is counted in one fold."""

    name: str
    folds: tuple[Fold, ...]

    @property
    def pairs(self) -> list[Pair]:
        """The pairs that are counted."""
        return [pair for fold in self.folds for pair in fold.counted]


class Subject(NamedTuple):
    """A cache that refuses by guards and learns its threshold."""

    guard: Guard
    choose: Chooser
    name: str = "llmemo"


class Row(NamedTuple):
    """What a rule serves of a set."""

    rule: str
    counted: Counted
    best: tuple[float, Counted] | None = None
    """Of llmemo: the static threshold with the same error, and what it serves."""

    @property
    def ratio(self) -> float | None:
        """llmemo's hits by those of the static threshold; None without either."""
        if self.best is None or not self.best[1].hits:
            return None
        return self.counted.hits / self.best[1].hits

    def cells(self) -> list[str]:
        """Rule, hits, wrong, error, and the static threshold of the same error."""
        counted, best, ratio = self.counted, "", ""
        if self.best is not None:
            threshold, static = self.best
            best = f"{static.hits:,} (from {threshold:.3f})" if static.hits else "0"
            ratio = (
                f"{self.ratio:.2f}\N{MULTIPLICATION SIGN}"
                if self.ratio is not None
                else "\N{EN DASH}"
            )
        error = f"{counted.error:.1%}" if counted.hits else "\N{EN DASH}"
        return [self.rule, f"{counted.hits:,}", f"{counted.wrong:,}", error, best, ratio]


HEADS = ("rule", "hits", "wrong", "error", "static, same error", "ratio")


def _certified(max_error: float) -> Chooser:
    """Chooses the threshold that a calibration with the pairs certifies."""
    rule = Rule(max_error)

    def choose(checks: Sequence[Judged]) -> float | None:
        try:
            report, _ = report_of(rule, ((score, same, None) for score, same in checks))
        except ConfigurationError:
            return None  # too few
        return report.threshold

    return choose


def subjects() -> list[Subject]:
    """llmemo with its guards, calibrated for three bounds."""
    return [
        Subject(_against, _certified(each), f"llmemo, max_error={each:g}") for each in MAX_ERRORS
    ]


def _against(asked: str, stored: str) -> str | None:
    against = refusal(asked, stored)
    return None if against is None else against.guard


def judged(pairs: Sequence[Pair]) -> list[Judged]:
    """The scores of `pairs` and whether each is right."""
    return [(pair.score, pair.same) for pair in pairs]


def static_hits(pairs_scores: Sequence[Judged], threshold: float) -> Counted:
    """Serve every pair whose score reaches `threshold`."""
    served = [same for score, same in pairs_scores if score >= threshold]
    return Counted(len(served), served.count(False))


def best_static(pairs_scores: Sequence[Judged], error: float) -> tuple[float, Counted]:
    """The lowest threshold whose error is at most `error`, found by looking at the answers.

    No user can set it so well: this is what a static threshold could reach at best.
    """
    best = (1.01, Counted(0, 0))
    hits = wrong = 0
    ordered = sorted(pairs_scores, reverse=True)
    for at, (score, same) in enumerate(ordered):
        hits, wrong = hits + 1, wrong + (not same)
        # Pairs of one score are served together, or not at all.
        is_last = at + 1 == len(ordered) or ordered[at + 1][0] < score
        if is_last and wrong <= error * hits:
            best = score, Counted(hits, wrong)
    return best


def redisvl_hits(pairs_scores: Sequence[Judged]) -> Counted:
    """Serve as RedisVL does: the cosine distance is at most 0.1, so the cosine at least 0.9."""
    return static_hits(pairs_scores, 1 - REDISVL_DISTANCE)


def gptcache_hits(pairs_scores: Sequence[Judged]) -> Counted:
    """Serve as GPTCache does, with its evaluator and its settings.

    Its index finds squared L2 distances d (Faiss METRIC_L2), its evaluator makes 4 - d of them, and
    its adapter serves from 0.8 of the evaluator's range on: d <= 0.8. For unit vectors d is
    2 - 2 cos, so it serves from a cosine of 0.6 on. (gptcache 0.1.44: adapter/adapter.py,
    similarity_evaluation/distance.py, config.py.)
    """
    from gptcache.config import Config  # type: ignore[import-untyped]
    from gptcache.similarity_evaluation.distance import (  # type: ignore[import-untyped]
        SearchDistanceEvaluation,
    )

    evaluator = SearchDistanceEvaluation()
    low, high = evaluator.range()
    threshold = (high - low) * Config().similarity_threshold
    ranked = [
        (evaluator.evaluation({}, {"search_result": (2 - 2 * score, None)}), same)
        for score, same in pairs_scores
    ]
    return static_hits(ranked, threshold)


def subject_hits(folds: Sequence[Fold], subject: Subject) -> Counted:
    """Serve what the guard lets pass and the threshold learnt from other pairs admits."""
    hits = wrong = 0
    for fold in folds:
        threshold = subject.choose(judged(_passed(fold.learnt, subject.guard)))
        if threshold is not None:
            counted = static_hits(judged(_passed(fold.counted, subject.guard)), threshold)
            hits, wrong = hits + counted.hits, wrong + counted.wrong
    return Counted(hits, wrong)


def _passed(pairs: Sequence[Pair], guard: Guard) -> list[Pair]:
    return [pair for pair in pairs if guard(pair.asked, pair.stored) is None]


def rows(questions: QuestionSet, subjects: Sequence[Subject] = ()) -> list[Row]:
    """Every rule and what it serves of `questions`: the subjects come first."""
    scored = judged(questions.pairs)
    found = []
    for subject in subjects:
        own = subject_hits(questions.folds, subject)
        found.append(Row(subject.name, own, best_static(scored, own.error)))
    return [
        *found,
        *(Row(f"static {each:.2f}", static_hits(scored, each)) for each in THRESHOLDS),
        Row("RedisVL (distance 0.1)", redisvl_hits(scored)),
        Row("GPTCache (0.8)", gptcache_hits(scored)),
    ]


def title(questions: QuestionSet) -> str:
    """The name of a set, and its size."""
    same = sum(pair.same for pair in questions.pairs)
    different = len(questions.pairs) - same
    return f"{questions.name}: {same:,} pairs ask the same, {different:,} do not"


def table(questions: QuestionSet, found: Sequence[Row]) -> Table:
    """The rows for a terminal."""
    shown = Table(*HEADS[:1], title=title(questions))
    for head in HEADS[1:]:
        shown.add_column(head, justify="right", no_wrap=True)
    for row in found:
        shown.add_row(*row.cells())
    return shown


def markdown(tables: Sequence[tuple[QuestionSet, Sequence[Row]]]) -> str:
    """The rows of all sets for docs/benchmarks.md, and the note that they need."""
    parts = []
    for questions, found in tables:
        rule = ["---", *("---:" for _ in HEADS[1:])]
        lines = [
            f"| {' | '.join(cells)} |" for cells in (HEADS, rule, *(it.cells() for it in found))
        ]
        parts += [f"**{title(questions)}**", "", *lines, ""]
    return "\n".join([*parts, NOTE])


def histogram(questions: QuestionSet) -> Table:
    """Pairs by their score: those that ask the same, and the others."""
    shown = Table(title=f"{questions.name}: pairs by cosine, from")
    shown.add_column("")
    for low in BANDS:
        shown.add_column("less" if low < 0 else f"{low:g}", justify="right", no_wrap=True)
    for name, same in (("same", True), ("different", False)):
        scores = [pair.score for pair in questions.pairs if pair.same is same]
        bands = itertools.pairwise((*BANDS, 2.0))
        shown.add_row(name, *(f"{sum(a <= it < b for it in scores):,}" for a, b in bands))
    return shown


def scored(lines: Sequence[tuple[str, str, bool]]) -> list[Pair]:
    """Embed each question once, and score the pairs."""
    # Texts of one length in a batch need no padding, which would be computed for nothing.
    texts = sorted({text for asked, stored, _ in lines for text in (asked, stored)}, key=len)
    vectors = dict(zip(texts, embed(texts), strict=True))
    return [Pair(a, b, float(vectors[a] @ vectors[b]), bool(same)) for a, b, same in lines]


def halves(pairs: Sequence[Pair]) -> tuple[Fold, ...]:
    """Two folds: each half is counted with what the other one teaches."""
    one = [pair for pair in pairs if _digest(f"{pair.asked}\n{pair.stored}") % 2]
    other = [pair for pair in pairs if not _digest(f"{pair.asked}\n{pair.stored}") % 2]
    return Fold(other, one), Fold(one, other)


def _digest(text: str) -> int:
    return hashlib.sha1(text.encode(), usedforsecurity=False).digest()[0]


def shipped() -> QuestionSet:
    """The pairs that ship with the repository."""
    lines = [json.loads(line) for line in SHIPPED.read_text(encoding="utf-8").splitlines()]
    return QuestionSet("Shipped", halves(scored([(a, b, same) for a, b, same, _ in lines])))


def fow_cache() -> QuestionSet:
    """The held-out fifth of fow-cache's pairs; the others teach the threshold."""
    text = (resources.files("fow_cache") / "data" / "pairs.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    # `a` is the cached question.
    pairs = scored([(it["b"], it["a"], it["same_answer"]) for it in lines])
    is_held_out = [_digest(pair.stored) % 5 == 0 for pair in pairs]
    counted = [pair for pair, held in zip(pairs, is_held_out, strict=True) if held]
    learnt = [pair for pair, held in zip(pairs, is_held_out, strict=True) if not held]
    return QuestionSet("fow-cache, held out", (Fold(learnt, counted),))


def from_file(path: Path) -> QuestionSet:
    """A sample of a file of pairs, gzipped or not."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        lines = [tuple(json.loads(line)[:3]) for line in file]
    drawn = random.Random(SEED).sample(lines, min(SAMPLE, len(lines)))
    return QuestionSet(f"{path.name}, {len(drawn):,} of {len(lines):,}", halves(scored(drawn)))


def sets() -> list[Callable[[], QuestionSet]]:
    """What loads each set that there is."""
    found: list[Callable[[], QuestionSet]] = [shipped, fow_cache]
    if path := os.environ.get(VARIABLE):
        found.append(functools.partial(from_file, Path(path)))
    return found


def measure(console: Console) -> list[tuple[QuestionSet, list[Row]]]:
    """Each set with its rows, llmemo's first."""
    found = []
    for load in sets():
        with console.status("embedding pairs of questions"):
            questions = load()
            found.append((questions, rows(questions, subjects())))
    return found


def main() -> None:
    """Print the tables of every set there is."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    for questions, found in measure(console):
        console.print(histogram(questions), table(questions, found))


if __name__ == "__main__":
    main()

"""How many wrong and right answers the guards let through, with a real embedder."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fow_cache  # type: ignore[import-untyped]
import pytest
from support.doubles import ROUNDS
from support.minilm import embed
from support.question_swaps import Pair, swaps
from support.question_variations import variations

from llmemo.semantic.guards import refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_SCORE = 0.8

pytestmark = pytest.mark.slow


def served(pairs: Sequence[Pair], min_score: float = MIN_SCORE) -> list[Pair]:
    """The pairs whose answer would be served."""
    allowed = [pair for pair in pairs if refusal(pair.asked, pair.stored) is None]
    asked = embed([pair.asked for pair in allowed])
    stored = embed([pair.stored for pair in allowed])
    scores = (asked * stored).sum(1)
    return [pair for pair, score in zip(allowed, scores, strict=True) if score >= min_score]


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_swaps_are_refused(seed: int) -> None:
    assert len(served(swaps(random.Random(seed), 1000))) <= 1


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_variations_are_served(seed: int) -> None:
    assert len(served(variations(random.Random(seed), 250))) >= 150


def fow_pairs() -> tuple[list[Pair], list[Pair]]:
    """The held-out pairs of fow-cache: those with the same answer, and the traps."""
    lines = (Path(fow_cache.__file__).parent / "data" / "pairs.jsonl").read_text("utf-8")
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines.splitlines()]
    held = [row for row in rows if hashlib.sha1(row["a"].encode()).digest()[0] % 5 == 0]
    pairs = [(Pair(row["category"], row["a"], row["b"]), row["same_answer"]) for row in held]
    return [pair for pair, same in pairs if same], [pair for pair, same in pairs if not same]


def test_held_out_pairs_of_fow_cache() -> None:
    same, traps = fow_pairs()
    # Counts only: nobody is to tune on these pairs.
    counts = (len(same), len(traps), len(served(same, 0.9)) >= 20, len(served(traps, 0.9)) <= 2)
    assert counts == (66, 57, True, True)

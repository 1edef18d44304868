"""What a certified cache serves at the loosest threshold, of pairs of questions."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import fow_cache  # type: ignore[import-untyped]
import pytest
from support.doubles import ROUNDS
from support.question_swaps import Pair, swaps
from support.question_variations import variations
from support.served_streams import served_pairs
from support.slices import some

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", range(100, 100 + min(ROUNDS, 20)))
def test_swaps_are_not_served(seed: int) -> None:
    assert len(served_pairs(some(swaps(random.Random(seed), 1000), 4))) <= 1


@pytest.mark.parametrize("seed", range(100, 100 + min(ROUNDS, 20)))
def test_variations_are_served(seed: int) -> None:
    pairs = some(variations(random.Random(seed), 250), 2)
    assert len(served_pairs(pairs)) >= 0.6 * len(pairs)


def held_out(*, same: bool) -> list[Pair]:
    """Pairs of fow-cache's held-out fifth. Count them only: nothing is tuned on these."""
    lines = (Path(fow_cache.__file__).parent / "data" / "pairs.jsonl").read_text("utf-8")
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines.splitlines()]
    return [
        Pair(row["category"], row["b"], row["a"])  # `a` is the stored one
        for row in rows
        if hashlib.sha1(row["a"].encode()).digest()[0] % 5 == 0 and row["same_answer"] is same
    ]


def test_held_out_pairs_of_fow_cache() -> None:
    same, traps = held_out(same=True), held_out(same=False)
    assert (len(same), len(traps)) == (66, 57)
    assert len(served_pairs(same, 0.9)) >= 0.3 * 66
    assert len(served_pairs(traps, 0.9)) <= 2

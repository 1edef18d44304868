"""Write `question_pairs.jsonl`: pairs of questions, and whether they ask the same.

Usage: python benches/data/make_question_pairs.py

Two wordings of one intent ask the same. Wordings of two intents that differ in one slot do not,
however near they look: the slot's kind names the trap. `families.py` says where the words are.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

# Run as a file, Python would look for modules in benches/data only.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benches.data.families import HERE, families

if TYPE_CHECKING:
    from benches.data.families import Family, Intent

TARGET = HERE / "question_pairs.jsonl"

SEED = 17
SAME, TRAPS, TOPICS = 11, 9, 2
"""Pairs of each family: that ask the same, that differ in a slot, with another of its domain."""

RESTYLED = 0.2
"""Share of the pairs asking the same that differ in style and synonyms alone."""

SAME_WORDING = 0.4
"""Share of the traps in the same wording for sure; the others are worded by chance."""


class Pair(NamedTuple):
    """One line of the file.

    Attributes:
        asked: A question.
        stored: Another one.
        same: 1 if one answer is right for both, otherwise 0.
        kind: What they differ in: `reworded`, `restyled`, `topic`, or the kind of a slot.
    """

    asked: str
    stored: str
    same: int
    kind: str


def pairs() -> list[Pair]:
    """All pairs of the file, in its order; no two questions meet twice."""
    rng = random.Random(SEED)
    met: set[frozenset[str]] = set()
    found: list[Pair] = []
    for family in families():
        near = [it for it in families() if it.domain == family.domain and it != family]
        for make, count in ((_same, SAME), (_trap, TRAPS), (_topic, TOPICS)):
            drawn = (make(rng.choice(family.intents), near, rng) for _ in itertools.count())
            new = (pair for pair in drawn if not _meets(pair, met))
            found += itertools.islice(new, count)
    rng.shuffle(found)
    return found


def _meets(pair: Pair, met: set[frozenset[str]]) -> bool:
    """Whether its questions have met before, or are one and the same; remembers them."""
    both = frozenset((pair.asked, pair.stored))
    if len(both) == 1 or both in met:
        return True
    met.add(both)
    return False


def _same(intent: Intent, near: list[Family], rng: random.Random) -> Pair:
    alike = rng.random() < RESTYLED
    both = [
        rng.sample(two, 2)
        for two in itertools.combinations(intent.wordings, 2)
        if (two[0].template == two[1].template) is alike
    ]
    # Two styles of a template may have come out alike: then there is but one wording of it.
    one, other = rng.choice(both) if both else rng.sample(intent.wordings, 2)
    kind = "restyled" if one.template == other.template else "reworded"
    return Pair(one.text, other.text, 1, kind)


def _trap(intent: Intent, near: list[Family], rng: random.Random) -> Pair:
    wanted = rng.choice(sorted({kind for kind, _ in intent.siblings}))
    other = rng.choice([each for kind, each in intent.siblings if kind == wanted])
    asked, stored = rng.choice(intent.wordings), rng.choice(other.wordings)
    if rng.random() < SAME_WORDING:
        stored = next(each for each in other.wordings if each.template == asked.template)
    kind = wanted if asked.template == stored.template else f"{wanted}, reworded"
    return Pair(asked.text, stored.text, 0, kind)


def _topic(intent: Intent, near: list[Family], rng: random.Random) -> Pair:
    other = rng.choice(rng.choice(near).intents)
    asked, stored = rng.choice(intent.wordings), rng.choice(other.wordings)
    return Pair(asked.text, stored.text, 0, "topic")


def lines() -> str:
    """The text of the file: one pair a line, in JSON."""
    return "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs())


if __name__ == "__main__":
    TARGET.write_text(lines(), encoding="utf-8", newline="\n")

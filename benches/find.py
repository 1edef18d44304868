"""Finding what was asked before, beside hashing it: the core alone, as criterion times it.

From Python neither could be seen for the calls around it.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benches.report import FIND, Group

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
CARGO = ("cargo", "bench", "--quiet", "--locked", "--bench", "core", "--")


def find(repeats: int) -> list[Group]:
    """Time finding and hashing, in turns.

    Raises:
        subprocess.CalledProcessError: It could not be built or run.
    """
    samples: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(repeats):
        for size, rival, seconds in _turn():
            samples[size][rival].append(seconds)
    return [
        Group(FIND.format(size), medians={rival: median(taken) for rival, taken in rivals.items()})
        for size, rivals in samples.items()
    ]


def _turn() -> Iterator[tuple[str, str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [*CARGO, "^find/", "--warm-up-time=0.2", "--measurement-time=0.5"],
            cwd=ROOT,
            env={**os.environ, "CRITERION_HOME": folder},
            check=True,
            capture_output=True,
            text=True,
        )
        for file in Path(folder).glob("find/*/*/new/estimates.json"):
            rival, size = file.parts[-4:-2]
            yield size, rival, json.loads(file.read_text())["median"]["point_estimate"] * 1e-9

"""What a hit saves: the tokens that its answer has cost, and their price."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from llmemo.telemetry.figures import rounded

if TYPE_CHECKING:
    from collections.abc import Iterable


class Worth(NamedTuple):
    """What an answer has cost, and a hit saves."""

    input_tokens: int
    output_tokens: int
    money: float
    """In the price table's currency."""


NOTHING = Worth(0, 0, 0.0)


def total(worths: Iterable[Worth]) -> Worth:
    """All of them together; the money rounded, as in `stats()`."""
    given = list(worths)
    return Worth(
        sum(one.input_tokens for one in given),
        sum(one.output_tokens for one in given),
        rounded(math.fsum(one.money for one in given)),
    )

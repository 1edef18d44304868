"""What a hit saves: the tokens that its answer has cost, and their price."""

from __future__ import annotations

from typing import NamedTuple


class Worth(NamedTuple):
    """What an answer has cost, and a hit saves."""

    input_tokens: int
    output_tokens: int
    money: float
    """In the price table's currency."""

    def plus(self, other: Worth) -> Worth:
        """Both together."""
        return Worth(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.money + other.money,
        )


NOTHING = Worth(0, 0, 0.0)

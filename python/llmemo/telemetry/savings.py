"""What a hit saves: the tokens that its answer has cost, and their price."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from llmemo.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


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


def checked(prices: Mapping[str, tuple[float, float]] | None) -> dict[str, tuple[float, float]]:
    """Prices by model, as `LLMCache` takes them: of 1,000,000 tokens sent to it, and made by it.

    Raises:
        ConfigurationError: One of them is no price.
    """
    taken = {}
    for name, price in (prices or {}).items():
        try:
            sent, made = map(float, price)
            name.encode()  # a str, without lone surrogates
            is_price = 0 <= sent < math.inf and 0 <= made < math.inf
        except (AttributeError, TypeError, ValueError):
            is_price = False
        if not is_price:
            msg = (
                f"prices[{name!r}]={price!r} is not allowed: write"
                " {'model-name': (input, output)}, each the price of 1,000,000 tokens"
            )
            raise ConfigurationError(msg)
        taken[name] = (sent, made)
    return taken

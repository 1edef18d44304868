"""What a hit saves: the tokens that its answer has cost, and their price."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.outputs import ChatGeneration

from llmemo.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.outputs import Generation

PER = 1_000_000
"""Tokens that a price is for."""

NAMES = ("model_name", "model", "model_id")
"""What providers call the model, in an answer's `response_metadata`."""


class Price(NamedTuple):
    """Of one model, in whatever currency."""

    input: float
    """Of 1,000,000 tokens that are sent to it."""
    output: float
    """Of 1,000,000 tokens that it makes."""


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


class PriceTable:
    """Prices by model. A name stands for all that begin with it: `gpt-5` for `gpt-5-2025-08-07`."""

    def __init__(self, prices: Mapping[str, tuple[float, float]] | None) -> None:
        """Prices as `LLMCache` takes them.

        Raises:
            ConfigurationError: One of them is no price.
        """
        self._prices: dict[str, Price] = {}
        for name, price in (prices or {}).items():
            try:
                each = Price(*map(float, price))
                is_price = isinstance(name, str) and 0 <= min(each) <= max(each) < math.inf
            except (TypeError, ValueError):
                is_price = False
            if not is_price:
                msg = (
                    f"prices[{name!r}]={price!r} is not allowed: write"
                    " {'model-name': (input, output)}, each the price of 1,000,000 tokens"
                )
                raise ConfigurationError(msg)
            self._prices[name] = each

    def worth(self, generations: Sequence[Generation]) -> Worth:
        """What an answer has cost: nothing where it does not say."""
        worth = NOTHING
        for generation in generations:
            if not isinstance(generation, ChatGeneration):
                continue
            message = generation.message
            usage = getattr(message, "usage_metadata", None)
            if isinstance(usage, dict):
                sent, made = _count(usage, "input_tokens"), _count(usage, "output_tokens")
                money = 0.0
                if self._prices:
                    price = self._price(message.response_metadata)
                    money = (sent * price.input + made * price.output) / PER
                this = Worth(sent, made, money)
                worth = this if worth is NOTHING else worth.plus(this)
        return worth

    def _price(self, metadata: Mapping[str, Any]) -> Price:
        for key in NAMES:
            name = metadata.get(key)
            if isinstance(name, str):
                known = [each for each in self._prices if name.startswith(each)]
                if known:
                    return self._prices[max(known, key=len)]
        return Price(0.0, 0.0)


def _count(usage: Mapping[str, Any], name: str) -> int:
    count = usage.get(name)
    return count if type(count) is int and 0 <= count < 2**31 else 0

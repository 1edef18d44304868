"""What answers have cost: the tokens that they say, and the user's prices of these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation

from llmemo import ConfigurationError, LLMCache

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage


def priced(*messages: BaseMessage, **prices: tuple[float, float]) -> tuple[int, int, float]:
    with LLMCache(prices=prices) as cache:
        return cache._tiers.memory.worth([ChatGeneration(message=each) for each in messages])


def test_what_an_answer_says_of_its_cost_and_what_is_not_believed() -> None:
    def message(usage: object, **metadata: object) -> AIMessage:
        # Not validated: an answer may come from anywhere.
        return AIMessage.model_construct(
            content="", usage_metadata=usage, response_metadata=metadata
        )

    good = {"input_tokens": 3, "output_tokens": 4}
    assert priced(message(good)) == (3, 4, 0.0)
    assert priced(message(good), message(good)) == (6, 8, 0.0)
    for usage in (None, "x", [3], {}, {"total_tokens": 7}):
        assert priced(message(usage)) == (0, 0, 0.0)
    for count in (-1, 2**31, 2**80, True, 3.0, "3", None):
        assert priced(message({**good, "input_tokens": count})) == (0, 4, 0.0)
    assert priced(message({**good, "input_tokens": 2**31 - 1})) == (2**31 - 1, 4, 0.0)
    assert priced(HumanMessage("x")) == (0, 0, 0.0)
    price = {"m": (1e6, 1e7)}
    for name in ("model_name", "model", "model_id"):
        assert priced(message(good, **{name: "m-1"}), **price) == (3, 4, 43.0)
    # The first that is one of the user's.
    both = message(good, model_name="other", model=7, model_id="m")
    assert priced(both, **price) == (3, 4, 43.0)
    for metadata in ({}, {"model_name": "M"}, {"model_name": "\ud800m"}, {"model_name": b"m"}):
        assert priced(message(good, **metadata), **price) == (3, 4, 0.0)
    with LLMCache() as cache:
        mixed = [Generation(text="x"), ChatGenerationChunk(message=AIMessageChunk(content="x"))]
        assert cache._tiers.memory.worth(mixed) == (0, 0, 0.0)


def test_the_longest_name_that_fits_is_the_models() -> None:
    message = AIMessage.model_construct(
        content="",
        usage_metadata={"input_tokens": 1_000_000},
        response_metadata={"model": "small-1-turbo-x"},
    )
    prices = {"small": (1.0, 1.0), "small-1-turbo": (100.0, 100.0), "small-1-turbo-xl": (7.0, 7.0)}
    assert priced(message, **prices) == (1_000_000, 0, 100.0)


@pytest.mark.parametrize(
    "prices",
    [
        {"m": 1.0}, {"m": (1.0,)}, {"m": (1.0, 1.0, 1.0)}, {"m": (1.0, -1.0)}, {"m": ("a", 1.0)},
        {"m": (1.0, float("nan"))}, {"m": (float("inf"), 1.0)}, {7: (1.0, 1.0)},
        {"\ud800": (1.0, 1.0)},
    ],
)  # fmt: skip
def test_what_is_no_price_is_an_error_at_once(prices: Any) -> None:
    with pytest.raises(ConfigurationError, match="the price of 1,000,000 tokens"):
        LLMCache(prices=prices)

"""Rate limits of cached models: they hold for requests, and a hit is none.

LangChain asks a model's rate limiter before it is known whether there will be a request. It does
not see the one of a cached model, whose plain twin has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


def before_request(model: BaseChatModel) -> None:
    """Wait until a plain model may send a request."""
    if model.rate_limiter is not None:
        model.rate_limiter.acquire(blocking=True)


async def abefore_request(model: BaseChatModel) -> None:
    """As `before_request`."""
    if model.rate_limiter is not None:
        await model.rate_limiter.aacquire(blocking=True)

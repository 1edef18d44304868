"""Rate limits of cached models: they hold for requests, and a hit is none."""

from __future__ import annotations

from langchain_core.rate_limiters import BaseRateLimiter
from typing_extensions import override


class DeferredRateLimiter(BaseRateLimiter):
    """Lets LangChain pass, which asks before it is known whether there will be a request."""

    def __init__(self, limiter: BaseRateLimiter) -> None:
        """`limiter`: asked before each request."""
        self.limiter = limiter

    @override
    def acquire(self, *, blocking: bool = True) -> bool:
        return True

    @override
    async def aacquire(self, *, blocking: bool = True) -> bool:
        return True


def before_request(model: object) -> None:
    """Wait until a model may send a request."""
    limiter = _limiter(model)
    if limiter is not None:
        limiter.acquire(blocking=True)


async def abefore_request(model: object) -> None:
    """As `before_request`."""
    limiter = _limiter(model)
    if limiter is not None:
        await limiter.aacquire(blocking=True)


def _limiter(model: object) -> BaseRateLimiter | None:
    limiter = getattr(model, "rate_limiter", None)
    return limiter.limiter if isinstance(limiter, DeferredRateLimiter) else None

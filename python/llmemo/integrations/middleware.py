"""`CacheMiddleware`: agents of `langchain.agents.create_agent` whose model calls ask a cache."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from llmemo.config.options import options
from llmemo.errors import ConfigurationError
from llmemo.integrations.cached_model.wrap import cached, check

try:
    from langchain.agents.middleware.types import AgentMiddleware
except ImportError as error:
    msg = "CacheMiddleware is for agents of langchain 1.0 or later: pip install 'langchain>=1.0'"
    raise ImportError(msg) from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager
    from datetime import timedelta

    from langchain.agents.middleware.types import ModelRequest, ModelResponse

    from llmemo.cache import LLMCache
    from llmemo.config.options import Mode
    from llmemo.integrations.cached_model.caching import Pace


class CacheMiddleware(AgentMiddleware[Any, Any]):
    """Has an agent's model asked through `cached(model, cache)`: streams, events and all.

    It never answers in the model's place, so that a hit makes the same events as a call does.

    Args:
        cache: As for `cached`.
        replay: As for `cached`.
        namespace: As for `options`: of this agent's model calls. Options that are in force around
            the agent hold where these say nothing.
        ttl: As for `options`. None: what holds around the agent.
        mode: As for `options`.

    Raises:
        ConfigurationError: An argument has no valid value.

    Examples:
        >>> from langchain.agents import create_agent
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from llmemo import CacheMiddleware, LLMCache
        >>> model = FakeListChatModel(responses=["one", "two"])
        >>> agent = create_agent(model, middleware=[CacheMiddleware(LLMCache())])
        >>> for _ in range(2):
        ...     agent.invoke({"messages": [("user", "Count.")]})["messages"][-1].content
        'one'
        'one'
    """

    def __init__(
        self,
        cache: LLMCache | None = None,
        *,
        replay: Pace = "instant",
        namespace: str | None = None,
        ttl: float | timedelta | None = None,
        mode: Mode | None = None,
    ) -> None:
        """See the class."""
        super().__init__()
        check(cache, replay)
        self._cache = cache
        self._replay: Pace = replay
        given: dict[str, Any] = {"namespace": namespace, "ttl": ttl, "mode": mode}
        self._given = {name: value for name, value in given.items() if value is not None}
        options(**self._given)

    def _options(self) -> AbstractContextManager[None]:
        return options(**self._given) if self._given else contextlib.nullcontext()

    def _through_cache(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        try:
            model = cached(request.model, self._cache, replay=self._replay)
        except ConfigurationError:
            # A model of a kind that is not known here: it answers as it always does.
            return request
        return request.override(model=model)

    @override
    def wrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], ModelResponse[Any]],
    ) -> ModelResponse[Any]:
        """Call the handler with a cached model."""
        with self._options():
            return handler(self._through_cache(request))

    @override
    async def awrap_model_call(
        self,
        request: ModelRequest[Any],
        handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]],
    ) -> ModelResponse[Any]:
        """As `wrap_model_call`."""
        with self._options():
            return await handler(self._through_cache(request))

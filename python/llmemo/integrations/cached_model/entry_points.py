"""`invoke`, `stream` and their like of cached models: the short way, without a handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo.integrations.cached_model.twin import twin_of
from llmemo.integrations.cached_model.unobserved import Asked, Unobserved, unobserved
from llmemo.langchain.only_mode import CACHING
from llmemo.store_io.calls import Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from llmemo.integrations.cached_model.caching import Caching


def _asked(self: Any, *call: Any) -> tuple[Caching, Asked]:
    caching: Caching = getattr(type(self), CACHING)
    return caching, Asked(self, twin_of(self, caching.plain), *call)


def _invoke(self: Any, input: Any, config: Any = None, *, stop: Any = None, **kwargs: Any) -> Any:  # noqa: A002
    caching, asked = _asked(self, input, config, stop, kwargs)
    tiers = caching.tiers()
    hit = None if tiers is None else asked.message(tiers, Call.blocking)
    return hit or caching.plain.invoke(self, input, config, stop=stop, **kwargs)


async def _ainvoke(
    self: Any,
    input: Any,  # noqa: A002
    config: Any = None,
    *,
    stop: Any = None,
    **kwargs: Any,
) -> Any:
    caching, asked = _asked(self, input, config, stop, kwargs)
    tiers = caching.tiers()
    hit = None if tiers is None else asked.message(tiers, Call.awaited)
    return hit or await caching.plain.ainvoke(self, input, config, stop=stop, **kwargs)


def _stream_messages(
    self: Any,
    input: Any,  # noqa: A002
    config: Any = None,
    *,
    stop: Any = None,
    **kwargs: Any,
) -> Iterator[Any]:
    caching, asked = _asked(self, input, config, stop, kwargs)
    if caching.tiers() is None or not asked.may_stream(is_async=False):
        return caching.plain.stream(self, input, config, stop=stop, **kwargs)
    return unobserved(caching.stream(asked.question()), asked.plain)


def _astream_messages(
    self: Any,
    input: Any,  # noqa: A002
    config: Any = None,
    *,
    stop: Any = None,
    **kwargs: Any,
) -> AsyncIterator[Any]:
    caching, asked = _asked(self, input, config, stop, kwargs)
    if caching.tiers() is None or not asked.may_stream(is_async=True):
        return caching.plain.astream(self, input, config, stop=stop, **kwargs)
    return Unobserved(caching.astream(asked.question()), asked.plain)


SHORT = {
    "invoke": _invoke,
    "ainvoke": _ainvoke,
    "stream": _stream_messages,
    "astream": _astream_messages,
}
"""Methods with a short way for calls that have no handler."""

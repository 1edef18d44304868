"""A tracer as a hit's run sees it: it is told the answer, without the tokens that it once took.

A cached answer still says what it has cost, and a tracer cannot know that nobody pays again. It
takes tokens from the answer when the run ends, in the same step in which it sends them. So it is
told another answer then: a copy, whose usage is nothing. The answer itself stays as it is.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

USAGE = frozenset({"token_usage", "usage", "usage_metadata", "amazon-bedrock-invocationMetrics"})
"""Where else answers say what they have cost: in their metadata, by provider."""


class Unbilled:
    """A handler for the run of one hit. Everything but the end of the run is the handler's own."""

    __slots__ = ("_failed", "_usage", "handler")

    def __init__(
        self, handler: Any, usage: Mapping[str, int], failed: Callable[[Exception], None]
    ) -> None:
        """Stand for a handler. `failed` is told what goes wrong here; the run goes on."""
        self.handler = handler
        self._usage = usage
        self._failed = failed

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The handler's: LangChain asks for some kinds of handlers."""
        return type(self.handler)

    def __getattr__(self, name: str) -> Any:
        """Of the handler."""
        return getattr(self.handler, name)

    @property
    def on_llm_end(self) -> Callable[..., Any]:
        """The handler's, for the answer without its usage."""
        told = self.handler.on_llm_end
        if not inspect.iscoroutinefunction(told):

            @functools.wraps(told)
            def ended(response: Any, **run: Any) -> Any:
                return told(self._free(response), **run)

            return ended

        @functools.wraps(told)
        async def awaited(response: Any, **run: Any) -> Any:
            return await told(self._free(response), **run)

        return awaited

    def _free(self, response: Any) -> Any:
        try:
            return _without_usage(response, self._usage)
        except Exception as error:  # noqa: BLE001 (of another version's classes)
            self._failed(error)
            return response


def _without_usage(response: Any, usage: Mapping[str, int]) -> Any:
    batches = [[_unpaid(each, usage) for each in batch] for batch in response.generations]
    output = None if response.llm_output is None else _kept(response.llm_output)
    return response.model_copy(update={"generations": batches, "llm_output": output})


def _unpaid(generation: Any, usage: Mapping[str, int]) -> Any:
    info = generation.generation_info
    changes: dict[str, Any] = {"generation_info": None if info is None else _kept(info)}
    message = getattr(generation, "message", None)
    if message is not None:
        metadata = _kept(message.response_metadata)
        own = {"response_metadata": metadata, "usage_metadata": dict(usage)}
        changes["message"] = message.model_copy(update=own)
    return generation.model_copy(update=changes)


def _kept(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in USAGE}

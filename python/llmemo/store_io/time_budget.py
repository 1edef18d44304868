"""How long one model call may wait for the store, over its lookup and its update."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from llmemo.concurrency.blocking_future import NotYetError

if TYPE_CHECKING:
    from llmemo.store_io.calls import Call

WAITED = 0.8
"""Part of `store_timeout` that is waited for: the rest is for a busy loop to get there."""


class TimeBudget:
    """Seconds that one model call may still wait for the store: lookup and update together."""

    __slots__ = ("_waiting", "left")

    def __init__(self, seconds: float, waiting: set[Call[Any]]) -> None:
        """Begin with `seconds`. Calls are in `waiting` while they wait."""
        self.left = seconds
        self._waiting = waiting

    async def outcome(self, call: Call[Any]) -> Any:
        """Wait for the store.

        Raises:
            NotYetError: There is no outcome yet, and the budget is spent.
            Exception: What the store raised.
        """
        begun = time.monotonic()
        try:
            self._waiting.add(call)
            return await call.wait(self.left)
        except NotYetError:
            # It may come early, and what is left then is not worth another wait.
            self.left = 0.0
            raise
        finally:
            self._waiting.discard(call)
            self.left = max(0.0, self.left - (time.monotonic() - begun))

"""Opens a store when it is first needed, once for all parts of a worker that need it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from llmemo.errors import StoreError
from llmemo.stores.base import StoreUnusableError

if TYPE_CHECKING:
    from llmemo.stores.base import Store
    from llmemo.telemetry.stats import Tally

TROUBLE = (Exception, asyncio.CancelledError)
"""What a store may raise. Nothing cancels it, so a cancellation is trouble of its own."""


class StoreOpener:
    """A store that is opened at first use. On the private loop."""

    def __init__(self, store: Store, tally: Tally) -> None:
        """Open nothing yet."""
        self.store = store
        self._tally = tally
        self._opening: asyncio.Task[None] | None = None

    async def open(self) -> Store:
        """The store, opened. Several tasks may ask at once; after a failure it is tried again."""
        opening = self._opening
        if opening is None or (
            opening.done() and (opening.cancelled() or opening.exception() is not None)
        ):
            self._opening = opening = asyncio.ensure_future(self._open())
        await opening
        return self.store

    async def _open(self) -> None:
        await self.store.open()
        self._tally.has_store()

    def opened(self) -> Store | None:
        """The store; None if it is not open."""
        opening = self._opening
        if opening is None or not opening.done() or opening.cancelled() or opening.exception():
            return None
        return self.store

    async def close(self) -> None:
        """Close the store, also after it failed to open; count and log a failure."""
        if self._opening is None:
            return
        try:
            await self.store.close()
        except TROUBLE as error:
            text = "llmemo: the store failed to close: %s"
            self._tally.note("errors", "store_close", text, type(error).__name__)

    def translated(self, error: BaseException) -> Exception:
        """The error that callers get: a cancellation inside the store is not one of theirs."""
        if isinstance(error, StoreUnusableError):
            self._tally.has_store(problem=str(error))
        return error if isinstance(error, Exception) else StoreError("the store was cancelled")

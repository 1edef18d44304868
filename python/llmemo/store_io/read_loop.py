"""Reads of a store: all pending keys with one `get_at_once`, or one `get`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llmemo.store_io.calls import Outcome, Submission, settle
from llmemo.store_io.operations import Get
from llmemo.store_io.store_opener import TROUBLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmemo.store_io.shutdown import Shutdown
    from llmemo.store_io.store_opener import StoreOpener
    from llmemo.stores.records import Record


class ReadLoop:
    """The part of a worker that reads. On the private loop."""

    def __init__(self, opener: StoreOpener, shutdown: Shutdown) -> None:
        """Begin with an empty queue."""
        self._opener = opener
        self._shutdown = shutdown
        self.ready = asyncio.Event()
        """Set when there may be something to do."""
        self.queue: list[Submission[Mapping[bytes, Record]]] = []
        self.in_flight: list[Submission[Mapping[bytes, Record]]] = []
        """What the store was asked for last, until it answers."""
        self._listings: set[asyncio.Task[None]] = set()

    def answer_at_once(self) -> None:
        """Answer what is queued if that waits for nothing. Most reads do: no turn of the loop."""
        store = self._opener.opened()
        if store is None:
            return
        try:
            found = store.get_at_once(_keys_of(self.queue))
            # As in `run`.
            found = None if found is None else dict(found)
        except TROUBLE:
            return  # `get` will say what is wrong
        if found is not None:
            reads, self.queue = self.queue, []
            settle([(call, found, None) for call in reads])

    async def run(self) -> None:
        """Read until the worker ends."""
        while await self._shutdown.has_next(self.ready, lambda: bool(self.queue)):
            while self.queue:
                self.in_flight, self.queue = self.queue, []
                outcome: tuple[Any, Exception | None]
                found: Any = None
                try:
                    store = await self._opener.open()
                    found = await store.get(_keys_of(self.in_flight))
                    # A store may return anything, or what runs its code in the caller's thread.
                    outcome = dict(found), None
                except TROUBLE as error:
                    outcome = None, self._opener.translated(error)
                done, self.in_flight = self.in_flight, []
                settle([(call, *outcome) for call in done])
                # What waits for the next read should keep neither these answers nor their loops.
                del done, outcome, found

    def begin_listing(self, call: Submission[Sequence[Record]], limit: int) -> None:
        """List recent records beside the reads, which must not wait for as long as that takes."""
        listing = asyncio.ensure_future(self._list(call, limit))
        self._listings.add(listing)
        listing.add_done_callback(self._listings.discard)

    async def _list(self, call: Submission[Sequence[Record]], limit: int) -> None:
        try:
            store = await self._opener.open()
            outcome: Outcome = (call, await store.recent(limit), None)
        except TROUBLE as error:
            outcome = (call, None, self._opener.translated(error))
        settle([outcome])

    async def finish_listings(self) -> None:
        """Wait for the listings that were begun."""
        await asyncio.gather(*self._listings)


def _keys_of(reads: Sequence[Submission[Any]]) -> list[bytes]:
    """The keys to read, each once."""
    gets = [call.operation for call in reads if isinstance(call.operation, Get)]
    return list(dict.fromkeys(key for get in gets for key in get.keys))

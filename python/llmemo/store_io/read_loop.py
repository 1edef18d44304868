"""Reads of a store: all pending keys with one `get_at_once`, or one `get`.

A caller that would compute the answer gets its lease in the same step, if the store can do that.
A store behind a network has several batches at a time (`Store.reads_at_once`), so that no read
waits for another's large value.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from llmemo.store_io.calls import Outcome, Submission, settle
from llmemo.store_io.operations import Found, Get, ListQuestions, ReadState, Recent, SumNamespaces
from llmemo.store_io.store_opener import TROUBLE
from llmemo.stores.base import StoreRefusedError
from llmemo.stores.lease_store import Grant
from llmemo.stores.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmemo.store_io.leases.manager import LeaseManager
    from llmemo.store_io.operations import Operation
    from llmemo.store_io.shutdown import Shutdown
    from llmemo.store_io.store_opener import StoreOpener
    from llmemo.stores.base import Store
    from llmemo.stores.lease_store import LeaseState


class ReadLoop:
    """The part of a worker that reads. On the private loop."""

    def __init__(self, opener: StoreOpener, shutdown: Shutdown, leases: LeaseManager) -> None:
        """Begin with an empty queue. `leases`: see `answer_at_once`."""
        self._opener = opener
        self._shutdown = shutdown
        self._leases = leases
        self.ready = asyncio.Event()
        """Set when there may be something to do."""
        self.queue: list[Submission[Found]] = []
        self._batches: list[list[Submission[Found]]] = []
        self._turn = asyncio.Lock()
        """Of the reader that waits for work: the others are not woken with it."""
        self._listings: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> list[Submission[Found]]:
        """What the store was asked for, and has not answered yet."""
        return [call for batch in self._batches for call in batch]

    def answer_at_once(self) -> None:
        """Answer what is queued if that waits for nothing. Most reads do: no turn of the loop."""
        store = self._opener.opened()
        if store is None or not self.queue:
            return
        try:
            records = store.get_at_once(_keys_of(self.queue))
            # As in `run`.
            records = None if records is None else dict(records)
        except TROUBLE:
            return  # `get` will say what is wrong
        if records is None:
            return
        reads, self.queue = self.queue, []
        missing = _missing(reads, records, store.clock)
        leases: dict[bytes, Any] = {}
        for key, one in self._acquire(store, missing).items() if missing else ():
            if isinstance(one, Record):
                records[key] = one  # it has come in between
            else:
                leases[key] = one
        settle([(call, _part(call, records, leases), None) for call in reads])

    def _acquire(
        self, store: Store, keys: Sequence[bytes]
    ) -> Mapping[bytes, Grant | Record | LeaseState]:
        wanted = self._leases.wanted(keys)
        found: dict[bytes, Any] = {}
        if wanted and store.leases is not None:
            with contextlib.suppress(*TROUBLE):  # `acquire` will say what is wrong
                found.update(store.leases.acquire_at_once(wanted) or {})
        self._leases.note_granted(found, wanted)
        return found

    async def run(self) -> None:
        """Read until the worker ends, `reads_at_once` batches at a time."""
        readers = max(1, self._opener.store.reads_at_once)
        await asyncio.gather(*(self._read_batches() for _ in range(readers)))

    async def _read_batches(self) -> None:
        while True:
            async with self._turn:
                if not await self._shutdown.has_next(self.ready, lambda: bool(self.queue)):
                    return
                batch, self.queue = self.queue, []
                self._batches.append(batch)
            settle(await self._outcomes(batch))
            # What waits for the next read should keep neither these calls nor their loops.
            del batch

    async def _outcomes(self, batch: list[Submission[Found]]) -> list[Outcome]:
        outcomes: list[Outcome]
        try:
            records, leases = await self._read(batch)
            outcomes = [(call, _part(call, records, leases), None) for call in batch]
        except TROUBLE as error:
            trouble = self._opener.translated(error)
            outcomes = [(call, None, trouble) for call in batch]
        # Not of what any other exception ends: the worker settles these.
        self._batches.remove(batch)
        return outcomes

    async def _read(self, reads: Sequence[Submission[Found]]) -> tuple[Any, Any]:
        store = await self._opener.open()
        keys, wanted = _keys_of(reads), self._leases.wanted(_wanted(reads))
        if wanted:
            try:
                records, leases = await store.get_or_acquire(keys, wanted)
            except StoreRefusedError as error:
                # A server that takes no writes gives no leases, and may be read all the same.
                self._leases.trouble.note("acquire", error)
            else:
                leases = dict(leases)
                self._leases.note_granted(leases, wanted)
                return dict(records), leases
        # A store may return anything, or what runs its code in the caller's thread.
        return dict(await store.get(keys)), {}

    def begin_listing(self, call: Submission[Any]) -> None:
        """List something beside the reads, which must not wait for as long as that takes."""
        listing = asyncio.ensure_future(self._list(call))
        self._listings.add(listing)
        listing.add_done_callback(self._listings.discard)

    async def _list(self, call: Submission[Any]) -> None:
        try:
            store = await self._opener.open()
            outcome: Outcome = (call, await _listed(store, call.operation), None)
        except TROUBLE as error:
            outcome = (call, None, self._opener.translated(error))
        settle([outcome])

    async def finish_listings(self) -> None:
        """Wait for the listings that were begun."""
        await asyncio.gather(*self._listings)


async def _listed(store: Store, operation: Operation) -> object:
    if isinstance(operation, Recent):
        return await store.recent(operation.limit)
    if isinstance(operation, SumNamespaces):
        return await store.namespace_sizes(operation.seconds)
    if store.vectors is not None and isinstance(operation, ReadState):
        return await store.vectors.state(operation.name)
    if store.vectors is not None and isinstance(operation, ListQuestions):
        partition, after = operation.partition, operation.after
        before, limit = operation.before, operation.limit
        listed = store.vectors.questions(partition, after=after, before=before, limit=limit)
        # A store may return anything, or what runs its code in the caller's thread.
        return list(await listed)
    return None


def _gets(reads: Sequence[Submission[Any]]) -> list[Get]:
    return [call.operation for call in reads if isinstance(call.operation, Get)]


def _keys_of(reads: Sequence[Submission[Any]]) -> list[bytes]:
    """The keys to read, each once."""
    return list(dict.fromkeys(key for get in _gets(reads) for key in get.keys))


def _wanted(reads: Sequence[Submission[Any]]) -> list[bytes]:
    """The keys whose leases are wanted."""
    return [key for get in _gets(reads) for key in get.wanted]


def _missing(
    reads: Sequence[Submission[Any]], records: Mapping[bytes, Record], clock: Callable[[], float]
) -> list[bytes]:
    """Those of them that have no answer, or one that has expired."""
    wanted = _wanted(reads)
    now = clock() if wanted else 0.0
    return [key for key in wanted if (one := records.get(key)) is None or not one.is_live(now)]


def _part(
    call: Submission[Found], records: Mapping[bytes, Record], leases: dict[bytes, Any]
) -> Found:
    """What is for one call. A grant is only for the first that wants it."""
    if not leases or not isinstance(call.operation, Get):
        return Found(records, {})
    mine = {key: leases[key] for key in call.operation.wanted if key in leases}
    for key, lease in mine.items():
        if isinstance(lease, Grant):
            del leases[key]
    return Found(records, mine)

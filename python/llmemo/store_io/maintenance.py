"""What a store needs besides reads and writes: change log, upkeep, removal of damaged records."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from llmemo.errors import text_of
from llmemo.store_io.shutdown import end_look
from llmemo.store_io.store_opener import TROUBLE
from llmemo.stores.base import StoreUnusableError
from llmemo.stores.records import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmemo._core import Memory
    from llmemo.store_io.store_opener import StoreOpener
    from llmemo.stores.base import Store
    from llmemo.stores.records import Record
    from llmemo.telemetry.stats import Tally

PAUSE = 0.25
"""Seconds between two looks at what other processes have changed."""

UPKEEP_LOOKS = 4
"""Looks between two upkeeps."""

MAX_DAMAGED = 256
"""Most damaged records that wait to be removed; another one is found again by the next read."""

MAX_DAMAGED_BYTES = 16 * 2**20
"""Memory that these may take, unless it is only one."""


class Maintenance:
    """Has memory forget what other processes change, and the store remove what has to go."""

    def __init__(self, opener: StoreOpener, memory: Memory, tally: Tally) -> None:
        """Begin with nothing to do."""
        self.is_over = asyncio.Event()
        self.is_due = False
        """Whether an upkeep is due."""
        self._damaged: dict[bytes, Record] = {}
        self._opener = opener
        self._memory = memory
        self._tally = tally

    async def run(self, wake: Callable[[], None]) -> None:
        """Go on until it `is_over`. Calls `wake` when an upkeep becomes due."""
        looks = 0
        looking: asyncio.Task[None] | None = None
        while not self.is_over.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.is_over.wait(), PAUSE)
                break
            store = self._opener.opened()
            if store is None:
                continue
            looks += 1
            if not looks % UPKEEP_LOOKS:
                self.is_due = True
                wake()
                with self._tolerant("size", "cannot tell its size"):
                    self._tally.store_bytes = store.stored_bytes()
            # A server may take long: upkeep goes on, and it is not asked twice at once.
            if self._memory.counts().entries and (looking is None or looking.done()):
                looking = asyncio.ensure_future(self._forget(store))
        if looking is not None:
            await end_look(looking, self._opener.store.timeout)

    async def _forget(self, store: Store) -> None:
        with self._tolerant("changes", "cannot tell what other processes change"):
            changed = await store.changes()
            if changed is None:
                self._memory.clear()
                return
            for change in changed:
                if isinstance(change, Selection):
                    self._memory.invalidate(*change)
                else:
                    self._memory.remove(change)

    @property
    def has_work(self) -> bool:
        """Whether `work` has anything to do."""
        return self.is_due or bool(self._damaged)

    def note_damaged(self, record: Record) -> None:
        """Have a record removed that cannot be read."""
        others = [one for one in self._damaged.values() if one.key != record.key]
        size = len(record.value) + sum(len(one.value) for one in others)
        if len(others) < MAX_DAMAGED and (size <= MAX_DAMAGED_BYTES or not others):
            self._damaged[record.key] = record

    async def work(self) -> None:
        """Do what is due. Tried once: what is left comes up again."""
        if self._damaged:
            damaged, self._damaged = self._damaged, {}
            with self._tolerant("discard", "failed to remove damaged answers"):
                store = await self._opener.open()
                await store.discard(list(damaged.values()))
        if self.is_due:
            self.is_due = False
            with self._tolerant("upkeep", "could not be looked after"):
                store = await self._opener.open()
                if store.counts_uses:
                    store.saw(self._memory.take_used())
                await store.upkeep()
                self._tally.has_store()

    @contextlib.contextmanager
    def _tolerant(self, kind: str, what: str) -> Iterator[None]:
        try:
            yield
        except StoreUnusableError as error:
            self._tally.has_store(problem=str(error))
        except TROUBLE as error:
            text = "llmemo: the store %s: %s"
            self._tally.note("errors", f"store_{kind}", text, what, text_of(error))

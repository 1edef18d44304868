"""What other processes change: told by the far store, applied here, and passed on to memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from llmemo.stores.records import Selection
    from llmemo.stores.tiered.state import TieredState

    Changes = Collection[bytes | Selection] | None

UNTOLD_MAX = 10_000
"""Most changes that are kept for memory; beyond it memory is told that any record may be one."""


class Watch:
    """Asks the far store for its changes, one question at a time."""

    def __init__(self, state: TieredState) -> None:
        """Begin with nothing known."""
        self._state = state
        self._far, self._trust = state.far, state.trust
        self._asking: asyncio.Task[None] | None = None
        self._is_late = False
        self._has_begun = False
        self._far.opened = self._begin
        self._untold: set[bytes | Selection] | None = set()
        """What memory has to be told still; None for everything."""

    def start(self) -> None:
        """Begin again: the far store may be opened again, too."""
        self._asking = None

    async def _begin(self) -> None:
        """Have the far store, just opened, tell changes from now on: before anything is read."""
        begun = self._trust.time()
        changed = await self._far.store.changes()
        # Of the time before this process nothing is known, whatever the store says.
        self._tell(changed if self._has_begun else (), begun)
        self._has_begun = True

    async def look(self) -> None:
        """Have the far store tell its changes. Its trouble is noted by its tier."""
        if self._asking is None or self._asking.done():
            self._asking, self._is_late = asyncio.ensure_future(self._ask()), False
        await asyncio.wait({self._asking}, timeout=self._far.patience)
        if not (self._asking.done() or self._is_late):
            self._is_late = True
            self._far.is_slow()

    async def _ask(self) -> None:
        begun = self._trust.time()
        try:
            changed = await self._far.probe(lambda store: store.changes())
        except Exception:  # noqa: BLE001 (noted by the tier; nothing is proven meanwhile)
            return
        # A late answer counts, too: each change is told once.
        self._tell(changed, begun)

    def _tell(self, changed: Changes, begun: float) -> None:
        self._state.changed(changed)
        self.note(changed)
        self._trust.watched(begun)
        # What memory was given unproven is to be looked up again.
        self.note(self._state.take_unproven())

    def note(self, changed: Changes) -> None:
        """Keep changes for memory."""
        if self._untold is None:
            return
        if changed is None or len(self._untold) + len(changed) > UNTOLD_MAX:
            self._untold = None
        else:
            self._untold.update(changed)

    def take(self) -> Changes:
        """What memory has not been told yet."""
        untold, self._untold = self._untold, set()
        return untold

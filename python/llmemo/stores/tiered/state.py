"""What reads, writes and removals of a tiered store have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.stores.records import Selection
from llmemo.stores.tiered.record_queue import RecordQueue
from llmemo.stores.tiered.removals import Removals
from llmemo.stores.tiered.tier import Tier
from llmemo.stores.tiered.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from llmemo.stores.base import Store

QUEUED_BYTES = 32 * 2**20
"""Memory that answers on their way to a store may take, for each of the two."""


class TieredState:
    """Two stores, and what each of them has to be told still."""

    def __init__(self, near: Store, far: Store) -> None:
        """Begin with nothing known."""
        wants = near.store_requests or far.store_requests
        self.near = Tier(near, is_patient=True, has_requests=wants)
        self.far = Tier(far, is_patient=False, has_requests=wants)
        self.trust = Trust()
        self.near_removals = Removals(self.near)
        self.far_removals = Removals(self.far)
        self.fills = RecordQueue(QUEUED_BYTES)
        """What the far store had, and the near one has to be given still."""
        self.backlog = RecordQueue(QUEUED_BYTES)
        """What was stored while the far store was away."""
        self.unclaimed: dict[bytes, int] = {}
        """Fences, by key, of leases that were granted after their callers had left."""
        self._unproven: set[bytes] = set()

    def doubt(self, keys: Iterable[bytes]) -> int:
        """Have the far store asked for these: they are going to change. Returns when this was."""
        for key in keys:
            self.trust.changed(key)
            self.fills.drop(key)
        return self.trust.now

    def serve_unproven(self, keys: Iterable[bytes]) -> None:
        """Note that records are served while the far store is away. From any thread."""
        self._unproven.update(keys)

    def take_unproven(self) -> Collection[bytes]:
        """The keys of those since the last call."""
        unproven, self._unproven = self._unproven, set()
        return unproven

    def changed(self, changes: Collection[bytes | Selection] | None) -> None:
        """Apply what the far store has told: to what is near, and to what is on its way."""
        self.fills.forget(changes)
        self.backlog.forget(changes)
        if changes is None:
            self.near_removals.add_everything(self.trust.all_changed())
            return
        for change in changes:
            if isinstance(change, Selection):
                self.trust.all_changed()
                self.near_removals.add_sweep(change)
            else:
                self.near_removals.add_keys([change], self.trust.changed(change))

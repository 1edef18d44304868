"""The leases that this process holds: the one place where their state is kept."""

from __future__ import annotations

import time

from llmemo import lifecycle

RENEWED_AT = 0.25
"""Part of its time after which the next look renews a lease: at a third, at the latest."""


class HeldLease:
    """A lease that this process holds."""

    __slots__ = ("fence", "is_claimed", "is_kept", "renewed", "seconds")

    def __init__(self, fence: int, seconds: float, *, is_claimed: bool) -> None:
        """It was granted just now, for `seconds`."""
        self.is_claimed = is_claimed
        """Whether its caller has it, or will say so: one that came with a read is on its way."""
        self.fence = fence
        self.seconds = seconds
        self.renewed = time.monotonic()
        self.is_kept = False
        """Whether it is renewed until it is ended: a model runs for it."""

    @property
    def failures(self) -> int:
        """Failures to add when it is given back as it is: none."""
        return 0

    def is_due(self, now: float) -> bool:
        """Whether it is to be renewed."""
        return self.is_kept and now - self.renewed >= self.seconds * RENEWED_AT

    def has_lapsed(self, now: float) -> bool:
        """Whether its time is over, as far as this process knows."""
        return now - self.renewed > self.seconds


class HeldLeases:
    """The leases of this process, across its workers. From any thread, without a lock."""

    def __init__(self) -> None:
        """Begin with none."""
        self.is_closed = False
        """Whether this process will compute nothing more: then all of them are given back."""
        self.by_key: dict[bytes, HeldLease] = {}
        lifecycle.has_lock(self)

    def after_fork_in_child(self) -> None:
        """Forget them: they are the parent's."""
        self.by_key = {}

    def keep(self, key: bytes, fence: int, *, is_kept: bool) -> None:
        """Renew a lease until it is ended, or no longer. Waits for nothing.

        A lease that is not kept lasts for the time that it was asked for.
        """
        lease = self.by_key.get(key)
        if lease is not None and lease.fence == fence:
            lease.is_claimed = True
            lease.is_kept = is_kept

    def unclaimed(self) -> list[tuple[bytes, int]]:
        """Key and fence of those that came with a read, and are still on their way."""
        held = self.by_key.copy().items()
        return [(key, lease.fence) for key, lease in held if not lease.is_claimed]

    def drop(self, key: bytes, fence: int) -> None:
        """Forget a lease: it has ended, or is lost."""
        lease = self.by_key.get(key)
        if lease is not None and lease.fence == fence:
            self.by_key.pop(key, None)

    def fence(self, key: bytes) -> int | None:
        """Fence of the lease of a key; None if this process does not hold it."""
        lease = self.by_key.get(key)
        return None if lease is None else lease.fence

    def due(self, now: float) -> dict[bytes, HeldLease]:
        """Those to be renewed now."""
        return {key: lease for key, lease in self.by_key.copy().items() if lease.is_due(now)}

    def drop_lapsed(self, now: float) -> None:
        """Forget those whose time is over."""
        for key, lease in self.by_key.copy().items():
            if not lease.is_due(now) and lease.has_lapsed(now):
                self.drop(key, lease.fence)

    def shortest(self) -> float | None:
        """Seconds of the shortest lease; None if there is none."""
        return min((lease.seconds for lease in self.by_key.copy().values()), default=None)

"""A lease: the right to compute the answer to one request while others wait for it.

A lease belongs to the context that it was given in, and to those copied from it: its holder never
waits, so that a batch, a nested call or a child task cannot wait for itself. It ends with the
update, with the failure of a model run that stands behind it (`model_runs`), with the task that
holds it, or when nothing refers to it any more: it reaches its waiter as the only reference, so
that a waiter that was cancelled on its way, or whose loop has closed, strands nothing.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.langchain.model_runs import Run
    from llmemo.single_flight.holding import Held
    from llmemo.single_flight.liveness import Holder, Tick
    from llmemo.store_io.leases.held import HeldLeases
    from llmemo.store_io.time_budget import TimeBudget

UNBACKED = 5.0
"""Seconds for which a lease is trusted that no model run stands behind: a caller that uses a cache
by hand may compute the answer by hand, or may only have looked."""


NEVER = (-math.inf, 0, True)
"""`Lease.seen` of a holder that was not looked at."""


class StoreLeases(Protocol):
    """The leases that a store knows, so that processes do not compute the same."""

    held: HeldLeases
    """Those that this process holds."""

    def release(self, key: bytes, fence: int, failures: int) -> None:
        """End a lease without an answer. Waits for nothing."""

    def release_held(self, key: bytes) -> None:
        """End the lease of this key that this process has, if any. Waits for nothing."""


class LeaseOwner(Protocol):
    """The single-flight table that a lease is from."""

    @property
    def store(self) -> StoreLeases | None:
        """Where the same lease is known to other processes; None without a store."""

    def ended(self, lease: Lease, *, failed: bool) -> None:
        """Pass a lease on to the caller that has waited longest."""


class Lease:
    """The right to compute the answer to one request."""

    __slots__ = (
        "__weakref__",
        "_owner",
        "_runs",
        "after_failure",
        "fence",
        "granted",
        "has_ended",
        "holder",
        "is_settled",
        "key",
        "number",
        "older",
        "seen",
        "store_budget",
        "takeovers",
        "thread",
        "tick",
    )

    def __init__(
        self, owner: Callable[[], LeaseOwner | None], key: bytes, number: int, thread: int = 0
    ) -> None:
        """Made by `Flights` only, at each miss. `owner` is a weak reference."""
        # Weak: leases of a cache that is gone are over, even where a context still has them.
        self._owner = owner
        self._runs: tuple[Run, ...] = ()
        self.key = key
        self.number = number
        self.after_failure = False
        """Whether an earlier holder has failed."""
        self.has_ended = False
        self.fence: int | None = None
        """The store's name for the lease, if the store coordinates processes."""
        self.store_budget: TimeBudget | None = None
        """The time that the lookup has left for the update."""
        self.granted = time.monotonic()
        self.older: Held | None = None
        """For `holding`, as the next."""
        self.is_settled = False
        self.thread = thread
        """Where it was granted to a caller that did not wait for it, and holds it in a moment."""
        self.holder: Holder | None = None
        """The thread or task that holds it, once it does; for `watchdog`, as the next three."""
        self.takeovers = 0
        """How often in a row it was taken from a holder that stood still."""
        self.seen = NEVER
        """When the holder was last looked at, by which kind of caller, and whether it got on."""
        self.tick: Tick | None = None
        """The last sign of life that its event loop was asked for."""

    @property
    def has_run(self) -> bool:
        """Whether a model run stands, or stood, behind it."""
        return bool(self._runs)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or is not trusted any more."""
        if self.has_ended or self._owner() is None:
            return True
        if self._runs:
            return self.trusted_for <= 0
        # The same of the usual lease, which is looked at with each miss.
        return self.granted + UNBACKED <= time.monotonic()

    @property
    def trusted_for(self) -> float:
        """Seconds until it is not trusted any more."""
        # Told by the runs themselves: it must not seem to be over before all know of their end.
        since = max([run.ended for run in self._runs]) if self._runs else self.granted
        return since + UNBACKED - time.monotonic()

    def run_began(self, run: Run) -> None:
        """Note that a model run stands behind it."""
        self._runs = (*self._runs, run)
        self.keep_alive()

    def run_ended(self, *, failed: bool) -> None:
        """Note that one of its runs has ended: a failure ends the lease."""
        if failed:
            self.end(failed=True)
        else:
            self.keep_alive()

    def keep_alive(self) -> None:
        """Have the store renew it, if it knows it, while a run stands behind it."""
        owner = self._owner()
        store = None if owner is None else owner.store
        if store is not None and self.fence is not None and not self.has_ended:
            store.held.keep(self.key, self.fence, is_kept=self.trusted_for == math.inf)

    def taken_over(self, number: int) -> Lease:
        """The lease in the place of this one, for `Flights` only: to the store it is the same."""
        lease = Lease(self._owner, self.key, number)
        lease.after_failure = self.after_failure
        lease.takeovers = self.takeovers + 1
        lease.fence = self.fence
        return lease

    def end(self, *, failed: bool) -> None:
        """Let another caller have it. Without effect the second time."""
        owner = self._owner()
        if owner is not None and not self.has_ended:
            owner.ended(self, failed=failed)
            # The table has said so, unless it was not the key's.
            self.has_ended = True


def next_look(lease: Lease | None) -> float:
    """Seconds after which a waiter looks at a lease again, to see whether it is still trusted.

    A run that stands behind it now may end, and its holder go on without an update.
    """
    return UNBACKED if lease is None else min(lease.trusted_for, UNBACKED)

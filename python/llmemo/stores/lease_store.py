"""The contract of leases: one process computes an answer while the other processes wait.

A lease says which process computes the answer to a key. It has an end, since its holder may be
killed, and a fence: a number that no other grant has. An answer that comes with a fence is stored
only if its grant is still the last one: a holder that was stopped, and lost the lease, replaces no
answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from llmemo.stores.records import Record


FAILURES_MAX = 2
"""Failures in a row after which no caller waits any longer, in one process or among several."""


class Grant(NamedTuple):
    """A lease that was just given: its holder computes the answer."""

    fence: int
    """Names this grant; random, 63 bits at most."""
    failures: int
    """Attempts that failed in a row before it."""


class LeaseState(NamedTuple):
    """The state of a lease that there is."""

    expires: float
    """Unix time in seconds, by the store's clock, from which any process may have it."""
    failures: int
    """Attempts that failed in a row; an answer that is stored ends the row."""


class LeaseStore(ABC):
    """The leases of a store, which has them as its attribute `leases`.

    Processes compare Unix time by `Store.clock`, so theirs has to be the same: between machines a
    store needs a time of its own (`Store.keeps_clock`), and converts what it returns. `acquire`,
    `renew`, `release` and `set` run beside reads only, as writes do; `moved` and `peek` may run
    beside any other method but `close`. They raise what the store's other methods raise; only `set`
    is tried again.
    """

    @abstractmethod
    async def acquire(
        self, wanted: Mapping[bytes, float]
    ) -> Mapping[bytes, Grant | Record | LeaseState]:
        """Take the free leases, for N seconds each, in one step with a look at the answers.

        For each key its record, if there is one that has not expired. Else a grant, if there is no
        lease or it has ended; else the state of the lease.
        """

    def acquire_at_once(
        self,
        wanted: Mapping[bytes, float],  # noqa: ARG002 (other stores need it)
    ) -> Mapping[bytes, Grant | Record | LeaseState] | None:
        """The same as `acquire` where that takes microseconds and waits for nothing; else None.

        By default None. Called right after `Store.get_at_once` has found no answer: a miss of a
        store that has both takes one step. May run beside any other method. If it raises, or leaves
        a key out, `acquire` is asked.
        """
        return None

    @abstractmethod
    async def renew(self, leases: Mapping[bytes, tuple[int, float]]) -> Collection[bytes]:
        """Move the ends of leases, given with fence and seconds. Returns the keys of those lost."""

    @abstractmethod
    async def release(self, leases: Mapping[bytes, tuple[int, int]]) -> None:
        """End leases, given with fence and the number of failures to add; those lost are left."""

    @abstractmethod
    async def set(self, records: Sequence[tuple[Record, int | None]]) -> Collection[int]:
        """Store records as `Store.set` does, and with each that has a fence end its lease.

        Those whose fence is not that of the last grant are left out; a lease that was released
        without failures, or stored with, has none. Returns their fences.
        """

    tells_moves: bool = False
    """Whether `moved` is ever False. If not, it is not asked, and `peek` less and less often."""

    async def moved(self) -> bool:
        """Whether anything may have changed since the last call. Has to be cheap."""
        return True

    @abstractmethod
    async def peek(self, keys: Collection[bytes]) -> Mapping[bytes, Record | LeaseState]:
        """The record of each key that has not expired, or else the state of its lease."""

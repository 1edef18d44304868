"""Who computes an answer, and who waits for it: leases, within one process.

    miss ── enter ──► nobody is at it:  a Lease: compute, then update
                      somebody is:      wait ──► the answer, with the holder's update
                                            ──► the Lease, if the holder fails, leaves or is lost
                                            ──► nothing, after two failures in a row, or too long

A lease belongs to the context that it was given in, and to those copied from it: who holds one
never waits, so that a batch, a nested call or a child task cannot wait for itself. It ends with the
update, with the failure of a model run that stands behind it (`runs`), with the task that holds it,
or when nothing refers to it any more: it reaches its waiter as the only reference, so that one that
was cancelled on its way, or whose loop has closed, strands nobody.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from llmemo import process
from llmemo.calls import Join, settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.calls import Call, Outcome
    from llmemo.durable import Durable, Patience
    from llmemo.runs import Run
    from llmemo.waiting import Holder, Tick

UNBACKED = 5.0
"""Seconds for which a lease is believed that no model run stands behind: whoever asks a cache by
hand may compute the answer by hand, or may only have looked."""

FAILURES = 2
"""Failures in a row after which nobody waits any more."""

ALONE = 60.0
"""Seconds for which a request is not coordinated whose answer could not be handed on."""

REMEMBERED = 1024
"""Failures, and requests that are not coordinated, that are remembered."""


class Lease:
    """The right to compute the answer to one request while others wait for it."""

    __slots__ = (
        "__weakref__",
        "_flights",
        "_runs",
        "after_failure",
        "fence",
        "granted",
        "has_ended",
        "holder",
        "key",
        "number",
        "seen",
        "since",
        "store_patience",
        "takeovers",
        "tick",
    )

    def __init__(self, flights: Flights, key: bytes, number: int, *, after_failure: bool) -> None:
        """See `Flights.enter`."""
        self.key = key
        self.number = number
        self.after_failure = after_failure
        """Whether one of those who held it before has failed."""
        self.has_ended = False
        self.fence: int | None = None
        """What the store knows the lease by, if it coordinates processes."""
        self.store_patience: Patience | None = None
        """What the lookup has left for the update."""
        self.granted = self.since = time.monotonic()
        """`since`: when no run has stood behind it, if none does."""
        self.holder: Holder | None = None
        """The thread or task that holds it, once it does; for `waiting`, as the next three."""
        self.takeovers = 0
        """How many in a row took it from a holder that stood still."""
        self.seen = (-math.inf, 0, True)
        """When the holder was last looked at, by which kind of caller, and whether it got on."""
        self.tick: Tick | None = None
        """The last sign of life that its event loop was asked for."""
        # Weak: what a context holds of a cache that is gone is over.
        self._flights = weakref.ref(flights)
        self._runs: list[Run] = []

    @property
    def has_run(self) -> bool:
        """See `runs.Dependent`."""
        return bool(self._runs)

    @property
    def is_over(self) -> bool:
        """See `runs.Dependent`: or whether it is not believed any more."""
        return self.has_ended or self._flights() is None or self.patience <= 0

    @property
    def patience(self) -> float:
        """Seconds until it is not believed any more."""
        if self._runs and any(run.is_open for run in self._runs):
            return math.inf
        return self.since + UNBACKED - time.monotonic()

    def run_began(self, run: Run) -> None:
        """See `runs.Dependent`."""
        self._runs.append(run)
        self.keep_alive()

    def run_ended(self, *, failed: bool) -> None:
        """See `runs.Dependent`."""
        self.since = time.monotonic()
        if failed:
            self.end(failed=True)
        else:
            self.keep_alive()

    def keep_alive(self) -> None:
        """Have the store renew it, if it knows it, while a run stands behind it."""
        flights = self._flights()
        if flights is not None and self.fence is not None:
            flights.keep_alive(self.key, self.fence, is_kept=self.patience == math.inf)

    def end(self, *, failed: bool) -> None:
        """Let somebody else have it. Without effect the second time."""
        flights = self._flights()
        if flights is not None and not self.has_ended:
            self.has_ended = True
            flights.ended(self, failed=failed)

    def __del__(self) -> None:
        """Nobody can end it any more."""
        flights = self._flights()
        if flights is not None and not self.has_ended:
            self.has_ended = True
            flights.lost(self)


class _Flight:
    """One request that somebody computes."""

    __slots__ = ("failures", "lease", "number", "waiters")

    def __init__(self, lease: Lease) -> None:
        self.failures = 0
        self.waiters: dict[Call[Any], None] = {}
        self.hand(lease)

    def hand(self, lease: Lease) -> None:
        # Weak: see the module's documentation. The number outlives the reference.
        self.number, self.lease = lease.number, weakref.ref(lease)


class Flights:
    """The leases of one cache. All methods are thread-safe and brief."""

    def __init__(self, durable: Durable | None) -> None:
        """Nobody computes anything. `durable`: who is told of leases that the store knows."""
        self._durable = durable
        self._numbers = itertools.count(1)
        self._begin()
        process.has_lock(self)

    def _begin(self) -> None:
        # Reentrant: a signal handler may use the cache, too.
        self._lock = threading.RLock()
        self._depth = 0
        self._flights: dict[bytes, _Flight] = {}
        self._failed: dict[bytes, float] = {}
        self._alone: dict[bytes, float] = {}
        self._lost: deque[tuple[bytes, int, int | None]] = deque()

    def after_fork_in_child(self) -> None:
        """What was computed is computed by the parent."""
        for flight in self._flights.values():
            lease = flight.lease()
            if lease is not None:
                # What context this goes on in may have it, and is to wait for others again.
                lease.has_ended = True
        self._begin()

    def __enter__(self) -> None:
        """For `Flights` only: nothing in here may suspend."""
        self._lock.acquire()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        """Let go, and see to what was lost meanwhile."""
        self._depth -= 1
        self._lock.release()
        if self._lost and not self._depth:
            self._bury()

    def enter(
        self, key: bytes, make_call: Callable[[Join], Call[Any]] | None
    ) -> Lease | Call[Any] | None:
        """Compute the answer to a request (a lease, for `runs.hold`), or wait for it (a call).

        None: go on without either. `make_call` is None for who must not wait.
        """
        with self:
            flight = self._flights.get(key)
            if flight is None:
                if self._alone.get(key, 0.0) > time.monotonic():
                    return None
                lease = Lease(self, key, next(self._numbers), after_failure=False)
                self._flights[key] = _Flight(lease)
                return lease
            if make_call is None:
                return None
            call = make_call(Join(key, _pass_by))
            flight.waiters[call] = None
            return call

    def take_over(self, key: bytes, call: Call[Any], number: int) -> Lease | None:
        """Take a lease from its holder, for a caller that waits for it; None if it has ended.

        The holder's answer, should it come, serves all the same.
        """
        with self:
            flight = self._flights.get(key)
            if flight is None or flight.number != number or call not in flight.waiters:
                return None
            old = flight.lease()
            if old is None:
                return None
            lease = Lease(self, key, next(self._numbers), after_failure=old.after_failure)
            lease.takeovers = old.takeovers + 1
            lease.fence = old.fence
            # From here on the new one is the flight's, and passes on if it is lost.
            flight.hand(lease)
            old.has_ended, old.fence = True, None
            flight.waiters.pop(call, None)
            return lease

    def is_first(self, key: bytes, call: Call[Any]) -> bool:
        """Whether a caller waits longest."""
        with self:
            flight = self._flights.get(key)
            return flight is not None and next(iter(flight.waiters), None) is call

    def leave(self, key: bytes, call: Call[Any]) -> None:
        """Wait no more."""
        with self:
            flight = self._flights.get(key)
            if flight is not None:
                flight.waiters.pop(call, None)

    def lease(self, key: bytes) -> Lease | None:
        """The lease of a request, if somebody has it."""
        flight = self._flights.get(key)
        return None if flight is None else flight.lease()

    def patience(self, key: bytes) -> float:
        """Seconds until the lease that is waited for is to be looked at, and doubted perhaps.

        A run that stands behind it now may end, and its holder go on without an update.
        """
        lease = self.lease(key)
        return UNBACKED if lease is None else min(lease.patience, UNBACKED)

    def doubt(self, key: bytes) -> None:
        """End the lease that is waited for, if it is not believed any more."""
        lease = self.lease(key)
        if lease is not None and lease.is_over:
            lease.end(failed=False)

    def serve(self, key: bytes, value: bytes) -> None:
        """Give the answer (in the value format) to all who wait for it."""
        self._failed.pop(key, None)
        self._close(key, value)

    def release(self, key: bytes) -> None:
        """There is an answer, but none that could be handed on: let everybody go on alone."""
        _remember(self._alone, key, time.monotonic() + ALONE)
        self._close(key, None)

    def close(self) -> None:
        """Let everybody go on alone, who waits now."""
        for key in list(self._flights):
            self._close(key, None)

    def failed(self, key: bytes) -> float | None:
        """When the last holder of the key's lease failed (monotonic seconds); None if none did."""
        return self._failed.get(key)

    def keep_alive(self, key: bytes, fence: int, *, is_kept: bool) -> None:
        """For `Lease` only."""
        if self._durable is not None:
            self._durable.keep_alive(key, fence, is_kept=is_kept)

    def ended(self, lease: Lease, *, failed: bool) -> None:
        """For `Lease` only."""
        self._end(lease.key, lease.number, lease.fence, failed=failed)

    def lost(self, lease: Lease) -> None:
        """For `Lease` only. May be called by a finalizer: whenever, in whichever thread."""
        self._lost.append((lease.key, lease.number, lease.fence))
        # Whoever is inside looks once more afterwards.
        if not self._depth:
            self._bury()

    def _bury(self) -> None:
        while self._lost:
            try:
                lost = self._lost.popleft()
            except IndexError:
                return  # another thread was quicker
            self._end(*lost, failed=False)

    def _end(self, key: bytes, number: int, fence: int | None, *, failed: bool) -> None:
        with self:
            outcomes = self._pass_on(key, number, failed=failed)
        if outcomes is not None:
            if fence is not None and self._durable is not None:
                self._durable.let_go(key, fence, int(failed))
            settle(outcomes)

    def _close(self, key: bytes, value: bytes | None) -> None:
        with self:
            flight = self._flights.pop(key, None)
        if flight is not None:
            lease = flight.lease()
            if lease is not None:
                lease.has_ended = True
            settle([(call, value, None) for call in flight.waiters])

    def _pass_on(self, key: bytes, number: int, *, failed: bool) -> list[Outcome] | None:
        """Give a lease that has ended to who waits longest. None if it was not the key's."""
        flight = self._flights.get(key)
        if flight is None or flight.number != number:
            return None
        if failed:
            flight.failures += 1
            _remember(self._failed, key, time.monotonic())
        if flight.failures < FAILURES:
            number = next(self._numbers)
            for call in list(flight.waiters):
                del flight.waiters[call]
                if not call.is_over:
                    lease = Lease(self, key, number, after_failure=flight.failures > 0)
                    flight.hand(lease)
                    return [(call, lease, None)]
        del self._flights[key]
        return [(call, None, None) for call in flight.waiters]


def _pass_by(outcome: object) -> None:
    """See to an outcome that its waiter has not taken."""
    if isinstance(outcome, Lease):
        outcome.end(failed=False)


def _remember(notes: dict[bytes, float], key: bytes, time: float) -> None:
    """Note a time, as the last; the oldest is forgotten."""
    notes.pop(key, None)
    notes[key] = time
    if len(notes) > REMEMBERED:
        notes.pop(next(iter(notes)), None)

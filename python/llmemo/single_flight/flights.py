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

import functools
import itertools
import math
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo import lifecycle
from llmemo._core import FlightTable, Insisting
from llmemo.concurrency.bounded_dict import note
from llmemo.store_io.calls import Call, settle
from llmemo.store_io.operations import Join

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.langchain.model_runs import Run
    from llmemo.single_flight.watchdog import Holder, Tick
    from llmemo.store_io.calls import Outcome
    from llmemo.store_io.client import StoreClient
    from llmemo.store_io.time_budget import TimeBudget

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
        "thread",
        "tick",
    )

    def __init__(
        self, flights: Flights, key: bytes, number: int, *, after_failure: bool, thread: int = 0
    ) -> None:
        """See `Flights.enter`."""
        self.key = key
        self.number = number
        self.after_failure = after_failure
        """Whether one of those who held it before has failed."""
        self.has_ended = False
        self.fence: int | None = None
        """What the store knows the lease by, if it coordinates processes."""
        self.store_patience: TimeBudget | None = None
        """What the lookup has left for the update."""
        self.granted = self.since = time.monotonic()
        """`since`: when no run has stood behind it, if none does."""
        self.thread = thread
        """That it was granted in to a caller that did not wait for it, and holds it in a moment."""
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
        if flights is not None and self.fence is not None and not self.has_ended:
            flights.keep_alive(self.key, self.fence, is_kept=self.patience == math.inf)

    def taken_over_by(self, flights: Flights, number: int) -> Lease:
        """The lease in the place of this one, for `Flights` only: to the store it is the same."""
        lease = Lease(flights, self.key, number, after_failure=self.after_failure)
        lease.takeovers = self.takeovers + 1
        lease.fence = self.fence
        return lease

    def end(self, *, failed: bool) -> None:
        """Let somebody else have it. Without effect the second time."""
        flights = self._flights()
        if flights is not None and not self.has_ended:
            flights.ended(self, failed=failed)
            # The table has said so, unless it was not the key's.
            self.has_ended = True


class Waiting(NamedTuple):
    """Who waits for one answer."""

    waiters: list[Call[Any]]


class Flights:
    """The leases of one cache. All methods are thread-safe and brief.

    No lock: each step of the table is one call into Rust, and what two steps keep consistent is
    finished though an exception comes between them (a signal handler may raise one at any
    instruction), or can be done once more without effect.
    """

    def __init__(self, durable: StoreClient | None) -> None:
        """Nobody computes anything. `durable`: who is told of leases that the store knows."""
        self._durable = durable
        self._numbers = itertools.count(1)
        self._begin()
        lifecycle.has_lock(self)

    def _begin(self) -> None:
        self._table = FlightTable(functools.partial(_lost, weakref.ref(self)))
        self._failed: dict[bytes, float] = {}
        self._alone: dict[bytes, float] = {}

    @property
    def _flights(self) -> dict[bytes, Waiting]:
        """What is computed now: for a look from outside."""
        return {key: Waiting(calls) for key, calls in self._table.waiting().items()}

    def after_fork_in_child(self) -> None:
        """What was computed is computed by the parent."""
        for key in self._table.waiting():
            lease = self._table.lease(key)
            if lease is not None:
                # What context this goes on in may have it, and is to wait for others again.
                lease.has_ended = True
        self._begin()

    def enter(
        self, key: bytes, make_call: Callable[[Join], Call[Any]] | None
    ) -> Lease | Call[Any] | None:
        """Compute the answer to a request (a lease, for `runs.hold`), or wait for it (a call).

        None: go on without either. `make_call` is None for who must not wait.
        """
        if key in self._table:
            if make_call is None or self._is_beneath(key):
                return None
            # Not by way of variables: what a traceback keeps would live as long as that. (What is
            # not the key's any more, or not yet, has to be looked at again.)
            return self._join(key, make_call) or self.enter(key, make_call)
        if self._alone.get(key, 0.0) > time.monotonic():
            return None
        return self._lead(key, next(self._numbers)) or self.enter(key, make_call)

    def _is_beneath(self, key: bytes) -> bool:
        """Whether this is a signal handler, and the caller that it interrupts has the lease."""
        lease = self.lease(key)
        return lease is not None and lease.holder is None and lease.thread == threading.get_ident()

    def _join(self, key: bytes, make_call: Callable[[Join], Call[Any]]) -> Call[Any] | None:
        return self._table.join(key, make_call(Join(key, _pass_by)))  # type: ignore[no-any-return]

    def _lead(self, key: bytes, number: int) -> Lease | None:
        here = threading.get_ident()
        return self._table.lead(  # type: ignore[no-any-return]
            key, number, Lease(self, key, number, after_failure=False, thread=here)
        )

    def take_over(self, key: bytes, call: Call[Any], number: int) -> Lease | None:
        """Take a lease from its holder, for a caller that waits for it; None if it has ended.

        The holder's answer, should it come, serves all the same.
        """
        old = self.lease(key)
        if old is None or old.number != number:
            return None
        return self._take_over(old, call, next(self._numbers))

    def _take_over(self, old: Lease, call: Call[Any], number: int) -> Lease | None:
        return self._table.take_over(  # type: ignore[no-any-return]
            old.key, old.number, call, number, old.taken_over_by(self, number)
        )

    def is_first(self, key: bytes, call: Call[Any]) -> bool:
        """Whether a caller waits longest."""
        return self._table.is_first(key, call)

    def leave(self, key: bytes, call: Call[Any]) -> None:
        """Wait no more."""
        self._table.leave(key, call)

    def lease(self, key: bytes) -> Lease | None:
        """The lease of a request, if somebody has it."""
        # Not by way of a variable, which a traceback would keep.
        return self._table.lease(key)  # type: ignore[no-any-return]

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
        _finish(self, key, value, [])

    def release(self, key: bytes) -> None:
        """There is an answer, but none that could be handed on: let everybody go on alone."""
        note(self._alone, key, time.monotonic() + ALONE, REMEMBERED)
        _finish(self, key, None, [])

    def close(self) -> None:
        """Let everybody go on alone, who waits now."""
        for key in self._table.waiting():
            _finish(self, key, None, [])

    def failed(self, key: bytes) -> float | None:
        """When the last holder of the key's lease failed (monotonic seconds); None if none did."""
        return self._failed.get(key)

    def keep_alive(self, key: bytes, fence: int, *, is_kept: bool) -> None:
        """For `Lease` only."""
        if self._durable is not None:
            self._durable.held.keep(key, fence, is_kept=is_kept)

    def ended(self, lease: Lease, *, failed: bool) -> None:
        """For `Lease` only. May be called by a finalizer: whenever, in whichever thread."""
        _end(self, lease.key, lease.number, lease.fence, [], failed=failed)

    def lost(self, key: bytes, number: int) -> None:
        """For the table: a lease is gone that had not ended."""
        if self._durable is not None and self._table.failures(key, number) is not None:
            self._durable.give_back(key)
        _end(self, key, number, None, [], failed=False)

    def end(
        self, key: bytes, number: int, fence: int | None, outcomes: list[Outcome], *, failed: bool
    ) -> None:
        """Give a lease that has ended to who waits longest, unless it is not the key's any more.

        What was interrupted goes on when this is called again with the same `outcomes`.
        """
        while (failures := self._table.failures(key, number)) is not None:
            if fence is not None and self._durable is not None:
                self._durable.let_go(key, fence, int(failed))
            if failed:
                failures += 1
                note(self._failed, key, time.monotonic(), REMEMBERED)
            lease = None
            if failures < FAILURES:
                lease = Lease(self, key, next(self._numbers), after_failure=failures > 0)
            following = None if lease is None else (lease.number, lease)
            self._table.pass_on(key, number, failures, following, outcomes)
            if lease is None or lease.has_ended or not outcomes[-1][0].is_over:
                break
            # Whoever it is will not take it.
            number, fence, failed = lease.number, None, False
        settle(outcomes)

    def finish(self, key: bytes, value: bytes | None, outcomes: list[Outcome]) -> None:
        """End the lease of a key, and tell all who wait. As `end`, if it is interrupted."""
        self._table.close(key, value, outcomes)
        settle(outcomes)


def _lose(flights: weakref.ref[Flights], key: bytes, number: int) -> None:
    """See to a lease that nothing refers to any more, in whichever thread."""
    those = flights()
    if those is not None:
        those.lost(key, number)


_lost = Insisting(_lose)
_end = Insisting(Flights.end)
_finish = Insisting(Flights.finish)


def _pass_by(outcome: object) -> None:
    """See to an outcome that its waiter has not taken."""
    if isinstance(outcome, Lease):
        outcome.end(failed=False)

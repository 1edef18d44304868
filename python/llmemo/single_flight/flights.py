"""Single-flight: within one process, one caller computes an answer and the others wait for it.

    miss ── enter ──► no other caller is at it:  a Lease: compute, then update
                      another caller is:         wait ──► the answer, with the holder's update
                                                     ──► the Lease, if the holder fails or is lost
                                                     ──► nothing, after two failures, or too long

What a lease is, and when it ends: see `lease`.
"""

from __future__ import annotations

import functools
import itertools
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo import lifecycle
from llmemo._core import FlightTable, Insisting
from llmemo.concurrency.bounded_dict import note
from llmemo.single_flight.lease import Lease, next_look
from llmemo.store_io.calls import Call, settle
from llmemo.store_io.operations import Join
from llmemo.stores.lease_store import FAILURES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo.single_flight.lease import StoreLeases
    from llmemo.store_io.calls import Outcome

ALONE = 60.0
"""Seconds without single-flight for a request, after an answer to it that waiters could not get."""

REMEMBERED = 1024
"""Failures, and requests that are not coordinated, that are remembered."""


class Waiting(NamedTuple):
    """The callers that wait for one answer."""

    waiters: list[Call[Any]]


class Flights:
    """The leases of one cache. All methods are thread-safe and brief.

    It has no lock. A signal handler may raise at any instruction, and would leave a lock held. Each
    step of the table is one call into Rust. What takes two steps is finished after an exception,
    or may be repeated without effect.
    """

    def __init__(self, store: StoreLeases | None) -> None:
        """Begin with no lease. `store`: told of the leases that it knows, too."""
        self.store = store
        self._numbers = itertools.count(1)
        self._me = weakref.ref(self)
        self._begin()
        lifecycle.has_lock(self)

    def _begin(self) -> None:
        self._table = FlightTable(functools.partial(_lost, self._me))
        self._failed: dict[bytes, float] = {}
        self._alone: dict[bytes, float] = {}

    @property
    def _flights(self) -> dict[bytes, Waiting]:
        """What is computed now: for a look from outside."""
        return {key: Waiting(calls) for key, calls in self._table.waiting().items()}

    def after_fork_in_child(self) -> None:
        """Leave to the parent what it computes."""
        for key in self._table.waiting():
            lease = self._table.lease(key)
            if lease is not None:
                # This context may hold it. In the child it waits for other callers again.
                lease.has_ended = True
        self._begin()

    def enter(
        self, key: bytes, make_call: Callable[[Join], Call[Any]] | None
    ) -> Lease | Call[Any] | None:
        """Begin or join the computation of an answer. Returns a lease, or a call to wait for.

        None: go on without either. `make_call` is None for a caller that must not wait.
        """
        # No variable: a traceback would keep the lease alive.
        return self.lead(key) or self._follow(key, make_call)

    def lead(self, key: bytes) -> Lease | None:
        """Begin the computation of an answer; None if that takes `enter`."""
        if key in self._table or (self._alone and self._goes_alone(key)):
            return None
        number = next(self._numbers)
        # In no variable, either.
        return self._table.lead(  # type: ignore[no-any-return]
            key, number, Lease(self._me, key, number, threading.get_ident())
        )

    def _follow(
        self, key: bytes, make_call: Callable[[Join], Call[Any]] | None
    ) -> Lease | Call[Any] | None:
        if key in self._table:
            if make_call is None or self._is_beneath(key):
                return None
            # Nor is there one for the call, which may be passed a lease. The table may have changed
            # since the look at it: then look again.
            return self._join(key, make_call) or self.enter(key, make_call)
        return None if self._goes_alone(key) else self.enter(key, make_call)

    def _goes_alone(self, key: bytes) -> bool:
        return self._alone.get(key, 0.0) > time.monotonic()

    def _is_beneath(self, key: bytes) -> bool:
        """Whether this is a signal handler, and the caller that it interrupts has the lease."""
        lease = self.lease(key)
        return lease is not None and lease.holder is None and lease.thread == threading.get_ident()

    def _join(self, key: bytes, make_call: Callable[[Join], Call[Any]]) -> Call[Any] | None:
        return self._table.join(key, make_call(Join(key, _pass_by)))  # type: ignore[no-any-return]

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
            old.key, old.number, call, number, old.taken_over(number)
        )

    def is_first(self, key: bytes, call: Call[Any]) -> bool:
        """Whether a caller has waited longest."""
        return self._table.is_first(key, call)

    def leave(self, key: bytes, call: Call[Any]) -> None:
        """Wait no more."""
        self._table.leave(key, call)

    def lease(self, key: bytes) -> Lease | None:
        """The lease of a request, if there is one."""
        # Not by way of a variable, which a traceback would keep.
        return self._table.lease(key)  # type: ignore[no-any-return]

    def next_look(self, key: bytes) -> float:
        """Seconds after which a waiter has to call `end_untrusted`."""
        return next_look(self.lease(key))

    def end_untrusted(self, key: bytes) -> None:
        """End the lease that is waited for, if it is not trusted any more."""
        lease = self.lease(key)
        if lease is not None and lease.is_over:
            lease.end(failed=False)

    def serve(self, key: bytes, value: bytes) -> None:
        """Give the answer (in the value format) to all waiters."""
        if self._failed:
            self._failed.pop(key, None)
        if not self._table.close_unawaited(key):
            _finish(self, key, value, [])

    def release(self, key: bytes) -> None:
        """Let all waiters go on alone: there is an answer, but it cannot be handed on."""
        note(self._alone, key, time.monotonic() + ALONE, REMEMBERED)
        _finish(self, key, None, [])

    def close(self) -> None:
        """Let all waiters of all requests go on alone."""
        for key in self._table.waiting():
            _finish(self, key, None, [])

    def failed(self, key: bytes) -> float | None:
        """When the last holder of the key's lease failed (monotonic seconds); None if none did."""
        return self._failed.get(key)

    def ended(self, lease: Lease, *, failed: bool) -> None:
        """For `Lease` only. May be called by a finalizer: at any time, in any thread."""
        is_plain = not failed and (lease.fence is None or self.store is None)
        if not (is_plain and self._table.close_unawaited(lease.key, lease.number)):
            _end(self, lease.key, lease.number, lease.fence, [], failed=failed)

    def lost(self, key: bytes, number: int) -> None:
        """For the table: a lease is gone that had not ended."""
        if self.store is None:
            if self._table.close_unawaited(key, number):
                return
        elif self._table.failures(key, number) is not None:
            self.store.release_held(key)
        _end(self, key, number, None, [], failed=False)

    def end(
        self, key: bytes, number: int, fence: int | None, outcomes: list[Outcome], *, failed: bool
    ) -> None:
        """Pass an ended lease on to the first waiter, if it is still the lease of the key.

        After an interrupt, call it again with the same `outcomes`: it goes on.
        """
        while (failures := self._table.failures(key, number)) is not None:
            if fence is not None and self.store is not None:
                self.store.release(key, fence, int(failed))
            if failed:
                failures += 1
                note(self._failed, key, time.monotonic(), REMEMBERED)
            lease = None
            if failures < FAILURES_MAX:
                lease = Lease(self._me, key, next(self._numbers))
                lease.after_failure = failures > 0
            following = None if lease is None else (lease.number, lease)
            self._table.pass_on(key, number, failures, following, outcomes)
            if lease is None or lease.has_ended or not outcomes[-1][0].is_over:
                break
            # The first waiter has left, and will not take it.
            number, fence, failed = lease.number, None, False
        settle(outcomes)

    def finish(self, key: bytes, value: bytes | None, outcomes: list[Outcome]) -> None:
        """End the lease of a key, and tell all waiters. As `end`, if it is interrupted."""
        self._table.close(key, value, outcomes)
        settle(outcomes)


def _lose(flights: weakref.ref[Flights], key: bytes, number: int) -> None:
    """End a lease that nothing refers to any more, in whichever thread."""
    those = flights()
    if those is not None:
        those.lost(key, number)


_lost = Insisting(_lose)
_end = Insisting(Flights.end)
_finish = Insisting(Flights.finish)


def _pass_by(outcome: object) -> None:
    """Pass on a lease that its waiter has not taken."""
    if isinstance(outcome, Lease):
        outcome.end(failed=False)

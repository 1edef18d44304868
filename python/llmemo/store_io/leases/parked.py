"""Calls that wait for the lease of another process to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmemo.stores.lease_store import FAILURES_MAX
from llmemo.stores.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmemo.store_io.calls import Outcome, Submission
    from llmemo.store_io.operations import Release
    from llmemo.stores.lease_store import LeaseState


PAUSE = 0.025
"""Seconds between two looks at the leases of other processes that callers wait for."""

LONGEST_PAUSE = 0.1
"""The same for a lease that is waited for since long, where each look asks a server."""

PACE = 0.1
"""Part of the time that a lease was waited for, after which it is looked at again: until then."""


class ParkedCalls:
    """Calls by the key of the lease that they wait for."""

    def __init__(self) -> None:
        """Begin with none."""
        self.by_key: dict[bytes, list[Submission[Any]]] = {}
        self._ends: dict[bytes, float] = {}
        self._paces: dict[bytes, _Pace] = {}
        self._has_new = False

    def park(self, call: Submission[Any], state: LeaseState) -> None:
        """Have a call wait for the lease in this state."""
        key = operation_of(call).key
        self.by_key.setdefault(key, []).append(call)
        self._ends[key] = state.expires
        # The end of that lease may have been seen already, for other callers.
        self._has_new = True

    def drop_abandoned(self) -> None:
        """Forget the calls whose callers have left."""
        self.by_key = {key: left for key, calls in self.by_key.items() if (left := waiting(calls))}
        for gone in self._ends.keys() - self.by_key.keys():
            self._forget(gone)

    def due(self, now: float, loop_time: float, *, is_paced: bool) -> list[bytes]:
        """The keys to look at: all, or those whose pause is over if they are `is_paced`.

        `now`: Unix time by the store's clock, at which leases end; `loop_time`: monotonic seconds.
        """
        if not is_paced:
            return list(self.by_key)
        paces = self._paces
        return [
            key
            for key in self.by_key
            if paces.setdefault(key, _Pace(loop_time)).is_due(loop_time)
            or self._ends.get(key, now) <= now
        ]

    def is_due(self, now: float) -> bool:
        """Whether to look at the leases even if the store has not changed. Asked once a look."""
        is_due = self._has_new or any(self._ends.get(key, now) <= now for key in self.by_key)
        self._has_new = False
        return is_due

    def judge(
        self, keys: Iterable[bytes], found: Mapping[bytes, Record | LeaseState], now: float
    ) -> tuple[list[Outcome], list[Submission[Any]]]:
        """Outcomes of the calls whose wait is over, and the calls whose lease has become free."""
        outcomes: list[Outcome] = []
        free: list[Submission[Any]] = []
        for key in keys:
            calls, state, pace = self.by_key.pop(key, []), found.get(key), self._paces.get(key)
            self._forget(key)
            if isinstance(state, Record):
                outcomes += [(call, state, None) for call in calls]
                continue
            failures = 0 if state is None else state.failures
            done = [
                call
                for call in calls
                if failures >= max(FAILURES_MAX, operation_of(call).held.failures + 1)
            ]
            outcomes += [(call, None, None) for call in done]
            rest = [call for call in calls if call not in done]
            if state is None or state.expires <= now:
                free += rest
            else:
                self.by_key.setdefault(key, []).extend(rest)
                self._ends[key] = state.expires
                if pace is not None and pace.failures in {None, failures}:
                    # It is the lease that was waited for before.
                    pace.failures = failures
                    self._paces[key] = pace
        return outcomes, free

    def take_all(self) -> list[Submission[Any]]:
        """Remove and return all calls."""
        calls = [call for group in self.by_key.values() for call in group]
        self.by_key, self._ends, self._paces = {}, {}, {}
        return calls

    def _forget(self, key: bytes) -> None:
        self._ends.pop(key, None)
        self._paces.pop(key, None)


class _Pace:
    """How often to look at one lease: the rarer, the longer it was waited for."""

    __slots__ = ("_next", "_since", "failures")

    def __init__(self, now: float) -> None:
        self._since = self._next = now
        self.failures: int | None = None
        """As the last look has found them."""

    def is_due(self, now: float) -> bool:
        """Whether to look. If so, the next look is put off."""
        if now < self._next:
            return False
        self._next = now + min(LONGEST_PAUSE, PACE * (now - self._since))
        return True


def operation_of(call: Submission[Any]) -> Any:
    """The operation of a call, whose kind the caller knows."""
    return call.operation


def waiting(calls: Iterable[Submission[Any]]) -> list[Submission[Any]]:
    """Those of some calls whose callers have not left."""
    return [call for call in calls if not call.is_over]


def by_key(operations: Iterable[Release]) -> list[dict[bytes, Release]]:
    """Operations by key, in as many dictionaries as it takes: a key may have several."""
    found: list[dict[bytes, Release]] = []
    for operation in operations:
        free = next((group for group in found if operation.key not in group), None)
        if free is None:
            found.append(free := {})
        free[operation.key] = operation
    return found

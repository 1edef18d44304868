"""Leases among processes: asked for, waited for, renewed and released by the store's thread."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from itertools import chain
from typing import TYPE_CHECKING, Any

from llmemo.concurrency.loop_timers import Timer
from llmemo.store_io.calls import Call, Outcome, Submission, settle
from llmemo.store_io.leases.held import HeldLease
from llmemo.store_io.leases.parked import PAUSE, ParkedCalls, by_key, operation_of, waiting
from llmemo.store_io.leases.trouble import LeaseTrouble
from llmemo.store_io.operations import Follow, Release, Resume, Set
from llmemo.store_io.shutdown import end_look
from llmemo.stores.lease_store import FAILURES_MAX, Grant, LeaseState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llmemo.store_io.leases.held import HeldLeases
    from llmemo.store_io.store_opener import StoreOpener
    from llmemo.stores.lease_store import LeaseStore
    from llmemo.telemetry.stats import Tally

LEASE = 5.0
"""Seconds for which a lease lasts that no model run stands behind; a killed process keeps the
others waiting for no longer."""

LOOKS = 12
"""Looks at our own leases in the time of the shortest."""


class LeaseManager:
    """The part of a worker that has to do with leases; all of it on the worker's loop.

    `work` runs beside no other write. One timer runs while callers wait, and one while this process
    holds leases, however many they are.
    """

    def __init__(
        self,
        opener: StoreOpener,
        held: HeldLeases,
        tally: Tally,
        *,
        wake: Callable[[], object],
        late: list[Submission[Any]],
        timeout: float,
    ) -> None:
        """Begin with nothing to do.

        Args:
            opener: Opens the store.
            held: The leases of this process.
            tally: Counts trouble.
            wake: Has `work` called.
            late: Gets the calls that come after the end.
            timeout: Seconds after which a store that does not answer keeps no caller waiting.
        """
        self._opener = opener
        self._held = held
        self._tally = tally
        self.trouble = LeaseTrouble(tally)
        self._wake = wake
        self._timeout = timeout
        self._late = late
        self.is_in_trouble = False
        """Whether writes get nowhere at present."""
        self._is_over = False
        self._asked: dict[bytes, list[Submission[Any]]] = {}
        self._asking: list[Submission[Any]] = []
        self._parked = ParkedCalls()
        self._releases: list[Submission[None]] = []
        self._peeking: asyncio.Task[None] | None = None
        self._since = math.inf
        """When the store was asked what it has not answered yet."""
        self._has_due = False

    def start(self) -> None:
        """Begin, on the running loop: go on with the leases of the worker before."""
        self._loop = asyncio.get_running_loop()
        self._poll_timer = Timer(self._loop, self._poll)
        self._held_timer = Timer(self._loop, self._look_at_held)
        self._look_at_held()

    # What comes in.

    def take(self, call: Submission[Any]) -> None:
        """Queue a call."""
        operation = call.operation
        if self._is_over:
            self._late.append(call)
        elif isinstance(operation, Release):
            self._held.drop(operation.key, operation.fence)
            self._releases.append(call)
        elif self._grants_none or isinstance(operation, Resume):
            settle([(call, None, None)])
        elif isinstance(operation, Follow):
            self._park(call, operation.held)
        else:
            self._ask([call])

    @property
    def _grants_none(self) -> bool:
        return self.is_in_trouble or self.trouble.is_refused

    def _ask(self, calls: list[Submission[Any]]) -> None:
        self._since = min(self._since, self._loop.time())
        for call in calls:
            self._asked.setdefault(operation_of(call).key, []).append(call)

    def _park(self, call: Submission[Any], state: LeaseState) -> None:
        self._parked.park(call, state)
        self._poll_timer.within(PAUSE)

    def dismiss_waiters(self) -> None:
        """Have all waiters go on without a lease: the store tells nothing more."""
        calls = [*self._asking, *chain(*self._asked.values()), *self._parked.take_all()]
        self._asked, self._asking = {}, []
        self._since = math.inf
        settle([(call, None, None) for call in calls])

    def wanted(self, keys: Iterable[bytes]) -> dict[bytes, float]:
        """Seconds for which leases of these keys are to last that a read may bring along."""
        store = self._opener.opened()
        if store is None or store.leases is None or self._grants_none or self._is_over:
            return {}
        # Those that this process holds are not free; those that were asked for wait their turn.
        held, asked = self._held.by_key, self._asked
        return {key: LEASE for key in keys if key not in held and key not in asked}

    def note_granted(
        self, found: Mapping[bytes, Any], wanted: Mapping[bytes, float], *, is_claimed: bool = False
    ) -> None:
        """Remember what was granted, for the seconds wanted. `is_claimed`: see `HeldLease`."""
        for key, outcome in found.items():
            if isinstance(outcome, Grant):
                lease = HeldLease(outcome.fence, wanted[key], is_claimed=is_claimed)
                self._held.by_key[key] = lease
                self._held_timer.within(wanted[key] / LOOKS)

    # What is written.

    @property
    def has_work(self) -> bool:
        """Whether `work` has anything to do."""
        return bool(self._asked or self._releases or self._has_due)

    async def work(self) -> None:
        """Do what is due. Tried once: after a failure callers go on, and what is held lapses."""
        if self._releases:
            releases, self._releases = self._releases, []
            # Each fence has to go, of a key that was granted twice meanwhile both.
            for ended in by_key(map(operation_of, releases)):
                await self._release(ended)
            settle([(call, None, None) for call in releases])
        if self._has_due:
            self._has_due = False
            await self._renew()
        if self._asked:
            await self._acquire()

    def wrote(self, calls: Iterable[Submission[Any]], *, is_done: bool) -> None:
        """Answers were stored, which ends their leases, or could not be."""
        for operation in (call.operation for call in calls):
            if isinstance(operation, Set) and operation.fence is not None:
                self._held.drop(operation.record.key, operation.fence)
                if not is_done:
                    # No process is to wait for another try.
                    ended = Release(operation.record.key, operation.fence, FAILURES_MAX)
                    self._releases.append(Call.blocking(ended))

    async def _leases(self) -> LeaseStore | None:
        return (await self._opener.open()).leases

    async def _release(self, ended: dict[bytes, Any]) -> None:
        with self.trouble.survived("release"):
            leases = await self._leases()
            if leases is not None:
                await leases.release({k: (one.fence, one.failures) for k, one in ended.items()})

    async def _renew(self) -> None:
        now = time.monotonic()
        due = self._held.due(now)
        with self.trouble.survived("renew"):
            leases = await self._leases()
            if leases is None or not due:
                return
            lost = await leases.renew({key: (it.fence, it.seconds) for key, it in due.items()})
            for key, lease in due.items():
                lease.renewed = now
                if key in lost:
                    self._held.drop(key, lease.fence)

    async def _acquire(self) -> None:
        asked, self._asked = self._asked, {}
        asked = {key: left for key, calls in asked.items() if (left := waiting(calls))}
        self._asking = [call for calls in asked.values() for call in calls]
        wanted = {key: operation_of(calls[0]).seconds for key, calls in asked.items()}
        found: dict[bytes, Any] = {}
        with self.trouble.survived("acquire"):
            leases = await self._leases()
            if leases is not None and wanted:
                found.update(await leases.acquire(wanted))
        was_let_go = bool(wanted) and not self._asking
        self._asking, self._since = [], self._loop.time() if self._asked else math.inf
        self.note_granted(found, wanted, is_claimed=True)
        outcomes: list[Outcome] = []
        for key, calls in asked.items():
            outcome = found.get(key)
            if isinstance(outcome, Grant):
                outcomes.append((calls.pop(0), outcome, None))
                outcome = LeaseState(self._opener.store.clock() + wanted[key], outcome.failures)
            for call in calls:
                if isinstance(outcome, LeaseState) and isinstance(call.operation, Follow):
                    if not was_let_go:
                        self._park(call, outcome)
                else:
                    outcomes.append((call, outcome, None))
        settle(outcomes)

    # What this process holds.

    def _look_at_held(self) -> None:
        now = time.monotonic()
        if self._held.due(now):
            self._has_due = True
        self._held.drop_lapsed(now)
        shortest = self._held.shortest()
        if shortest is not None:
            self._held_timer.within(shortest / LOOKS)
        if self._has_due:
            self._wake()

    # What other processes hold.

    def _poll(self) -> None:
        if self._loop.time() - self._since > self._timeout:
            text = "llmemo: the store does not answer about leases: callers go on without"
            self._tally.note("errors", "store_lease_timeout", text)
            self.dismiss_waiters()
        self._parked.drop_abandoned()
        parked = self._parked.by_key
        if parked and self._peeking is None:
            self._since = min(self._since, self._loop.time())
            self._peeking = asyncio.ensure_future(self._peek())
        if parked or self._asked or self._asking:
            self._poll_timer.within(PAUSE)

    async def _peek(self) -> None:
        found: dict[bytes, Any] | None = None
        keys: list[bytes] = []
        is_well = False
        with self.trouble.survived("peek"):
            leases = await self._leases()
            if leases is not None:
                now = self._opener.store.clock()
                keys = self._parked.due(now, self._loop.time(), is_paced=not leases.tells_moves)
                is_due = self._parked.is_due(now)
                if keys and (not leases.tells_moves or await leases.moved() or is_due):
                    found = dict(await leases.peek(keys))
                is_well = True
        self._peeking = None
        self._since = self._loop.time() if self._asked or self._asking else math.inf
        if not is_well:
            self.dismiss_waiters()
        elif found is not None:
            outcomes, free = self._parked.judge(keys, found, self._opener.store.clock())
            if free:
                self._ask(free)
            settle(outcomes)
            if self._asked:
                self._wake()

    async def finish(self) -> None:
        """Dismiss all waiters; release what is held, unless another worker goes on with it."""
        self._is_over = True
        self._poll_timer.cancel()
        self._held_timer.cancel()
        self.dismiss_waiters()
        if self._peeking is not None:
            await end_look(self._peeking, self._timeout)
        settle([(call, None, None) for call in self._releases])
        is_last = self._held.is_closed or not threading.main_thread().is_alive()
        if is_last:
            held, self._held.by_key = self._held.by_key, {}
            if held:
                await self._release(held)
        elif self._held.by_key:
            self._late.append(Call.blocking(Resume()))

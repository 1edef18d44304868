"""Leases among processes: asked for, waited for, kept and given back by the thread of the store."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from llmemo.errors import text_of
from llmemo.store_io.calls import Call, Outcome, Submission, settle
from llmemo.store_io.leases.client import HeldLease
from llmemo.store_io.maintenance import TROUBLE
from llmemo.store_io.operations import Follow, Release, Resume, Set
from llmemo.stores.base import Record
from llmemo.stores.lease_store import Grant, LeaseState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from llmemo.store_io.leases.client import HeldLeases
    from llmemo.stores.base import Store
    from llmemo.stores.lease_store import LeaseStore
    from llmemo.telemetry.stats import Tally

PAUSE = 0.025
"""Seconds between two looks at leases of others that somebody waits for."""

LOOKS = 12
"""Looks at our own leases in the time of the shortest."""

FAILURES = 2
"""Failures in a row after which all who wait go on by themselves."""


class LeaseManager:
    """The part of a worker that has to do with leases; all of it on the worker's loop.

    `work` runs beside no other write. Besides there is one timer while somebody waits, and one
    while anything is held, however many they are.
    """

    def __init__(
        self,
        store: Store,
        open_store: Callable[[], Awaitable[Store]],
        holds: HeldLeases,
        tally: Tally,
        *,
        wake: Callable[[], object],
        late: list[Submission[Any]],
        patience: float,
    ) -> None:
        """`wake` has `work` called; `late` is given what comes after the end.

        `patience`: seconds after which a store that does not answer keeps nobody waiting.
        """
        self._store = store
        self._open = open_store
        self._holds = holds
        self._tally = tally
        self._wake = wake
        self._patience = patience
        self._late = late
        self._loop = asyncio.get_running_loop()
        self.is_in_trouble = False
        """Whether writes get nowhere at present."""
        self._is_over = False
        self._asked: dict[bytes, list[Submission[Any]]] = {}
        self._asking: list[Submission[Any]] = []
        self._parked: dict[bytes, list[Submission[Any]]] = {}
        self._ends: dict[bytes, float] = {}
        self._releases: list[Submission[None]] = []
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._peeking: asyncio.Task[None] | None = None
        self._since = math.inf
        """When the store was given what those wait for whom it keeps waiting."""
        self._has_new = self._has_due = False
        self._watch_holds()

    # What comes in.

    def take(self, call: Submission[Any]) -> None:
        """Queue a call."""
        operation = call.operation
        if self._is_over:
            self._late.append(call)
        elif isinstance(operation, Release):
            self._holds.drop(operation.key, operation.fence)
            self._releases.append(call)
        elif self.is_in_trouble or isinstance(operation, Resume):
            settle([(call, None, None)])
        elif isinstance(operation, Follow):
            self._park(call, operation.held)
        else:
            self._ask([call])

    def _ask(self, calls: list[Submission[Any]]) -> None:
        self._since = min(self._since, self._loop.time())
        for call in calls:
            self._asked.setdefault(_of(call).key, []).append(call)

    def _park(self, call: Submission[Any], held: LeaseState) -> None:
        key = _of(call).key
        self._parked.setdefault(key, []).append(call)
        self._ends[key] = held.expires
        # What has become of that lease since then may have been seen already, for others.
        self._has_new = True
        self._after("poll", PAUSE, self._poll)

    def _after(self, name: str, delay: float, then: Callable[[], None]) -> None:
        """Have it called once, in so many seconds or earlier."""
        timer = self._timers.get(name)
        if self._is_over or (timer and timer.when() <= self._loop.time() + delay):
            return
        if timer:
            timer.cancel()
        self._timers[name] = self._loop.call_later(delay, self._fire, name, then)

    def _fire(self, name: str, then: Callable[[], None]) -> None:
        del self._timers[name]
        then()

    def let_go(self) -> None:
        """Let all go on who wait: nobody can tell them more."""
        waiting = list(self._asking)
        for group in (self._asked, self._parked):
            waiting += [call for calls in group.values() for call in calls]
        self._asked, self._asking, self._parked, self._ends = {}, [], {}, {}
        self._since = math.inf
        settle([(call, None, None) for call in waiting])

    # What is written.

    @property
    def has_work(self) -> bool:
        """Whether `work` has anything to do."""
        return bool(self._asked or self._releases or self._has_due)

    async def work(self) -> None:
        """Do what is due. Tried once: who asked goes on, and what is held lapses."""
        if self._releases:
            releases, self._releases = self._releases, []
            await self._release({_of(call).key: _of(call) for call in releases})
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
                self._holds.drop(operation.record.key, operation.fence)
                if not is_done:
                    # Nobody is to wait for another try.
                    ended = Release(operation.record.key, operation.fence, FAILURES)
                    self._releases.append(Call.blocking(ended))

    async def _leases(self) -> LeaseStore | None:
        return (await self._open()).leases

    async def _release(self, ended: dict[bytes, Any]) -> None:
        with self._tolerant("release"):
            leases = await self._leases()
            if leases is not None:
                await leases.release({k: (one.fence, one.failures) for k, one in ended.items()})

    async def _renew(self) -> None:
        now = time.monotonic()
        due = {key: hold for key, hold in self._holds.by_key.copy().items() if hold.is_due(now)}
        with self._tolerant("renew"):
            leases = await self._leases()
            if leases is None or not due:
                return
            lost = await leases.renew({key: (h.fence, h.seconds) for key, h in due.items()})
            for key, hold in due.items():
                hold.renewed = now
                if key in lost:
                    self._holds.drop(key, hold.fence)

    async def _acquire(self) -> None:
        asked, self._asked = self._asked, {}
        asked = {key: alive for key, calls in asked.items() if (alive := _alive(calls))}
        self._asking = [call for calls in asked.values() for call in calls]
        wanted = {key: _of(calls[0]).seconds for key, calls in asked.items()}
        found: dict[bytes, Any] = {}
        with self._tolerant("acquire"):
            leases = await self._leases()
            if leases is not None and wanted:
                found.update(await leases.acquire(wanted))
        was_let_go = bool(wanted) and not self._asking
        self._asking, self._since = [], self._loop.time() if self._asked else math.inf
        outcomes: list[Outcome] = []
        for key, calls in asked.items():
            outcome = found.get(key)
            if isinstance(outcome, Grant):
                self._holds.by_key[key] = HeldLease(outcome.fence, wanted[key])
                self._after("holds", wanted[key] / LOOKS, self._watch_holds)
                outcomes.append((calls.pop(0), outcome, None))
                outcome = LeaseState(self._store.clock() + wanted[key], outcome.failures)
            for call in calls:
                if isinstance(outcome, LeaseState) and isinstance(call.operation, Follow):
                    if not was_let_go:
                        self._park(call, outcome)
                else:
                    outcomes.append((call, outcome, None))
        settle(outcomes)

    # What is held.

    def _watch_holds(self) -> None:
        now = time.monotonic()
        held = self._holds.by_key.copy()
        for key, hold in held.items():
            if hold.is_due(now):
                self._has_due = True
            elif now - hold.renewed > hold.seconds:
                self._holds.drop(key, hold.fence)
        if held:
            shortest = min(hold.seconds for hold in held.values())
            self._after("holds", shortest / LOOKS, self._watch_holds)
        if self._has_due:
            self._wake()

    # What others hold.

    def _poll(self) -> None:
        if self._loop.time() - self._since > self._patience:
            text = "llmemo: the store does not say who computes what: nobody waits any longer"
            self._tally.note("errors", "store_lease_timeout", text)
            self.let_go()
        parked = {key: alive for key, calls in self._parked.items() if (alive := _alive(calls))}
        self._parked = parked
        if parked and self._peeking is None:
            self._since = min(self._since, self._loop.time())
            self._peeking = asyncio.ensure_future(self._peek())
        if parked or self._asked or self._asking:
            self._after("poll", PAUSE, self._poll)

    async def _peek(self) -> None:
        found: dict[bytes, Any] | None = None
        keys = list(self._parked)
        is_well = False
        with self._tolerant("peek"):
            leases = await self._leases()
            if leases is not None:
                now = self._store.clock()
                is_due = self._has_new or any(self._ends.get(key, now) <= now for key in keys)
                self._has_new = False
                if await leases.moved() or is_due:
                    found = dict(await leases.peek(keys))
                is_well = True
        self._peeking = None
        self._since = self._loop.time() if self._asked or self._asking else math.inf
        if not is_well:
            self.let_go()
        elif found is not None:
            self._judge(keys, found)

    def _judge(self, keys: list[bytes], found: dict[bytes, Any]) -> None:
        """Settle those whose wait is over, and ask again where a lease has become free."""
        outcomes: list[Outcome] = []
        now = self._store.clock()
        for key in keys:
            calls, state = self._parked.pop(key, []), found.get(key)
            self._ends.pop(key, None)
            if isinstance(state, Record):
                outcomes += [(call, state, None) for call in calls]
                continue
            failures = 0 if state is None else state.failures
            done = [c for c in calls if failures >= max(FAILURES, _of(c).held.failures + 1)]
            outcomes += [(call, None, None) for call in done]
            rest = [call for call in calls if call not in done]
            if state is None or state.expires <= now:
                self._ask(rest)
            else:
                self._parked.setdefault(key, []).extend(rest)
                self._ends[key] = state.expires
        settle(outcomes)
        if self._asked:
            self._wake()

    async def finish(self) -> None:
        """Let all go on who wait; give back what is held, unless that goes on in this process."""
        self._is_over = True
        for timer in self._timers.values():
            timer.cancel()
        self.let_go()
        if self._peeking is not None:
            await self._peeking
        settle([(call, None, None) for call in self._releases])
        is_last = self._holds.is_closed or not threading.main_thread().is_alive()
        if is_last:
            held, self._holds.by_key = self._holds.by_key, {}
            if held:
                await self._release(held)
        elif self._holds.by_key:
            self._late.append(Call.blocking(Resume()))

    @contextlib.contextmanager
    def _tolerant(self, verb: str) -> Iterator[None]:
        try:
            yield
        except TROUBLE as error:
            text = "llmemo: the store failed to %s leases: %s"
            self._tally.note("errors", "store_lease", text, verb, text_of(error))


def _of(call: Submission[Any]) -> Any:
    """Its operation, of which kind is known."""
    return call.operation


def _alive(calls: Iterable[Submission[Any]]) -> list[Submission[Any]]:
    return [call for call in calls if not call.is_over]

"""How long a waiter trusts the holder of a lease: as long as that gets on.

A caller that waits with a thread, or on an event loop that is not the holder's, may sit in what
the holder needs (`liveness`). It looks at the holder now and then. A holder that stands still for
`DOUBT` loses its lease to a waiter, which then asks the model itself; the others wait for that one.
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from llmemo.concurrency.blocking_future import NotYetError
from llmemo.single_flight.liveness import Look, Tick
from llmemo.single_flight.turns import Turns

if TYPE_CHECKING:
    import asyncio

    from llmemo.single_flight.flights import Flights
    from llmemo.single_flight.lease import Lease
    from llmemo.store_io.calls import Call

PAUSE = 0.1
"""Seconds between two looks of a thread."""

AWAITED_PAUSE = 0.3
"""Seconds between two looks of a task."""

DOUBT = 0.25
"""Seconds for which a holder may stand still, doubled at each takeover: if the model always waits
for a thread that cannot be followed, few calls are made in vain."""


class Watch:
    """One caller's wait for an answer, and its view of the holder."""

    __slots__ = ("_flights", "_is_first", "_key", "_number", "_since")

    def __init__(self, flights: Flights, key: bytes) -> None:
        """The wait begins."""
        self._flights = flights
        self._key = key
        self._number = 0
        """Of the lease that is looked at."""
        self._since: float | None = None
        """When it was seen to stand still, and was not seen to get on afterwards."""
        self._is_first: bool | None = None
        """Whether a task looks, though it is on the holder's loop: one is enough."""

    async def outcome(self, call: Call[Any], timeout: float) -> Any:
        """Wait for the answer, or for the lease.

        Raises:
            NotYetError: There is none within `timeout` (seconds), or `take_over` is to be tried.
        """
        if call.loop is not None:
            return await call.wait(min(timeout, self._pause(call.loop, call)))
        end = time.monotonic() + timeout
        while True:
            rest = end - time.monotonic()
            try:
                return await call.wait(max(0.0, min(rest, PAUSE)))
            except NotYetError:
                if rest <= PAUSE or self._is_stuck(0):
                    raise

    def _pause(self, loop: asyncio.AbstractEventLoop, call: Call[Any]) -> float:
        """Seconds until a task is to look."""
        lease = self._flights.lease(self._key)
        task = None if lease is None else _task(lease)
        if lease is None or task is None:
            return AWAITED_PAUSE
        if task.get_loop() is loop:
            if self._is_first is None:
                self._is_first = self._flights.is_first(self._key, call)
            return AWAITED_PAUSE if self._is_first else math.inf
        # The first look is to find whether there is an answer.
        _ticks(lease, task.get_loop())
        return AWAITED_PAUSE

    def is_stuck(self, call: Call[Any]) -> bool:
        """Whether the holder has stood still for too long."""
        return self._is_stuck(0 if call.loop is None else threading.get_ident())

    def take_over(self, call: Call[Any]) -> Lease | None:
        """Take over the holder's lease, if it has not ended. `call` must have been abandoned."""
        self._since = None
        return self._flights.take_over(self._key, call, self._number)

    def _is_stuck(self, viewer: int) -> bool:
        """Whether the holder has stood still for too long. `viewer`: see `_gets_on`."""
        lease = self._flights.lease(self._key)
        if lease is None or lease.holder is None:
            return False
        if lease.number != self._number:
            self._number, self._since = lease.number, None
        if _gets_on(lease, viewer):
            self._since = None
            return False
        now = time.monotonic()
        if self._since is None:
            self._since = now
        return now - self._since >= DOUBT * (1 << lease.takeovers)


def _task(lease: Lease) -> asyncio.Task[Any] | None:
    """The task that holds a lease, if that is one, and goes on."""
    holder = lease.holder
    return holder() if isinstance(holder, weakref.ref) else None


def _gets_on(lease: Lease, viewer: int) -> bool:
    """Whether the holder of a lease gets on.

    For half a pause the verdict is shared by all viewers of one kind: all threads that wait
    (`viewer` is 0), or the tasks of one loop (the number of its thread).
    """
    now = time.monotonic()
    seen, by, verdict = lease.seen
    if by == viewer and now - seen < PAUSE / 2:
        return verdict
    try:
        verdict = _looks_alive(lease)
    except Exception:  # noqa: BLE001 (of something private that is not as it was)
        verdict = False
    lease.seen = now, viewer, verdict
    return verdict


def _looks_alive(lease: Lease) -> bool:
    if isinstance(lease.holder, (int, Turns)):
        return Look().gets_on(lease.holder)
    task = _task(lease)
    if task is None or task.done():
        return True  # what becomes of its lease is known
    if not _ticks(lease, task.get_loop()):
        return False
    look = Look()
    # What a task needs is not always found: a client may connect in a task of its own.
    return look.gets_on(task) and not look.is_crowded()


def _ticks(lease: Lease, loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the holder's loop has given a sign of life since it was last asked."""
    tick = lease.tick
    if tick is not None and not tick.is_answered:
        return time.monotonic() - tick.sent < PAUSE / 2
    tick = Tick()
    try:
        loop.call_soon_threadsafe(tick.answer)
    except RuntimeError:
        return True  # closed: its leases are lost, and go to the next
    lease.tick = tick
    return True


async def unless_crowded(call: Call[Any], seconds: float) -> Any:
    """Wait for another process; with a thread of a pool only while no job waits for that.

    Raises:
        NotYetError: There is no outcome within `seconds`, or the thread is needed.
    """
    if call.loop is not None:
        return await call.wait(seconds)
    end, since = time.monotonic() + seconds, None
    while True:
        rest = end - time.monotonic()
        try:
            return await call.wait(max(0.0, min(rest, PAUSE)))
        except NotYetError:
            now = time.monotonic()
            since = (since or now) if _is_crowded() else None
            if rest <= PAUSE or (since is not None and now - since >= DOUBT):
                raise


def _is_crowded() -> bool:
    try:
        return Look(is_follower_still=True).is_crowded()
    except Exception:  # noqa: BLE001 (as in `_gets_on`; another process's holder gets on by itself)
        return False

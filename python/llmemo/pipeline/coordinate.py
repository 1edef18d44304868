"""Coordination of a lookup after a miss: wait for another caller's answer, or lead.

    enter ──► a call:   wait ──► the answer, or the lease after all
          ──► a lease:  lead ──► within the process, then among all processes ──► ask the model

With `stale_if_error` an expired answer is served after a failure of the model.
"""

from __future__ import annotations

import functools
import time
import weakref
from asyncio import _get_running_loop
from threading import get_ident
from typing import TYPE_CHECKING, Any

from llmemo._core import LARGE as LIMIT
from llmemo._core import ValueDamaged, decode, recording_of
from llmemo.concurrency.blocking_future import NotYetError
from llmemo.pipeline.tier_reads import accept, note_damage, read_by_key
from llmemo.single_flight.holding import hold, holds_anything
from llmemo.single_flight.lease import Lease
from llmemo.single_flight.watchdog import Watch, unless_crowded
from llmemo.store_io.calls import Call
from llmemo.stores.lease_store import Grant

if TYPE_CHECKING:
    from langchain_core.outputs import Generation

    from llmemo.pipeline.lookup_state import LookupState
    from llmemo.single_flight.flights import Flights
    from llmemo.store_io.client import StoreClient
    from llmemo.store_io.time_budget import TimeBudget
    from llmemo.stores import Record

    Hit = list[Generation]

OPENED_AT_ONCE = 16 * 1024
"""Largest stored value that is opened on the event loop, in bytes: a larger one may be large."""

STALE_PAUSE = 5.0
"""Seconds after a failure of the model for which it is not tried: stale answers are served."""

HOLDER_STUCK = (
    "llmemo: a caller asks the model though another does so already: that one makes no progress,"
    " maybe since the waiting callers fill the thread pool that it needs"
)


def leads_early(lookup: LookupState, about: tuple[float, float | None, bool]) -> bool:
    """Whether the caller is to refresh an answer that is in memory, and has not expired yet.

    Memory chose at random (XFetch) not to return it. Another caller may be refreshing it already.
    """
    _, expires, is_due = about
    if not is_due or expires is None or expires <= lookup.tiers.clock():
        return False
    flights = lookup.tiers.flights
    if flights is None:
        return True
    lease: Any = None
    try:
        lease = flights.enter(lookup.key, None)
        if isinstance(lease, Lease):
            _hold(lookup, lease)
            return True
    except BaseException:
        discard(lease)
        raise
    return False


def leads_at_once(lookup: LookupState, flights: Flights) -> bool:
    """Whether the caller is to compute the answer, without a look at anything else.

    Most misses end here: there is no store, or its lease came with the read. No coroutine is made
    for them.
    """
    tiers, key, grant = lookup.tiers, lookup.key, lookup.store_lease
    durable = tiers.durable
    if durable is not None and (lookup.expired is not None or not isinstance(grant, Grant)):
        return False
    lease = None
    try:
        lease = flights.lead(key)
        if lease is None:
            return False
        if tiers.memory.size(key):
            # It came between this lookup's look at memory and its lease, or is stale: `coordinate`
            # may return it.
            lease.end(failed=False)
            return False
        _hold(lookup, lease)
        if durable is not None and isinstance(grant, Grant):
            lease.store_budget = durable.time_budget(lookup.time_left)
            # In this order: an exception in between ends it twice, which has no effect.
            lease.fence = grant.fence
            lookup.store_lease = None
            lease.keep_alive()
    except BaseException:
        discard(lease)
        raise
    return True


async def coordinate(lookup: LookupState, flights: Flights) -> Hit | None:
    """Wait for the caller that computes the answer, or become that one: then None."""
    tiers, key = lookup.tiers, lookup.key
    failed = flights.failed(key) if tiers.settings.stale_if_error else None
    if failed is not None and time.monotonic() - failed < STALE_PAUSE:
        hit = _stale(lookup)
        if hit is not None:
            return hit
    deadline = time.monotonic() + tiers.settings.lease_timeout
    may_wait = not holds_anything() and not would_block_a_loop(lookup)
    found: Any = None
    try:
        found = flights.enter(key, lookup.make_call if may_wait else None)
        if isinstance(found, Call):
            # Another caller here is at it, without the store's lease.
            lookup.give_back_lease()
            watch = Watch(flights, key)
            while isinstance(found, Call):
                found = await wait(lookup, flights, found, deadline, watch)
        if isinstance(found, bytes):
            return await coalesced(lookup, found)
        if found is None:
            return None
        rest = deadline - time.monotonic() if may_wait else 0.0
        return await _turned_up(lookup, found) or await _lead(lookup, found, flights, rest)
    except GeneratorExit:
        raise  # the coroutine is garbage of a closed loop: see `store_io.leases.client`
    except BaseException:
        # Pass it on to the waiters now. The traceback would keep it alive.
        discard(found)
        raise


def discard(found: Lease | Call[Any] | bytes | None) -> None:
    """Leave a wait, or end a lease, that is not used."""
    if isinstance(found, Call):
        found.abandon()
    elif isinstance(found, Lease):
        found.end(failed=False)


async def wait(
    lookup: LookupState, flights: Flights, call: Call[Any], deadline: float, watch: Watch
) -> Any:
    """The outcome of waiting: a value, a lease, another wait, or None after too long."""
    key = lookup.key
    rest = deadline - time.monotonic()
    try:
        return await watch.outcome(call, max(0.0, min(rest, flights.next_look(key))))
    except NotYetError:
        # A lease that comes from now on goes to another waiter. One that has come already is
        # given up here.
        call.abandon()
        if time.monotonic() >= deadline:
            return None
        if watch.is_stuck(call):
            # No variable: a traceback would keep the lease alive.
            return watch.take_over(call) or flights.enter(key, lookup.make_call)
    finally:
        flights.leave(key, call)
    flights.end_untrusted(key)
    return flights.enter(key, lookup.make_call)


async def coalesced(lookup: LookupState, value: bytes) -> Hit:
    """Decode the answer of the caller that was waited for."""
    work = functools.partial(decode, value, lookup.key, fresh_ids=lookup.tiers.settings.fresh_ids)
    hit = await lookup.unless_small(work, is_large=len(value) > LIMIT)
    if lookup.wants_recording:
        lookup.recording = recording_of(value, lookup.key)
    return lookup.hit(hit, "coalesced", "flight", lookup.tiers.clock())


def _hold(lookup: LookupState, lease: Lease) -> None:
    owner = hold(lease)
    if not lookup.is_awaited:
        lease.holder = get_ident()
    elif isinstance(owner, weakref.ref):
        # (What awaits is not always a task.)
        lease.holder = owner


async def _turned_up(lookup: LookupState, lease: Lease) -> Hit | None:
    """An answer that makes a lease needless: the lease goes to the next waiter."""
    hit = await read_by_key(lookup) if lookup.tiers.memory.size(lookup.key) else None
    if hit is not None:
        # It came between this lookup's look at memory and its lease.
        lease.end(failed=False)
        return lookup.hit_in_memory(hit)
    if lease.after_failure and lookup.tiers.settings.stale_if_error:
        hit = _stale(lookup)
        if hit is not None:
            lease.end(failed=False)
            return hit
    return None


async def _lead(
    lookup: LookupState, lease: Lease, flights: Flights, lease_timeout: float
) -> Hit | None:
    """Hold a lease, and acquire it among all processes: None to compute, or the answer."""
    _hold(lookup, lease)
    if lease.takeovers:
        lookup.tiers.tally.note("errors", "holder_stuck", HOLDER_STUCK)
    durable = lookup.tiers.durable
    if durable is None:
        return None
    budget = lease.store_budget = durable.time_budget(lookup.time_left)
    if lookup.is_unreadable or lease.takeovers:
        # A lease that was taken over keeps its fence in the store.
        return None
    epoch = lookup.tiers.memory.epoch(lookup.key)
    try:
        found = await _acquire(lookup, durable, budget, lease_timeout)
        if isinstance(found, Grant):
            if lease.has_ended:
                # Another caller's update has served all waiters here.
                durable.release(lookup.key, found.fence, 0)
            else:
                lease.fence = found.fence
                lease.keep_alive()
    except GeneratorExit:
        raise  # as above
    except BaseException:
        if lease.fence is None:
            # It may have been granted all the same.
            durable.release_held(lookup.key)
        raise
    if found is not None and not isinstance(found, Grant):
        hit = await accept(lookup, found, epoch)
        if hit is not None:
            work = functools.partial(lookup.tiers.envelope.open, found.value, lookup.key)
            is_large = len(found.value) > OPENED_AT_ONCE
            flights.serve(lookup.key, await lookup.unless_small(work, is_large=is_large))
            return hit
    return None


async def _acquire(
    lookup: LookupState, durable: StoreClient, budget: TimeBudget, lease_timeout: float
) -> Grant | Record | None:
    """The store's lease, which came with the read if it was free then; or the answer."""
    known, lookup.store_lease = lookup.store_lease, None
    if isinstance(known, Grant):
        return known
    return await durable.acquire(
        lookup.key,
        lookup.make_call,
        budget,
        unless_crowded,
        lease_timeout=lease_timeout,
        known=known,
    )


def _stale(lookup: LookupState) -> Hit | None:
    """The answer though it has expired: memory's, or the record that the store returned."""
    tiers, key = lookup.tiers, lookup.key
    about = tiers.memory.about(key)
    hit = tiers.memory.stale(lookup.prompt, lookup.name, lookup.namespace, key)
    if hit is not None:
        created = None if about is None else about[0]
        return lookup.hit(hit, "stale", "memory", created, is_stale=True)
    old = lookup.expired
    if old is None or old.expires is None:
        return None
    if old.expires + tiers.settings.stale_if_error <= tiers.clock():
        return None
    try:
        value = tiers.envelope.open(old.value, key)
        hit = decode(value, key, fresh_ids=tiers.settings.fresh_ids)
    except ValueDamaged as damage:
        note_damage(lookup, damage, old)
        return None
    return lookup.hit(hit, "stale", "store", old.created, is_stale=True)


def would_block_a_loop(lookup: LookupState) -> bool:
    """Whether waiting would hold up the event loop that runs in this thread."""
    return not lookup.is_awaited and _get_running_loop() is not None

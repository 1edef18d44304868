"""The durable tier: a store, behind the thread that runs it and two circuit breakers.

A model call waits for no longer than `store_timeout` in all, and not at all while a breaker is
open. Trouble is counted, logged once a minute, and survived.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.store_io.calls import Call
from llmemo.store_io.executor import Executor
from llmemo.store_io.leases import manager
from llmemo.store_io.leases.client import acquire, give_back_all, release
from llmemo.store_io.operations import Found, Get, Set, Written
from llmemo.store_io.read_batcher import ReadBatcher
from llmemo.store_io.store_health import StoreHealth
from llmemo.store_io.time_budget import WAITED, TimeBudget
from llmemo.store_io.vector_client import VectorClient
from llmemo.stores.base import StoreRefusedError
from llmemo.stores.lease_store import Grant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from llmemo._core import Memory
    from llmemo.store_io.leases.client import Follower
    from llmemo.store_io.operations import Operation
    from llmemo.store_io.read_batcher import Read
    from llmemo.stores import Record, Store
    from llmemo.stores.lease_store import LeaseState
    from llmemo.telemetry.stats import Tally

    MakeCall = Callable[[Operation], Call[Any]]


class StoreClient:
    """Reads and writes records, and fails open."""

    def __init__(self, store: Store, tally: Tally, memory: Memory, timeout: float) -> None:
        """Open nothing yet. `timeout`: longest time that a caller waits, in seconds."""
        self.store = store
        self.executor = Executor(store, tally, memory, timeout)
        self.held = self.executor.held
        """The leases that this process holds."""
        self.health = StoreHealth(self.executor, tally, timeout)
        self.waited = WAITED * timeout
        """Seconds that one model call may wait for the store."""
        self._unclaimed = functools.partial(give_back_all, self.executor.submit)
        vectors = VectorClient(store, self.executor, self.health, self.waited, tally)
        self.questions, self.state = vectors.questions, vectors.state
        self.amend_soon = vectors.amend_soon
        self._batcher = ReadBatcher(self.executor, self.health, self.waited, self._unclaimed)

    def time_budget(self, left: float | None = None) -> TimeBudget:
        """The time budget of one model call's writes: `left` seconds; None for all."""
        return TimeBudget(self.waited if left is None else left, self.health.waiting_writes)

    def read(self, key: bytes, make_call: MakeCall, *, wants_lease: bool) -> Awaitable[Read]:
        """Read a record; None if there is none, or the store does not tell in time.

        Besides, the seconds that are left of the model call's time budget; and where there is no
        answer, and the caller would compute it, its lease, if the store can tell in the same step.
        An awaitable that was begun, and not awaited to its end, is for `leave`.
        """
        health = self.health
        if health.reads.is_open:
            health.reads_refused(1)
            health.probe(key)
            return self._unread()
        wants_lease = wants_lease and self.store.leases is not None and not health.writes.is_open
        if make_call == Call.awaited:
            return self._batcher.read(key, wants_lease=wants_lease)
        return self._read_alone(key, wants_lease=wants_lease)

    async def _read_alone(self, key: bytes, *, wants_lease: bool) -> Read:
        """As `read`, for a thread that blocks."""
        here = self._read_here([key])
        if here is not None and (here or not wants_lease):
            self.health.reads_done(1, None)
            return here.get(key), None, self.waited
        budget = TimeBudget(self.waited, self.health.waiting_reads)
        keys, wanted = [key] if here is None else (), [key] if wants_lease else ()
        records, leases = await self._found(keys, wanted, Call.blocking, budget)
        return records.get(key), leases.get(key), budget.left

    async def read_all(
        self,
        keys: Sequence[bytes],
        make_call: MakeCall,
        budget: TimeBudget | None = None,
        *,
        wanted: Collection[bytes] = (),
    ) -> Found:
        """Read the records of several keys in one step; nothing if that fails.

        Within `budget`; None: within that of a model call. `wanted`: the keys whose leases are to
        come along, where there is no answer. The caller claims or ends each grant
        (`HeldLeases.keep`, `release`) before it waits for anything.
        """
        health = self.health
        if health.reads.is_open:
            health.reads_refused(1)
            health.probe(keys[0])
            return Found({}, {})
        budget = budget or TimeBudget(self.waited, health.waiting_reads)
        if not budget.left:
            return Found({}, {})
        if self.store.leases is None or health.writes.is_open:
            wanted = ()
        records = None if make_call == Call.awaited else self._read_here(keys)
        leases: dict[bytes, Grant | LeaseState] = {}
        if records is None:
            records, leases = await self._found(keys, wanted, make_call, budget)
        else:
            health.reads_done(1, None)
        unsaid = [] if leases else [key for key in wanted if key not in records]
        if unsaid and health.reads.is_well and budget.left:
            # They are not told by a read in the caller's thread, nor by one that opens the store.
            late, leases = await self._found((), unsaid, make_call, budget)
            # They have come in between.
            records = {**records, **late}
        return Found(records, leases)

    async def _found(
        self,
        keys: Sequence[bytes],
        wanted: Collection[bytes],
        make_call: MakeCall,
        budget: TimeBudget,
    ) -> Found:
        # What was read here is not read again: a grant comes after a look at the answers anyway.
        call: Call[Found] = make_call(Get(keys, wanted, self._unclaimed))
        try:
            self.executor.submit(call)
            found: Found = await budget.outcome(call)
        except GeneratorExit:
            raise  # the coroutine is garbage of a closed loop: see `store_io.leases.client`
        except Exception as error:
            call.abandon()
            if is_interrupt(error):
                raise
            self.health.reads_done(1, error)
            return Found({}, {})
        except BaseException:
            call.abandon()
            raise
        self.health.reads_done(1, None)
        return found

    def _read_here(self, keys: Sequence[bytes]) -> Mapping[bytes, Record] | None:
        """Read in this thread, if the store can, and does not have to wait."""
        try:
            found = self.store.get_in_thread(keys)
            return None if found is None else dict(found)
        except Exception as error:  # the other way will say what is wrong
            if is_interrupt(error):
                raise
            return None

    async def _unread(self) -> Read:
        return None, None, self.waited

    def release_unclaimed(self) -> None:
        """Give back the leases that are on their way to a caller: one was interrupted there.

        Which one it was is not known. Another caller's answer may then be refused as superseded.
        """
        # It may have been interrupted while it joined a batch, and waits for no future then.
        self._batcher.forgo_leases()
        for key, fence in self.held.unclaimed():
            self.release(key, fence, 0)

    def leave(self, key: bytes, reading: Awaitable[Read]) -> None:
        """Give back the lease that came with a read whose caller was cancelled meanwhile."""
        if isinstance(reading, asyncio.Future) and reading.done() and not reading.cancelled():
            _, lease, _ = reading.result()
            self.give_back(key, lease)

    def give_back(self, key: bytes, lease: object) -> None:
        """End a lease that came with a read, and is not used. Waits for nothing."""
        if isinstance(lease, Grant):
            self.release(key, lease.fence, 0)

    def begin_write(
        self, operation: Set, make_call: MakeCall, budget: TimeBudget, *, at_once: bool = False
    ) -> Call[Any] | None:
        """Send a record. The call is for `written`; None if it is not waited for, but stays queued.

        `at_once`: from another thread than that of the event loop that the call is for.
        """
        health = self.health
        if health.reads.is_open or health.writes.is_open or not budget.left:
            # It gets there when the store does, without a wait.
            health.attempt(operation)
            # A caller that writes without reading would otherwise never be waited for again.
            health.probe(operation.record.key)
            return None
        try:
            call = make_call(operation)
            self.executor.submit(call, at_once=at_once)
        except Exception as error:  # it may be closed, or find no thread
            if is_interrupt(error):
                raise
            health.failed("write", error)
            return None
        return call

    async def written(self, call: Call[Any] | None, budget: TimeBudget) -> Written:
        """Wait for a record to be written. Returns what is known of it."""
        if call is None:
            return Written.UNCONFIRMED
        try:
            is_superseded = await budget.outcome(call)
        except NotYetError as error:
            self.health.failed("write", error)
            return Written.UNCONFIRMED
        except StoreRefusedError as error:
            self.health.write_ended(error)
            return Written.REFUSED
        except Exception as error:  # as above; the worker has counted it
            if is_interrupt(error):
                raise
            self.health.write_failed(error)
            return Written.UNCONFIRMED
        self.health.write_ended()
        return Written.SUPERSEDED if is_superseded else Written.STORED

    async def acquire(
        self,
        key: bytes,
        make_call: MakeCall,
        budget: TimeBudget,
        follow: Follower,
        *,
        lease_timeout: float,
        known: LeaseState | None,
    ) -> Grant | Record | None:
        """The right to compute an answer among all processes, or the answer; see `leases.client`.

        Waits by `follow` for another process that computes it, for `lease_timeout` seconds at
        most. `known`: the state of that one's lease, if it is known. None: go on without.
        """
        health = self.health
        # A store that has just failed to answer is not asked to coordinate.
        if not (health.reads.is_well and budget.left) or health.writes.is_open:
            return None
        if self.store.leases is None:
            return None
        try:
            found = await acquire(
                self.executor.submit,
                make_call,
                key,
                seconds=manager.LEASE,
                outcome=budget.outcome,
                follow=follow,
                lease_timeout=lease_timeout,
                known=known,
            )
        except Exception as error:  # as above
            if is_interrupt(error):
                raise
            if not self.executor.is_closed:  # meanwhile, which is no trouble
                health.failed("coordinate", error)
            return None
        if isinstance(found, Grant):
            # In its turn among the writes: one that came with a read says nothing of them.
            health.write_ended()
        elif found is None and not budget.left and not self.executor.is_closed:
            health.failed("coordinate", NotYetError())
        return found

    def release(self, key: bytes, fence: int, failures: int) -> None:
        """End a lease without an answer: see `leases.client.release`. Waits for nothing."""
        release(self.executor.submit, key, fence, failures)

    def release_held(self, key: bytes) -> None:
        """End the lease of this key if this process has it. Waits for nothing."""
        fence = self.held.fence(key)
        if fence is not None:
            self.release(key, fence, 0)

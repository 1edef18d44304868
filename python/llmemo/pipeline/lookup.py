"""The way of one lookup through the tiers, and past everybody who is computing already.

memory ──► (is it to be refreshed early?) ──► store ──► (has the model just failed?)
──► somebody computes it: wait ──► nobody: the caller does, and others wait
"""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING, Any, TypeVar

from llmemo._core import LARGE as LIMIT
from llmemo._core import RequestBypassed, ValueDamaged, decode
from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.config import misplaced_options
from llmemo.config.options import DEFAULT, in_force
from llmemo.langchain.chains import current_chain, in_chain
from llmemo.pipeline.large_work import LARGE, Large
from llmemo.pipeline.lookup_state import Outcomes
from llmemo.single_flight.holding import hold, holds_anything
from llmemo.single_flight.lease import Lease
from llmemo.single_flight.watchdog import Watch, here, unless_crowded
from llmemo.store_io.calls import Call
from llmemo.stores.lease_store import Grant
from llmemo.telemetry.savings import Worth

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from langchain_core.outputs import Generation

    from llmemo.config.options import Options
    from llmemo.keys.request import Request
    from llmemo.langchain.chains import Chain
    from llmemo.pipeline.tiers import Tiers
    from llmemo.single_flight.flights import Flights
    from llmemo.store_io.client import MakeCall
    from llmemo.stores import Record

    Hit = list[Generation]

T = TypeVar("T")

OPENED_AT_ONCE = 16 * 1024
"""Bytes of a stored value that may become a large one."""

STALE_PAUSE = 5.0
"""Seconds after a failure of the model for which what is stale is served; then it is tried anew."""


def _let_go(found: Lease | Call[Any] | bytes | None) -> None:
    """See to what was entered, or waited for, and is not used."""
    if isinstance(found, Call):
        found.abandon()
    elif isinstance(found, Lease):
        found.end(failed=False)


HOLDER_STUCK = (
    "llmemo: a caller asks the model though another does so already: that one is not getting on,"
    " maybe since those who wait fill the thread pool that it needs"
)


def fetch(
    tiers: Tiers,
    request: Request,
    said: Options | None,
    make_call: MakeCall,
    *,
    is_large: bool = False,
) -> Coroutine[Any, Any, Hit | None]:
    """Look for the answer to a request.

    Args:
        tiers: Where.
        request: What is asked, of whom, and how.
        said: What the context says of it; if nothing, and this is inside no chain, memory was asked
            already for the request as it is written.
        make_call: Makes the kind of call that the caller can wait for.
        is_large: Memory was not asked, since it would have taken too long there.

    Raises:
        CacheMiss: There is none, and the caller must not go on without.
        NamespaceRequiredError: The caller has to name a namespace.
    """
    ask_memory = is_large or said is not None or in_chain.get() is not None
    if said is not None and misplaced_options.is_watchful:
        said = in_force()
    chain = current_chain()
    if chain is not None:
        said = chain.said(said)
    lookup = Lookup(tiers, request, said or DEFAULT, make_call)
    if chain is None:
        return lookup.run(ask_memory=ask_memory)
    return _ask(chain, tiers, lookup)


async def _ask(chain: Chain, tiers: Tiers, lookup: Lookup) -> Hit | None:
    """Do a lookup, and have the chain remember what it gives."""
    hit = await lookup.run(ask_memory=True)
    key = b"" if hit is None else lookup.key_of_hit()
    if key:
        chain.given(tiers, key)
    return hit


class Lookup(Outcomes):
    """One lookup that memory has not answered yet."""

    _left = 0.0
    """Seconds that the model call may still wait for the store."""
    _old: Record | None = None
    """A record that has expired."""
    _is_unreadable = False
    """Whether the store has an answer that is not for this caller: it would be offered again."""

    def __init__(self, tiers: Tiers, request: Request, said: Options, make_call: MakeCall) -> None:
        """See `fetch`."""
        self._tiers = tiers
        self._request, self._prompt = request, request.prompt
        self._said = said
        self._make_call = make_call
        # Of the prompt. A thread that waits does everything itself.
        self._is_long = len(self._prompt) > LIMIT and make_call == Call.awaited

    async def run(  # noqa: PLR0911, PLR0912 (any step may be the last; a coroutine each costs time)
        self, *, ask_memory: bool
    ) -> Hit | None:
        """See `fetch`."""
        tiers, said = self._tiers, self._said
        memory = tiers.memory
        if tiers.is_closed:
            self.miss("closed")
            return None
        if said.mode == "bypass":
            tiers.bypass_requested()
            self.bypass("requested")
            return None
        self._namespace = namespace = tiers.namespace_of(said)
        request = self._request
        if ask_memory and said.mode != "refresh" and request.bypass is None:
            hit = await self._remembered(request.name())
            if hit is not None:
                return self._hit_in_memory(hit)
        try:
            if self._is_long:
                seek = functools.partial(tiers.sought, request, namespace)
                identity, epoch = await tiers.large_reads.run(seek)
            else:
                identity, epoch = tiers.sought(request, namespace)
        except RequestBypassed as bypass:
            self.bypass(tiers.bypass(bypass))
            return None
        self._asked, self._key = identity.asked, identity.key
        key = self._key
        if said.mode == "refresh":
            self.miss("refresh")
            return None
        if epoch is None:
            about = memory.about(key)
            if about is not None and said.mode != "only" and self._is_to_refresh(about):
                self.miss("early")
                return None
            # Asked in another form, maybe.
            hit = await self._known()
            if hit is not None:
                return self._hit_in_memory(hit)
            epoch = memory.epoch(key)
        if tiers.durable is not None:
            record, self._left = await tiers.durable.read(key, self._make_call)
            if record is not None:
                hit = await self._stored(record, epoch)
                if hit is not None:
                    return hit
        if tiers.flights is not None and said.mode != "only":
            hit = await self._coordinate(tiers.flights)
            if hit is not None:
                return hit
        self.miss("absent")
        return None

    # What is large, beside the event loop.

    async def _aside(self, work: Callable[[], T], *, is_large: bool) -> T:
        if is_large and self._make_call == Call.awaited:
            return await self._tiers.large_reads.run(work)
        return work()

    async def _remembered(self, name: str) -> Hit | None:
        """What memory has for the request as it was asked."""
        memory = self._tiers.memory
        if self._make_call == Call.awaited:
            hit = memory.lookup_at_once(self._prompt, name, self._namespace)
            if hit is not False:
                return hit
        work = functools.partial(self._recall, name)
        return await self._aside(work, is_large=True)

    def _recall(self, name: str) -> Hit | None:
        hit = self._tiers.memory.lookup(self._prompt, name, self._namespace)
        if hit is not None and self._is_long:
            # A tracker, or a chain, will ask for it.
            self.key_of_hit()
        return hit

    async def _known(self) -> Hit | None:
        """What memory has for the key: it may have been asked in another form."""
        memory, key = self._tiers.memory, self._key
        known = self._prompt, self._asked, self._namespace, key
        if not self._is_long and memory.size(key) <= LIMIT:
            return memory.lookup_key(*known)
        return await self._aside(functools.partial(memory.lookup_key, *known), is_large=True)

    async def _stored(self, record: Record, epoch: int) -> Hit | None:
        """Decode a record, and keep it in memory."""
        at_once = self._make_call == Call.awaited
        hit = self._hit_in_store(record, epoch, at_once=at_once)
        if not isinstance(hit, Large):
            return hit
        work = functools.partial(self._hit_in_store, record, epoch, at_once=False)
        there = await self._tiers.large_reads.run(work)
        return None if isinstance(there, Large) else there

    # The store.

    def _hit_in_store(  # noqa: PLR0911 (any step may be the last)
        self, record: Record, epoch: int, *, at_once: bool
    ) -> Hit | Large | None:
        """Decode a record, and keep it in memory; `LARGE` if that takes too long here."""
        tiers, key = self._tiers, self._key
        if at_once and len(record.value) > LIMIT:
            return LARGE
        try:
            if record.expires is not None and record.expires <= tiers.clock():
                tiers.tally.add("expired")
                self._old = record
                return None
            created = float(record.created)
            if tiers.rejected.has(key, created):
                self._is_unreadable = True
                return None
            try:
                # By the key that was asked for, whatever the store says that it found.
                filled = tiers.memory.fill(
                    self._prompt,
                    self._asked,
                    self._namespace,
                    key,
                    tiers.sealing.decrypted(record.value, key),
                    created,
                    record.expires,
                    epoch,
                    at_once,
                )
            except ValueDamaged as damage:
                self._reject(damage, record)
                return None
            if filled is None:
                return LARGE
            hit: Hit = filled
            if self._said.trackers:
                self._tell_of_hit("store", created, Worth(*tiers.memory.worth(hit)))
        except Exception as error:  # a store may say anything
            if is_interrupt(error):
                raise
            if tiers.durable is not None:
                tiers.durable.survive("read", error)
            return None
        return hit

    def _reject(self, damage: ValueDamaged, record: Record) -> None:
        self._is_unreadable = True
        self._tiers.reject(damage, record._replace(key=self._key))

    # Those who compute.

    def _is_to_refresh(self, about: tuple[float, float | None, bool]) -> bool:
        """Whether the caller is to compute an answer that is in memory, and has not expired yet.

        Memory did not return it, since its coin fell so (XFetch); somebody else may be at it.
        """
        _, expires, is_due = about
        if not is_due or expires is None or expires <= self._tiers.clock():
            return False
        flights = self._tiers.flights
        if flights is None:
            return True
        lease: Any = None
        try:
            lease = flights.enter(self._key, None)
            if isinstance(lease, Lease):
                self._hold(lease)
                return True
        except BaseException:
            _let_go(lease)
            raise
        return False

    async def _coordinate(self, flights: Flights) -> Hit | None:
        """Wait for who computes the answer, or become the one who does."""
        tiers, key = self._tiers, self._key
        failed = flights.failed(key) if tiers.settings.stale_if_error else None
        if failed is not None and time.monotonic() - failed < STALE_PAUSE:
            hit = self._stale()
            if hit is not None:
                return hit
        deadline = time.monotonic() + tiers.settings.lease_timeout
        may_wait = not holds_anything() and not self._would_block_a_loop()
        found: Any = None
        try:
            found = flights.enter(key, self._make_call if may_wait else None)
            if isinstance(found, Call):
                watch = Watch(flights, key)
                while isinstance(found, Call):
                    found = await self._wait(flights, found, deadline, watch)
            if isinstance(found, bytes):
                ids = tiers.settings.fresh_ids
                work = functools.partial(decode, found, key, fresh_ids=ids)
                hit = await self._aside(work, is_large=len(found) > LIMIT)
                return self._hit(hit, "coalesced", "flight", tiers.clock())
            if found is None:
                return None
            rest = deadline - time.monotonic() if may_wait else 0.0
            return await self._turned_up(found) or await self._lead(found, flights, rest)
        except GeneratorExit:
            raise  # garbage, of a loop that was closed: see `leases`
        except BaseException:
            # What the caller does not get, others wait for: now, not when the traceback is gone.
            _let_go(found)
            raise

    async def _wait(self, flights: Flights, call: Call[Any], deadline: float, watch: Watch) -> Any:
        """The outcome of waiting: a value, a lease, another wait, or None after too long."""
        key = self._key
        rest = deadline - time.monotonic()
        try:
            return await watch.outcome(call, max(0.0, min(rest, flights.next_look(key))))
        except NotYetError:
            # A lease may have come since: not to a thread that does not look any more. (Should one
            # come otherwise, and not be seen: see `_coordinate`.)
            call.abandon()
            if time.monotonic() >= deadline:
                return None
            if watch.is_stuck(call):
                # Not by way of a variable: what a traceback keeps would live as long as that.
                return watch.take_over(call) or flights.enter(key, self._make_call)
        finally:
            flights.leave(key, call)
        flights.end_untrusted(key)
        return flights.enter(key, self._make_call)

    def _hold(self, lease: Lease) -> None:
        lease.holder = here(is_blocking=self._make_call == Call.blocking)
        hold(lease)

    async def _turned_up(self, lease: Lease) -> Hit | None:
        """What makes a lease needless: it goes to the next one, who may find that, too."""
        hit = await self._known() if self._tiers.memory.size(self._key) else None
        if hit is not None:
            # It came between this lookup's look at memory and its lease.
            lease.end(failed=False)
            return self._hit_in_memory(hit)
        if lease.after_failure and self._tiers.settings.stale_if_error:
            hit = self._stale()
            if hit is not None:
                lease.end(failed=False)
                return hit
        return None

    async def _lead(self, lease: Lease, flights: Flights, lease_timeout: float) -> Hit | None:
        """Hold a lease, and get that among all processes: None to compute, or the answer."""
        self._hold(lease)
        if lease.takeovers:
            self._tiers.tally.note("errors", "holder_stuck", HOLDER_STUCK)
        durable = self._tiers.durable
        if durable is None:
            return None
        patience = lease.store_patience = durable.patience(self._left)
        if self._is_unreadable or lease.takeovers:
            # What the store knows was taken over along with the lease.
            return None
        epoch = self._tiers.memory.epoch(self._key)
        try:
            found = await durable.acquire(
                self._key, self._make_call, patience, unless_crowded, lease_timeout
            )
            if isinstance(found, Grant):
                if lease.has_ended:
                    # Somebody's update has served all who wait here.
                    durable.let_go(self._key, found.fence, 0)
                else:
                    lease.fence = found.fence
                    lease.keep_alive()
        except GeneratorExit:
            raise  # as above
        except BaseException:
            if lease.fence is None:
                # It may have been granted all the same.
                durable.give_back(self._key)
            raise
        if found is not None and not isinstance(found, Grant):
            hit = await self._stored(found, epoch)
            if hit is not None:
                work = functools.partial(self._tiers.sealing.open, found.value, self._key)
                is_large = len(found.value) > OPENED_AT_ONCE
                flights.serve(self._key, await self._aside(work, is_large=is_large))
                return hit
        return None

    def _stale(self) -> Hit | None:
        """The answer though it has expired."""
        tiers, key = self._tiers, self._key
        about = tiers.memory.about(key)
        hit = tiers.memory.stale(self._prompt, self._asked, self._namespace, key)
        if hit is not None:
            created = None if about is None else about[0]
            return self._hit(hit, "stale", "memory", created, is_stale=True)
        old = self._old
        if old is None or old.expires is None:
            return None
        if old.expires + tiers.settings.stale_if_error <= tiers.clock():
            return None
        try:
            value = tiers.sealing.open(old.value, key)
            hit = decode(value, key, fresh_ids=tiers.settings.fresh_ids)
        except ValueDamaged as damage:
            self._reject(damage, old)
            return None
        return self._hit(hit, "stale", "store", old.created, is_stale=True)

    def _would_block_a_loop(self) -> bool:
        """Whether waiting would hold up the event loop that runs in this thread."""
        if self._make_call != Call.blocking:
            return False
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return True

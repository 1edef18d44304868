"""The contract of a durable tier: five methods that it needs, others that it may have."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from llmemo.errors import StoreError
from llmemo.stores.pickling import reduced_store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from llmemo.stores.lease_store import Grant, LeaseState, LeaseStore
    from llmemo.stores.records import NamespaceSizes, Record, Selection
    from llmemo.stores.vector_store import VectorStore


class StoreUnavailableError(Exception):
    """The store cannot serve now but may later (locked, out of reach): try again."""


class StoreRefusedError(StoreError):
    """The store refuses this (full, read-only, not allowed), and would again: it is dropped.

    It was answered at once, so that the store counts as well. The message is logged: it names the
    reason, and nothing of a request. `Store.set` and `LeaseStore.set` may refuse some records of a
    batch, and store the others.
    """

    def __init__(
        self,
        *args: object,
        refused: Collection[bytes] | None = None,
        superseded: Collection[int] = (),
    ) -> None:
        """With a message.

        Args:
            *args: As of any exception.
            refused: Keys of the records that were refused; the others are stored. None: nothing is.
            superseded: Fences of the others that `LeaseStore.set` would have returned.
        """
        super().__init__(*args)
        self.refused = None if refused is None else frozenset(refused)
        self.superseded = frozenset(superseded)


class StoreUnusableError(Exception):
    """The store is not for this version of llmemo: logged once, and memory serves without it."""


class Store(ABC):
    """A durable tier.

    All methods run on one private event loop, each in a task that is never cancelled half-way, so
    an implementation needs no locks and no threads of its own. (But for `changes` and
    `LeaseStore.peek`: one that takes longer than `timeout`, or a second if that is longer, is
    cancelled before `close`.) `get` may run beside any other method; `set`, `add`, `delete`,
    `invalidate`, `discard`, `upkeep` and `close` never run beside each other.

    An implementation raises `StoreUnavailableError` for what may pass, `StoreRefusedError` for
    what was answered and will not, and anything else for what is broken (from `open`,
    `StoreUnusableError` for what another version has to see to); it never has to retry by itself.
    """

    leases: LeaseStore | None = None
    """Leases between the processes that share the store; None if it has none."""

    vectors: VectorStore | None = None
    """Questions for semantic lookups; None if it keeps none."""

    store_requests: bool = False
    """Whether records bring their requests, in plaintext."""

    read_only: bool = False
    """Whether nothing is ever written to it: answers are then kept in memory alone."""

    counts_uses: bool = False
    """Whether `saw` is to be called."""

    grace: float = 0.0
    """Seconds for which an expired record is kept: see `stale_if_error`."""

    timeout: float = 1.0
    """Seconds that a model call waits for the store, at most: see `store_timeout`."""

    reads_at_once: int = 1
    """Most calls of `get` and `get_or_acquire` that may run at the same time."""

    clock: Callable[[], float] = staticmethod(time.time)
    """Unix time in seconds, by the clock of the cache that uses this store."""

    keeps_clock: bool = True
    """Whether leases end, and expired records go, by `clock`: not where a server has its own."""

    forgets: bool = False
    """Whether records may go by themselves: once they have expired, or when there is no room."""

    lists_recent: bool = False
    """Whether `recent` lists anything."""

    def __copy__(self) -> Self:
        """The store itself: one cache runs it."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The store itself, as `__copy__`."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """For `pickle`: another store of the same settings, whatever is open here.

        The settings are the attributes that have the names of the constructor's arguments. A store
        that keeps them elsewhere has to define its own `__reduce__`.

        Raises:
            ConfigurationError: An argument of the constructor is no attribute.
        """
        return reduced_store(self)

    @abstractmethod
    async def open(self) -> None:
        """Open the store. Called before anything else, after a failure, and again after `close`."""

    @abstractmethod
    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        """The records of those keys that are there; expired ones may be among them."""

    def get_at_once(self, keys: Sequence[bytes]) -> Mapping[bytes, Record] | None:  # noqa: ARG002
        """The same as `get` where that takes microseconds and waits for nothing; otherwise None.

        By default None. It is for stores whose reads cost no more than a turn of the loop. Nothing
        else of the store runs meanwhile. If it raises, `get` is asked.
        """
        return None

    def get_in_thread(self, keys: Sequence[bytes]) -> Mapping[bytes, Record] | None:  # noqa: ARG002
        """The same as `get_at_once`, but in the thread of a caller that blocks: beside anything.

        By default None, as wherever the store is not open.
        """
        return None

    async def get_or_acquire(
        self,
        keys: Sequence[bytes],
        wanted: Mapping[bytes, float],  # noqa: ARG002 (other stores need it)
    ) -> tuple[Mapping[bytes, Record], Mapping[bytes, Grant | LeaseState]]:
        """As `get`, and of those `wanted` that have no answer take the free leases, in one step.

        `wanted`: seconds for which a lease is to last, by key. Returns the records, and for those
        wanted a grant or the state of their lease. By default only the records: leases are then
        asked for by `LeaseStore.acquire`, which waits its turn among the writes. A store behind a
        network does it in one round trip instead of two. May run beside any other method.
        """
        return await self.get(keys), {}

    @abstractmethod
    async def set(self, records: Sequence[Record]) -> None:
        """Store each of them whole; return when they would survive the process being killed.

        If one cannot be stored, this raises: a store with transactions then has none of them, and
        `StoreRefusedError` may say which those are.
        """

    @abstractmethod
    async def delete(self, keys: Sequence[bytes] | None) -> int:
        """Remove the records of those keys, or all for None. Returns how many there were."""

    async def add(self, records: Sequence[Record]) -> int:
        """As `set`, but leave what is there already, unless it has expired. Returns how many came.

        No two of the records have the same key. Never runs beside `set` or `delete`. A store that
        other processes write to should look and write in one step.
        """
        found, now = await self.get([record.key for record in records]), self.clock()
        there = {one.key for one in found.values() if one.is_live(now)}
        new = [record for record in records if record.key not in there]
        if new:
            await self.set(new)
        return len(new)

    async def invalidate(self, selection: Selection) -> int | None:
        """Remove the records that match, for some milliseconds; those stored later may stay.

        Returns None while some are left: then it is called again, with the same object, after other
        pending writes. At the end it returns how many all these calls removed. A store that cannot
        find them may leave this out; `LLMCache.invalidate` then raises.
        """
        msg = f"{type(self).__name__} cannot select: `delete` and `clear` are what it can do"
        raise NotImplementedError(msg)

    async def discard(self, records: Sequence[Record]) -> None:
        """Remove damaged records, if they still have the values that they were read with.

        Never runs beside `set` or `delete`. A store that other processes write to should look and
        remove in one step: what is here by default could remove what came in between.
        """
        found = await self.get([record.key for record in records])
        same = [
            one.key for one in records if one.key in found and found[one.key].value == one.value
        ]
        if same:
            await self.delete(same)

    async def changes(self) -> Collection[bytes | Selection] | None:
        """What other processes have removed or replaced since the last call: keys, or selections.

        None if the store cannot say which: then nothing that was read before is trusted. Called
        four times a second while memory holds answers. For stores that are shared with other
        processes. May run beside any other method but `close`.
        """
        return ()

    def stored_bytes(self) -> int | None:
        """What the store's files take, in bytes; None if it cannot tell at once. By default None.

        Called about once a second while in use, for `stats().store_bytes`.
        """
        return None

    def troubles(self) -> Sequence[tuple[str | None, float]]:
        """What is wrong with parts of the store while the whole may still serve.

        For each part the reason, or None, and when that began, by `time.monotonic`. For
        `LLMCache.health`: called from any thread, and takes no time. By default nothing.
        """
        return ()

    async def upkeep(self) -> None:  # noqa: B027 (not every store needs any)
        """Remove what has to go, a little at a time. Called about once a second while in use.

        Never runs beside `set`, `delete` and `close`.
        """

    def saw(self, keys: Collection[bytes]) -> None:  # noqa: B027 (not every store wants to know)
        """Note that records of these keys were served from memory. Takes no time."""

    async def recent(self, limit: int) -> Sequence[Record]:  # noqa: ARG002 (other stores need it)
        """The records that were added last, the newest first, their values left out.

        Less than `limit`, and no long requests, where more would not fit in memory (some 32 MiB).
        For explanations only, so that a store need not have it. May run beside any other method.
        """
        return ()

    async def namespace_sizes(self, seconds: float) -> NamespaceSizes | None:  # noqa: ARG002
        """What each namespace takes, of as many of the newest records as `seconds` allow.

        For reports only, so that a store need not have it: None by default. May run beside any
        other method, and must not hold one up for longer than a few milliseconds.
        """
        return None

    @abstractmethod
    async def close(self) -> None:
        """Close the store. `open` may follow: a fork closes every store and opens it again."""

    def left_open(self) -> None:  # noqa: B027 (not every store minds)
        """This is a copy, made by a fork that could not wait for `close`. `open` may follow."""

"""One store of a tiered store, behind a circuit breaker: its trouble is not the other one's."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, TypeVar

from llmemo.concurrency.circuit_breaker import CircuitBreaker
from llmemo.errors import StoreError
from llmemo.stores.base import StoreRefusedError, StoreUnavailableError
from llmemo.stores.reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from llmemo.stores.base import Store
    from llmemo.stores.records import Record

T = TypeVar("T")

PATIENCE = 0.3
"""Part of `Store.timeout` for which the far store is waited for. A model call may wait for 0.8 of
it in all: there is room for a read and a write."""

_ANYWHERE = contextlib.nullcontext()


class Tier:
    """A store that is opened at first use. A call that takes too long is left to itself.

    Such a call is never cancelled. It keeps its place: the next write waits for a write before it,
    and no more reads run at once than the store allows.
    """

    def __init__(self, store: Store, *, is_patient: bool, has_requests: bool) -> None:
        """Open nothing yet.

        Args:
            store: The store.
            is_patient: Wait however long a call takes.
            has_requests: Records bring their requests, maybe for the other store.
        """
        self.store = store
        self._is_discreet = has_requests and not store.store_requests
        self.breaker = CircuitBreaker()
        self.opened: Callable[[], Awaitable[None]] | None = None
        """Called as the last step of opening the store."""
        self.trouble: Exception | None = None
        """What went wrong last, until it is told."""
        self._last = ""
        self._is_patient = is_patient
        self._opening: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Begin, on the running loop, with a store that is not open."""
        self._opening = None
        self._running = set()
        self._reads = asyncio.Semaphore(self.store.reads_at_once)
        self._writes = asyncio.Lock()

    @property
    def patience(self) -> float | None:
        """Longest time that a call is waited for, in seconds; None for no bound."""
        return None if self._is_patient else PATIENCE * self.store.timeout

    @property
    def is_open(self) -> bool:
        """Whether the store is open."""
        opening = self._opening
        return (
            opening is not None
            and opening.done()
            and not opening.cancelled()
            and opening.exception() is None
        )

    def accepted(self, records: Iterable[Record]) -> list[Record]:
        """Records as the store is to keep them: with a request only where it asks for them."""
        if not self._is_discreet:
            return list(records)
        return [one if one.request is None else one._replace(request=None) for one in records]

    async def read(
        self,
        work: Callable[[Store], Awaitable[T]],
        late: Callable[[T], object] | None = None,
    ) -> T:
        """Run a method that may run beside others; `late` gets a result that came too late.

        Raises:
            StoreUnavailableError: There is no result in time, or the store is not asked for a
                while.
            Exception: What the store raised.
        """
        return await self._run(work, self._reads, late)

    async def write(
        self,
        work: Callable[[Store], Awaitable[T]],
        late: Callable[[T], object] | None = None,
    ) -> T:
        """Run a method that never runs beside another of these. Raises what `read` raises."""
        return await self._run(work, self._writes, late)

    async def beside(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Run a method that may run beside any other. Raises what `read` raises."""
        return await self._run(work, _ANYWHERE, None)

    async def probe(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """As `beside`, however long it takes: `is_slow` notes that it takes long.

        Of an impatient tier only this tries a store again that is in trouble: no caller waits.
        """
        return await self._outcome(self._begin(work, _ANYWHERE, tries=True))

    async def _run(
        self,
        work: Callable[[Store], Awaitable[T]],
        place: contextlib.AbstractAsyncContextManager[Any],
        late: Callable[[T], object] | None,
    ) -> T:
        task = self._begin(work, place)
        await asyncio.wait({task}, timeout=self.patience)
        if not task.done():
            task.add_done_callback(lambda done: _came_late(done, late))
            raise self.is_slow()
        return await self._outcome(task)

    def is_slow(self) -> StoreUnavailableError:
        """Note that a call has taken too long. Returns the error for its caller."""
        error = StoreUnavailableError(f"{self.store!r} took longer than {self.patience:.3g} s")
        self._failed(error)
        return error

    def _begin(
        self,
        work: Callable[[Store], Awaitable[T]],
        place: contextlib.AbstractAsyncContextManager[Any],
        *,
        tries: bool = False,
    ) -> asyncio.Task[T]:
        tries = tries or self._is_patient
        if self.breaker.is_open and not (tries and self.breaker.may_try()):
            msg = f"{self.store!r} is not asked for a while: it is in trouble"
            raise StoreUnavailableError(msg)
        task = asyncio.ensure_future(self._in_place(work, place))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _outcome(self, task: asyncio.Task[T]) -> T:
        begun = time.monotonic()
        try:
            result = await task
        except StoreRefusedError as refusal:
            self.breaker.succeeded()  # it has answered
            self.trouble = refusal
            raise
        except asyncio.CancelledError as error:
            cancelled = StoreError("the store was cancelled")
            self._failed(cancelled)
            raise cancelled from error
        except Exception as error:
            self._failed(error)
            raise
        if self.patience is None or time.monotonic() - begun <= self.patience:
            self.breaker.succeeded()
        return result

    async def _in_place(
        self,
        work: Callable[[Store], Awaitable[T]],
        place: contextlib.AbstractAsyncContextManager[Any],
    ) -> T:
        await self.open()
        async with place:
            return await work(self.store)

    async def open(self) -> None:
        """Open the store, unless it is open. Several tasks may ask; a failure is tried again."""
        opening = self._opening
        if opening is None or (opening.done() and not self.is_open):
            opening = self._opening = asyncio.ensure_future(self._open())
            self._running.add(opening)
            opening.add_done_callback(self._running.discard)
        await opening

    async def _open(self) -> None:
        await self.store.open()
        if self.opened is not None:
            await self.opened()

    def _failed(self, error: Exception) -> None:
        self.breaker.failed()
        self.trouble, self._last = error, reason_of(error)

    @property
    def state(self) -> tuple[str | None, float]:
        """Why it is not asked for a while, or None; and since when, by `time.monotonic`."""
        reason = f"{self.store!r} is away: {self._last}" if self.breaker.is_open else None
        return reason, self.breaker.since

    async def close(self) -> None:
        """Close the store, if it was opened; wait for it as for any other call."""
        if self._opening is None:
            return
        closing = asyncio.ensure_future(self._close())
        self._opening = None
        await asyncio.wait({closing}, timeout=self.patience)
        if closing.done():
            closing.result()

    async def _close(self) -> None:
        # What still runs has the same time.
        if self._running:
            await asyncio.wait(self._running)
        await self.store.close()


def _came_late(done: asyncio.Task[T], late: Callable[[T], object] | None) -> None:
    if not done.cancelled() and done.exception() is None and late is not None:
        late(done.result())

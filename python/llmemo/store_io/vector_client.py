"""The client's side of a store's questions and states: reads that fail open, changes unawaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo.concurrency.interrupts import is_interrupt
from llmemo.errors import text_of
from llmemo.store_io.calls import Call
from llmemo.store_io.operations import AmendState, ListQuestions, ReadState
from llmemo.store_io.time_budget import TimeBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmemo.store_io.executor import Executor
    from llmemo.store_io.operations import Operation
    from llmemo.store_io.store_health import StoreHealth
    from llmemo.stores.base import Store
    from llmemo.stores.vector_store import QuestionRow
    from llmemo.telemetry.stats import Tally

    MakeCall = Callable[[Operation], Call[Any]]


class StoredState(NamedTuple):
    """What the store said of a state, where it said anything."""

    state: bytes | None
    """None if there is none of that name."""


class VectorClient:
    """Questions and states, for callers that wait no longer than for answers."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        health: StoreHealth,
        waited: float,
        tally: Tally,
    ) -> None:
        """Open nothing yet. `waited`: seconds that one model call may wait for the store."""
        self._store = store
        self._executor = executor
        self._health = health
        self._waited = waited
        self._tally = tally

    async def questions(
        self,
        partition: bytes,
        *,
        after: int,
        before: int,
        limit: int,
        make_call: MakeCall,
        budget: TimeBudget | None = None,
    ) -> Sequence[QuestionRow] | None:
        """The questions of a partition: see `VectorStore.questions`.

        None if the store keeps none, is in trouble, or does not tell within the budget (None: that
        of a model call).
        """
        told = await self._told(ListQuestions(partition, after, before, limit), make_call, budget)
        return None if told is None else told[0]

    async def state(
        self, name: bytes, make_call: MakeCall, budget: TimeBudget | None = None
    ) -> StoredState | None:
        """A state: see `VectorStore.state`. None in all cases in which `questions` gives None."""
        told = await self._told(ReadState(name), make_call, budget)
        return None if told is None else StoredState(told[0])

    def amend_soon(
        self,
        name: bytes,
        change: Callable[[bytes | None], bytes | None],
        when_done: Callable[[bytes | None], object],
    ) -> None:
        """Change a state: see `VectorStore.amend`. Waits for nothing.

        It stays queued while the store is unavailable, and is carried out before the store closes.

        Args:
            name: Of the state.
            change: Called on a thread of the store. If it raises, nothing changes.
            when_done: Called once with what is stored then, on any thread. With None if there is
                no state, the store is read-only or keeps none, or the change was not stored.
        """

        def tell(stored: bytes | None) -> None:
            try:
                when_done(stored)
            except Exception as error:
                if is_interrupt(error):
                    raise
                text = "llmemo: a change of a stored state could not be told: %s"
                self._tally.note("errors", "internal", text, text_of(error))

        def over(stored: bytes | None, error: Exception | None) -> None:
            self._health.write_ended(error)
            tell(None if error is not None else stored)

        if self._store.vectors is None or self._store.read_only:
            tell(None)
            return
        call: Call[bytes | None] = Call.blocking(AmendState(name, change))
        call.when_over(over)
        try:
            self._executor.submit(call)
        except Exception as error:  # it may be closed, or find no thread
            if is_interrupt(error):
                raise
            self._health.note("write", error)
            tell(None)

    async def _told(
        self, operation: Operation, make_call: MakeCall, budget: TimeBudget | None
    ) -> tuple[Any] | None:
        """The outcome of a read, or None."""
        health = self._health
        if self._store.vectors is None:
            return None
        if health.reads.is_open:
            # The read of an answer sees whether it is well again: one comes before each lookup.
            health.reads_refused(1)
            return None
        budget = budget or TimeBudget(self._waited, health.waiting_reads)
        if not budget.left:
            return None
        call: Call[Any] = make_call(operation)
        try:
            self._executor.submit(call)
            told = await budget.outcome(call)
        except GeneratorExit:
            raise  # the coroutine is garbage of a closed loop: see `store_io.leases.client`
        except Exception as error:
            call.abandon()
            if is_interrupt(error):
                raise
            health.reads_done(1, error)
            return None
        except BaseException:
            call.abandon()
            raise
        health.reads_done(1, None)
        return (told,)

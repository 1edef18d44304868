"""The vectors of a store, in memory: loaded when a partition is first asked, then kept in step."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio

from llmemo._core import ValueDamaged, unpack_question
from llmemo.concurrency.bounded_dict import note
from llmemo.store_io.calls import Call, run_inline
from llmemo.store_io.time_budget import TimeBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmemo._core import VectorIndex
    from llmemo.codec.envelope import Envelope
    from llmemo.store_io.client import MakeCall, StoreClient
    from llmemo.stores.vector_store import QuestionRow
    from llmemo.telemetry.stats import Tally

T = TypeVar("T")

PAGE = 256
"""Rows that are taken in at once: about a millisecond's work."""

LOADED_AT_ONCE = 2_048
"""Rows of one query of a load beside the event loop."""

BREATH = 64
"""Rows after which a load lets other threads run."""

PARTITIONS_MAX = 10_000
"""Partitions whose state is remembered; one that was forgotten is loaded again."""

NEWEST = 2**63 - 1
"""More than any row's id."""

_NO_BYTES = "not_a_question"


class Beside(Protocol):
    """A thread beside the event loop, which does one job after the other."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do some work there, and await it."""

    def close(self, timeout: float) -> None:
        """Wait for the present jobs, for `timeout` seconds at most, and end the thread."""


class Partitions:
    """Keeps an index in step with a store."""

    def __init__(
        self,
        index: VectorIndex,
        durable: StoreClient,
        envelope: Envelope,
        tally: Tally,
        *,
        room: int,
        beside: Beside,
        timeout: float,
    ) -> None:
        """Begin with nothing loaded.

        Args:
            index: To keep in step.
            durable: The store.
            envelope: Opens its questions.
            tally: Counts those that cannot be read.
            room: Bytes that the index may take.
            beside: Where a load takes place that takes long.
            timeout: Longest wait for it, in seconds.
        """
        self._index = index
        self._durable = durable
        self._envelope = envelope
        self._tally = tally
        self._beside = beside
        self._room = room
        self._timeout = timeout
        self._is_closed = False
        self._seen: dict[bytes, int] = {}
        """The highest id that was loaded, by partition."""

    async def refresh(self, partition: bytes, make_call: MakeCall, budget: TimeBudget) -> None:
        """Take in what processes have written to a partition since the last call.

        A load that takes longer than the timeout goes on beside its caller.
        """
        rows = await self._durable.questions(
            partition,
            after=self._seen.get(partition, 0),
            before=NEWEST,
            limit=PAGE,
            make_call=make_call,
            budget=budget,
        )
        if not rows:
            return
        if len(rows) < PAGE:
            for row in rows:
                self._take(partition, row)
            self._saw(partition, rows)
            return
        load = functools.partial(self._load, partition)
        if make_call == Call.awaited:
            with anyio.move_on_after(self._timeout):
                await self._beside.run(load)
        else:
            load()

    def _load(self, partition: bytes) -> None:
        """Load what is new, the newest first. Another load may have been first."""
        after, before = self._seen.get(partition, 0), NEWEST
        newest: Sequence[QuestionRow] = ()
        room = self._room
        end = time.monotonic() + 60 * self._timeout
        while time.monotonic() < end and not self._is_closed:
            rows = run_inline(
                self._durable.questions(
                    partition,
                    after=after,
                    before=before,
                    limit=LOADED_AT_ONCE,
                    make_call=Call.blocking,
                    budget=TimeBudget(self._durable.waited, self._durable.health.waiting_reads),
                )
            )
            if rows is None:
                return  # trouble: the next lookup tries again
            newest = newest or rows
            for at, row in enumerate(rows):
                self._take(partition, row)
                if at % BREATH == BREATH - 1:
                    time.sleep(0)
            room -= sum(len(row.sealed) for row in rows)
            if len(rows) < LOADED_AT_ONCE or room <= 0:
                break
            before = rows[-1].id
        if newest:
            self._saw(partition, newest)

    def _saw(self, partition: bytes, rows: Sequence[QuestionRow]) -> None:
        seen = max(rows[0].id, self._seen.get(partition, 0))
        note(self._seen, partition, seen, PARTITIONS_MAX)

    def _take(self, partition: bytes, row: QuestionRow) -> None:
        try:
            if not row.key:
                raise ValueDamaged(_NO_BYTES)
            packed = self._envelope.open_question(row.sealed, row.key)
            vector, question = unpack_question(packed, row.key)
        except ValueDamaged as damage:
            text = "llmemo: a stored question cannot be read (%s)"
            self._tally.note("errors", f"question_{damage}", text, damage)
            return
        self._index.add(partition, row.key, question, vector)

    def close(self) -> None:
        """Load nothing any more."""
        self._is_closed = True
        self._beside.close(0.0)

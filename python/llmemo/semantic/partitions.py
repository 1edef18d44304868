"""The vectors of a store, in memory: loaded when a partition is first asked, then kept in step."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

from llmemo._core import ValueDamaged, unpack_question
from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.bounded_dict import note
from llmemo.store_io.calls import Call, run_inline
from llmemo.store_io.time_budget import TimeBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmemo._core import VectorIndex
    from llmemo.codec.envelope import Envelope
    from llmemo.semantic.question import Asked
    from llmemo.store_io.client import MakeCall, StoreClient
    from llmemo.stores.vector_store import QuestionRow
    from llmemo.telemetry.stats import Tally

T = TypeVar("T")

PAGE = 256
"""More rows than are taken in at once: about a millisecond's work, if they are encrypted."""

LOADED_AT_ONCE = 500
"""Rows of one query of a load beside the event loop. With more of them alive at a time, Python's
garbage collection sees to all its objects more often, which takes 80 ms."""

BREATH = 50e-6
"""Seconds in which another thread can take the GIL."""

PARTITIONS_MAX = 10_000
"""Partitions whose state is remembered; one that was forgotten is loaded again."""

NEWEST = 2**63 - 1
"""More than any row's id."""

_NO_BYTES = "not_a_question"


class Beside(Protocol):
    """A thread beside the event loop, which does one job after the other."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do some work there, and await it."""

    def wait(self, work: Callable[[], T], *, timeout: float) -> T:
        """Do some work there, and wait for it.

        Raises:
            NotYetError: It is not done after `timeout` seconds. It goes on.
        """

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

    async def refresh(self, asked: Asked, make_call: MakeCall, budget: TimeBudget) -> None:
        """Take in what processes have written to a question's partition since the last call.

        A load that takes longer than the timeout goes on beside its caller.
        """
        rows = await self._durable.questions(
            asked.partition,
            after=self._known(asked.partition),
            before=NEWEST,
            limit=PAGE,
            make_call=make_call,
            budget=budget,
        )
        if not rows:
            return
        if len(rows) < PAGE:
            self._take(asked, rows, self._index.begin_load())
            self._saw(asked.partition, rows)
            return
        load = functools.partial(self._load, asked)
        if make_call == Call.awaited:
            # Not anyio.move_on_after: it is imported by its first call, which takes 30 ms.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._beside.run(load), self._timeout)
        else:
            with contextlib.suppress(NotYetError):
                self._beside.wait(load, timeout=self._timeout)

    def _load(self, asked: Asked) -> None:
        """Load what is new, the newest first. Another load may have been first."""
        after, before = self._known(asked.partition), NEWEST
        newest: Sequence[QuestionRow] = ()
        room, age = self._room, self._index.begin_load()
        end = time.monotonic() + 60 * self._timeout
        while time.monotonic() < end and not self._is_closed:
            rows = run_inline(
                self._durable.questions(
                    asked.partition,
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
            self._take(asked, rows, age)
            age -= len(rows)
            room -= sum(len(row.sealed) for row in rows)
            if len(rows) < LOADED_AT_ONCE or room <= 0:
                break
            before = rows[-1].id
        if self._is_closed:
            self._index.clear()
        elif newest:
            self._saw(asked.partition, newest)

    def _known(self, partition: bytes) -> int:
        """The highest id that is loaded; 0 if the partition has lost all of its vectors."""
        return self._seen.get(partition, 0) if self._index.size(partition) else 0

    def _saw(self, partition: bytes, rows: Sequence[QuestionRow]) -> None:
        seen = max(rows[0].id, self._seen.get(partition, 0))
        note(self._seen, partition, seen, PARTITIONS_MAX)

    def _take(self, asked: Asked, rows: Sequence[QuestionRow], age: int) -> None:
        """Add rows to the index: the first one has this age."""
        packed = [(row.key, row.sealed) for row in rows]
        if self._envelope.is_encrypting:
            packed = self._decrypted(packed)
        for at in self._index.load(asked.tenant, asked.partition, packed, age):
            key, question = packed[at]
            try:
                if not self._envelope.is_encrypting:
                    self._envelope.open_question(question, key)
                unpack_question(question, key)
            except ValueDamaged as damage:
                self._damaged(damage)
            except ValueError:  # of the key
                self._damaged(_NO_BYTES)

    def _decrypted(self, rows: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Those of some rows that are authentic, with their contents."""
        found = []
        for at, (key, sealed) in enumerate(rows):
            try:
                if not key:
                    raise ValueDamaged(_NO_BYTES)
                found.append((key, self._envelope.open_question(sealed, key)))
            except ValueDamaged as damage:
                self._damaged(damage)
            if at % PAGE == PAGE - 1:
                time.sleep(BREATH)
        return found

    def _damaged(self, damage: object) -> None:
        text = "llmemo: a stored question cannot be read (%s)"
        self._tally.note("errors", f"question_{damage}", text, damage)

    def close(self) -> None:
        """Load nothing any more."""
        self._is_closed = True
        self._beside.close(0.0)

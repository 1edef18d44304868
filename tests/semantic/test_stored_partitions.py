"""The vectors of a store come to memory once, in order, and hold nobody up."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from llmemo._core import VectorIndex, pack_question, pack_vector
from llmemo.codec.envelope import Envelope
from llmemo.pipeline.large_work import LargeWorker
from llmemo.semantic.partitions import LOADED_AT_ONCE, PAGE, Partitions
from llmemo.semantic.question import Asked
from llmemo.store_io.calls import Call, run_inline
from llmemo.store_io.time_budget import TimeBudget
from llmemo.stores.vector_store import QuestionRow
from llmemo.telemetry.stats import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

VECTOR = pack_vector([1.0, 0.5]) or b""
ASKED = Asked(b"t" * 16, b"p" * 32, "a question", VECTOR)
MANY = 3 * LOADED_AT_ONCE + 10
LONG = 30.0
SECRET = "a secret of more than enough characters, for tests"


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


class Durable:
    """A client of a store with these questions; `before` is called with the limit of a listing."""

    def __init__(self, rows: Sequence[QuestionRow]) -> None:
        self.rows = list(rows)
        self.before: Callable[[int], object] = lambda limit: None
        self.listed: list[tuple[int, int]] = []
        self.waited, self.health = LONG, SimpleNamespace(waiting_reads=set())

    async def questions(
        self, partition: bytes, *, after: int, before: int, limit: int, **_: Any
    ) -> Sequence[QuestionRow]:
        assert partition == ASKED.partition
        self.before(limit)
        rows = [row for row in reversed(self.rows) if after < row.id < before][:limit]
        self.listed.append((limit, len(rows)))
        return rows

    @property
    def pages(self) -> list[int]:
        """How many rows each listing of a load gave."""
        return [count for limit, count in self.listed if limit == LOADED_AT_ONCE]


def rows(count: int, envelope: Envelope | None = None) -> list[QuestionRow]:
    made = []
    for number in range(1, count + 1):
        packed = pack_question(key(number), VECTOR, f"question {number}")
        sealed = packed if envelope is None else envelope.seal_question(packed, key(number))
        made.append(QuestionRow(number, key(number), sealed))
    return made


class Loading:
    """Partitions, with all that they need."""

    def __init__(
        self, durable: Durable, *, timeout: float = LONG, envelope: Envelope | None = None
    ) -> None:
        self.durable, self.index, self.tally = durable, VectorIndex(2**30), Tally()
        self.beside = LargeWorker(lasts=False)
        self.partitions = Partitions(
            self.index,
            cast("Any", durable),
            envelope or Envelope(None, is_needed=False),
            self.tally,
            room=2**30,
            beside=self.beside,
            timeout=timeout,
        )

    async def awaited(self) -> None:
        await self.partitions.refresh(ASKED, Call.awaited, TimeBudget(LONG, set()))

    def blocking(self) -> None:
        run_inline(self.partitions.refresh(ASKED, Call.blocking, TimeBudget(LONG, set())))

    def refresh(self, way: str) -> None:
        if way == "async":
            asyncio.run(self.awaited())
        else:
            self.blocking()

    def newest(self, count: int) -> list[int]:
        found = self.index.search(ASKED.partition, VECTOR, count, 0.9)
        return [int.from_bytes(key, "big") for key, *_ in found]

    @property
    def errors(self) -> dict[str, int]:
        return dict(self.tally.snapshot()[2]["errors"])


WAYS = pytest.mark.parametrize("way", ["async", "sync"])


@WAYS
@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, LOADED_AT_ONCE, MANY])
def test_all_come_in_order_and_then_what_is_new(way: str, count: int) -> None:
    loading = Loading(Durable(rows(count)))
    loading.refresh(way)
    assert loading.newest(9) == list(range(count, 0, -1))[:9]
    assert loading.index.size(ASKED.partition) == count
    loading.durable.rows = rows(count + 3)
    loading.refresh(way)
    assert loading.newest(5) == list(range(count + 3, 0, -1))[:5]
    assert loading.durable.listed[-1] == (PAGE, 3)
    loading.partitions.close()


@WAYS
@pytest.mark.parametrize("count", [3, MANY])
def test_a_partition_that_was_evicted_is_loaded_again(way: str, count: int) -> None:
    loading = Loading(Durable(rows(count)))
    loading.refresh(way)
    loading.index.clear()
    loading.refresh(way)
    assert loading.index.size(ASKED.partition) == count
    loading.partitions.close()


@pytest.mark.anyio
async def test_callers_at_once_load_once() -> None:
    loading = Loading(Durable(rows(MANY)))
    await asyncio.gather(*(loading.awaited() for _ in range(20)))
    assert sum(loading.durable.pages) == loading.index.vectors == MANY
    loading.partitions.close()


def test_threads_at_once_load_once() -> None:
    loading = Loading(Durable(rows(MANY)))
    all_know, another = threading.Barrier(20), threading.Event()
    loads: list[int] = []

    def before(limit: int) -> None:
        if limit == PAGE:
            all_know.wait(LONG)
            return
        loads.append(limit)
        if len(loads) > 1:
            another.set()
        else:
            # A second load could begin here.
            another.wait(0.2)

    loading.durable.before = before
    with ThreadPoolExecutor(20) as threads:
        for done in [threads.submit(loading.blocking) for _ in range(20)]:
            done.result()
    assert sum(loading.durable.pages) == loading.index.vectors == MANY
    loading.partitions.close()


class Gate:
    """Holds a load up before its second page."""

    def __init__(self, durable: Durable) -> None:
        self.opened, self.reached = threading.Event(), threading.Event()
        self._durable = durable
        durable.before = self._before

    def _before(self, limit: int) -> None:
        if limit == LOADED_AT_ONCE and self._durable.pages:
            self.reached.set()
            assert self.opened.wait(LONG)


@WAYS
def test_a_load_goes_on_without_a_caller_that_has_waited_enough(way: str) -> None:
    loading = Loading(Durable(rows(MANY)), timeout=0.1)
    gate = Gate(loading.durable)
    begun = time.monotonic()
    loading.refresh(way)
    assert 0.05 < time.monotonic() - begun < LONG / 2
    # What there is so far can be found.
    assert loading.newest(1) == [MANY]
    assert loading.index.vectors == LOADED_AT_ONCE
    gate.opened.set()
    loading.beside.finish(LONG)
    assert loading.index.vectors == MANY
    loading.partitions.close()


def test_a_load_that_is_closed_leaves_nothing() -> None:
    loading = Loading(Durable(rows(MANY)))
    gate = Gate(loading.durable)
    caller = threading.Thread(target=loading.blocking)
    caller.start()
    assert gate.reached.wait(LONG)
    loading.partitions.close()
    loading.index.clear()
    gate.opened.set()
    caller.join(LONG)
    assert not caller.is_alive()
    assert loading.index.vectors == 0
    assert len(loading.durable.pages) == 2


@pytest.mark.parametrize("count", [5, MANY])
def test_encrypted_questions_are_opened(count: int) -> None:
    envelope = Envelope(SECRET, is_needed=True)
    stored = rows(count, envelope)
    stored[1] = stored[1]._replace(sealed=stored[1].sealed[:-1] + b"?")
    # In clear, where it has to be encrypted.
    stored[3] = rows(4)[3]
    loading = Loading(Durable(stored), envelope=envelope)
    loading.blocking()
    assert loading.index.vectors == count - 2
    assert loading.newest(1) == [count]
    assert sum(loading.errors.values()) == 2
    loading.partitions.close()


@pytest.mark.parametrize("count", [9, MANY])
def test_damaged_questions_are_counted_and_left_out(count: int) -> None:
    stored = rows(count)
    stored[0] = stored[0]._replace(key=b"", sealed=b"")
    stored[2] = stored[2]._replace(sealed=stored[2].sealed[:-1] + b"?")
    [encrypted] = rows(1, Envelope(SECRET, is_needed=True))
    stored[4] = stored[4]._replace(sealed=encrypted.sealed)
    loading = Loading(Durable(stored))
    loading.blocking()
    assert loading.index.vectors == count - 3
    assert loading.errors == {
        "question_not_a_question": 1,
        "question_checksum": 1,
        "question_unknown_encryption_key": 1,
    }
    loading.partitions.close()

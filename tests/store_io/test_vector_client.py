"""Questions and states through the store's client: trouble is survived, changes are not lost."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.callers import record
from support.doubles import LIMIT, FakeStore, Fault, Held
from support.vector_stores import QuestionStore

from llmemo import SQLiteStore
from llmemo._core import Memory
from llmemo.store_io import write_loop
from llmemo.store_io.calls import Call, run_inline
from llmemo.store_io.client import StoreClient
from llmemo.store_io.operations import Set, Written
from llmemo.store_io.time_budget import TimeBudget
from llmemo.store_io.vector_client import StoredState
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.records import StoredQuestion
from llmemo.telemetry.stats import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path

    from llmemo import Store
    from llmemo.store_io.operations import Operation
    from llmemo.stores.vector_store import QuestionRow

pytestmark = pytest.mark.anyio

PARTITION = b"p" * 32
QUESTION = StoredQuestion(PARTITION, b"sealed")


class Client:
    """A client, and what it counted."""

    def __init__(self, store: Store, timeout: float = LIMIT) -> None:
        self.tally = Tally()
        memory = Memory(2**20, None, fingerprint_secret=bytes(192))
        self.of = StoreClient(store, self.tally, memory, timeout)
        self.told: list[bytes | None] = []
        self.is_told = threading.Semaphore(0)

    @property
    def errors(self) -> dict[str, int]:
        return self.tally.snapshot()[-1]["errors"]

    def amend(self, change: Callable[[bytes | None], bytes | None], name: bytes = b"a") -> None:
        self.of.amend_soon(name, change, self._tell)

    def _tell(self, stored: bytes | None) -> None:
        self.told.append(stored)
        self.is_told.release()

    def wait(self, count: int = 1) -> list[bytes | None]:
        """All that was told, once `count` more were."""
        for _ in range(count):
            assert self.is_told.acquire(timeout=LIMIT)
        return self.told

    def write(self, key: bytes = b"k" * 32) -> None:
        written = record(key)._replace(question=QUESTION)
        budget = self.of.time_budget()
        call = self.of.begin_write(Set(written), Call.blocking, budget)
        assert run_inline(self.of.written(call, budget)) is Written.STORED

    def questions(
        self, make_call: Callable[[Operation], Call[Any]], budget: TimeBudget | None = None
    ) -> Coroutine[Any, Any, Sequence[QuestionRow] | None]:
        """All that there are."""
        return self.of.questions(
            PARTITION, after=0, before=2**63 - 1, limit=100, make_call=make_call, budget=budget
        )

    def close(self) -> int:
        return self.of.executor.close(LIMIT)


def append(text: bytes) -> Callable[[bytes | None], bytes | None]:
    return lambda state: (state or b"") + text


def of(client: Client, budget: TimeBudget | None = None) -> Any:
    """The keys of all questions, and the state, as a blocking caller gets them."""
    rows = run_inline(client.questions(Call.blocking, budget))
    state = run_inline(client.of.state(b"a", Call.blocking, budget))
    return None if rows is None else [row.key for row in rows], state


@pytest.fixture(params=["sqlite", "fake"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return QuestionStore() if request.param == "fake" else SQLiteStore(tmp_path / "a.db")


def test_a_caller_that_blocks(store: Store) -> None:
    client = Client(store)
    assert of(client) == ([], StoredState(None))
    client.write()
    client.amend(append(b"1"))
    assert client.wait() == [b"1"]
    assert of(client) == ([b"k" * 32], StoredState(b"1"))
    assert client.close() == 0
    assert client.errors == {}


async def test_a_caller_that_awaits(store: Store) -> None:
    client = Client(store)
    await asyncio.to_thread(client.write)
    client.amend(append(b"1"))
    client.amend(append(b"2"), b"b")
    await asyncio.to_thread(client.wait, 2)
    rows = await client.questions(Call.awaited)
    assert rows is not None
    assert [row.sealed for row in rows] == [b"sealed"]
    assert await client.of.state(b"b", Call.awaited) == StoredState(b"2")
    assert await client.of.state(b"c", Call.awaited) == StoredState(None)
    await asyncio.to_thread(client.close)
    assert client.errors == {}


def test_a_store_without_questions_is_not_asked() -> None:
    client = Client(store := FakeStore())
    assert of(client) == (None, None)
    client.amend(append(b"1"))
    assert client.wait() == [None]
    assert (store.asked, client.errors) == ([], {})


def test_a_file_that_is_only_read_keeps_its_state(tmp_path: Path) -> None:
    client = Client(SQLiteStore(tmp_path / "a.db"))
    client.amend(append(b"1"))
    client.wait()
    client.close()
    client = Client(SQLiteStore(tmp_path / "a.db", read_only=True))
    client.amend(append(b"2"))
    assert client.wait() == [None]
    assert of(client) == ([], StoredState(b"1"))
    client.close()
    assert client.errors == {}


@pytest.mark.parametrize("error", [ValueError("x"), OSError(5, "x"), asyncio.CancelledError()])
def test_trouble_is_nothing_and_counted(error: BaseException) -> None:
    store = QuestionStore()
    client = Client(store)
    for method in ("questions", "state", "amend"):
        store.before = Fault(method, error)
        client.amend(append(b"1"))
        client.wait()
        of(client)
    assert client.told == [b"1", b"11", None]
    assert client.errors == {"store_read": 2, "store_write": 1}
    client.close()


def test_while_reads_are_in_trouble_nothing_is_asked() -> None:
    store = QuestionStore(Fault("questions", OSError(5, "x"), times=5))
    client = Client(store)
    for _ in range(5):
        assert run_inline(client.questions(Call.blocking)) is None
    before = len(store.asked)
    assert of(client) == (None, None)
    assert len(store.asked) == before
    assert client.errors == {"store_read": 5, "store_shut": 2}
    client.close()


@pytest.mark.parametrize("method", ["questions", "state"])
def test_a_store_that_hangs_keeps_nobody_waiting(method: str) -> None:
    store = QuestionStore(held := Held(method))
    client = Client(store, timeout=0.05)
    budget = TimeBudget(0.04, client.of.health.waiting_reads)
    rows, state = of(client, budget)
    assert (rows if method == "questions" else state) is None
    assert budget.left == 0.0
    assert client.errors == {"store_read_timeout": 1}
    assert of(client, budget) == (None, None), "nothing is left to wait with"
    assert client.errors == {"store_read_timeout": 1}
    held.go.set()
    client.close()


def test_a_change_is_made_once_the_store_is_available_again() -> None:
    store = QuestionStore(Fault("amend", StoreUnavailableError("x"), times=2))
    client = Client(store)
    client.amend(append(b"1"))
    client.amend(append(b"2"))
    assert client.wait(2)[-1] == b"12"
    assert client.errors == {"store_unavailable": 2}
    client.close()


def test_what_is_queued_is_stored_before_the_end() -> None:
    store = QuestionStore(held := Held("open"))
    client = Client(store)
    for number in range(50):
        client.amend(append(b"%d," % number))
    closing = threading.Thread(target=client.close)
    closing.start()
    held.go.set()
    closing.join(LIMIT)
    assert store.vectors.states[b"a"] == b"".join(b"%d," % number for number in range(50))
    assert len(client.wait(50)) == 50
    # Nobody stores what comes later.
    client.amend(append(b"late"))
    assert client.wait()[-1] is None


def test_updates_and_changes_share_transactions_with_their_like() -> None:
    store = QuestionStore(held := Held("open"))
    client = Client(store)
    calls: list[Call[Any]] = []
    for number in range(20):
        calls.append(Call.blocking(Set(record(bytes([number]) * 32))))
        client.of.executor.submit(calls[-1])
        client.amend(append(b"a%d" % (number % 2)), b"%d" % (number % 2))
    assert held.reached.wait(LIMIT)
    held.go.set()
    client.wait(20)
    for call in calls:
        run_inline(call.wait(LIMIT))
    assert store.vectors.states == {b"0": b"a0" * 10, b"1": b"a1" * 10}
    client.close()
    writes = [one for one in store.asked if one[0] in ("set", "amend")]
    # The first may have come before the others.
    assert len(writes) <= 6
    assert sum(size for name, size in writes if name == "set") == 20


def test_a_change_that_raises_keeps_the_others_from_nothing() -> None:
    def fail(state: bytes | None) -> bytes:
        raise ValueError("x")

    store = QuestionStore(held := Held("open"))
    client = Client(store)
    for change in (append(b"1"), fail, append(b"2"), lambda state: None):
        client.amend(change)
    held.go.set()
    assert client.wait(4)[-1] == b"12"
    assert client.errors == {"internal": 1}
    client.close()


def test_a_listener_that_raises_harms_nobody(store: Store) -> None:
    client = Client(store)

    def fail(stored: bytes | None) -> None:
        raise ValueError("x")

    client.of.amend_soon(b"a", append(b"1"), fail)
    client.amend(append(b"2"))
    assert client.wait() == [b"12"]
    client.close()
    assert client.errors == {"internal": 1}


def test_a_queue_that_is_full_drops_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_loop, "MAX_QUEUED_BYTES", 10_000)
    store = QuestionStore(held := Held("amend"))
    client = Client(store)
    client.amend(append(b"0"))
    assert held.reached.wait(LIMIT)
    for _ in range(10):
        client.amend(append(b"1"))
    held.go.set()
    assert client.wait(11).count(None) == 6
    assert store.vectors.states[b"a"] == b"01111"
    assert client.errors == {"write_dropped": 6}
    client.close()

"""Vectors of questions: one call for many, and whatever goes wrong is a None."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib.util
import threading
import time
import weakref
from array import array
from concurrent.futures import ThreadPoolExecutor
from math import isfinite
from typing import TYPE_CHECKING, Any, cast

import pytest
from langchain_core.embeddings import Embeddings
from support.doubles import LIMIT, PRELUDE, ROUNDS, run
from support.embedders import Embedder as Model
from support.embedders import Gate, vector, vectors
from support.interrupts import Interrupts, SoftTimeLimit
from support.slices import first

from llmemo import _core
from llmemo.concurrency.circuit_breaker import FAILURES_TO_OPEN, LONGEST_PAUSE
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.semantic.background import STUCK_MAX
from llmemo.semantic.embedder import BATCH_MAX, PATIENCE, WAITING_MAX, Embedder, _Ticket
from llmemo.semantic.vector_memory import BYTES_MAX, TEXTS_MAX, VectorMemory
from llmemo.store_io.calls import Call, run_inline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio


def pack(values: Sequence[float]) -> bytes | None:
    """A stand-in that can be read off."""
    return array("d", values).tobytes() if values and all(map(isfinite, values)) else None


@pytest.fixture(autouse=True)
def packing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "pack_vector", pack, raising=False)


class Notes:
    """What was counted and logged."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.lines: list[str] = []

    def __call__(self, reason: str, message: str, *args: object) -> None:
        self.lines.append(message % args)
        self.reasons.append(reason)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def make() -> Iterator[Callable[..., tuple[Embedder, Notes]]]:
    made = []

    def make(model: Any, timeout: float = LIMIT, **settings: Any) -> tuple[Embedder, Notes]:
        notes = Notes()
        made.append(Embedder(model, timeout, notes, **settings))
        return made[-1], notes

    yield make
    for each in made:
        each.close()


def blocking(embedder: Embedder, text: str) -> bytes | None:
    return run_inline(embedder.vector(text, Call.blocking))


def until(is_so: Callable[[], object]) -> None:
    """Wait for what another thread does without telling."""
    end = time.monotonic() + LIMIT
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_blocking_caller_gets_the_vector(make: Any) -> None:
    model = Model()
    embedder, notes = make(model)
    assert blocking(embedder, "one") == pack(vector("one"))
    assert blocking(embedder, "one") == pack(vector("one"))
    assert model.calls == [["one"]]
    assert notes.reasons == []


async def test_a_task_gets_the_vector(make: Any) -> None:
    model = Model()
    embedder, _ = make(model)
    assert await embedder.vector("one", Call.awaited) == pack(vector("one"))
    # A known vector is not waited for, in whatever way it is asked for.
    assert blocking(embedder, "one") == pack(vector("one"))
    assert model.calls == [["one"]]


def test_a_text_need_not_be_valid_unicode(make: Any) -> None:
    embedder, _ = make(Model())
    assert blocking(embedder, "\ud800") == blocking(embedder, "\ud800") == pack(vector("\ud800"))


async def test_callers_at_the_same_time_share_calls(make: Any) -> None:
    gate = Gate()
    model = Model(gate)
    embedder, _ = make(model)
    texts = ["first", *(f"text {n % 10}" for n in range(20))]
    tasks = [asyncio.create_task(embedder.vector(text, Call.awaited)) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        await asyncio.to_thread(gate.reached.wait, LIMIT)
        threads = [pool.submit(blocking, embedder, f"text {n}") for n in range(4)]
        await asyncio.sleep(0)
        gate.go.set()
        found = await asyncio.gather(*tasks)
        assert [each.result() for each in threads] == found[1:5]
    assert found == [pack(vector(text)) for text in texts]
    assert sorted(model.asked) == sorted(set(texts))
    assert len(model.calls) <= 3


async def test_a_call_has_a_bounded_number_of_texts(make: Any) -> None:
    gate = Gate()
    model = Model(gate)
    embedder, _ = make(model)
    texts = [f"text {n}" for n in range(2 * BATCH_MAX + 3)]
    tasks = [asyncio.create_task(embedder.vector(text, Call.awaited)) for text in texts]
    await asyncio.to_thread(gate.reached.wait, LIMIT)
    gate.go.set()
    assert await asyncio.gather(*tasks) == [pack(vector(text)) for text in texts]
    assert max(map(len, model.calls)) <= BATCH_MAX
    assert model.asked == texts


async def test_the_texts_that_wait_are_bounded(make: Any) -> None:
    gate = Gate()
    embedder, notes = make(Model(gate))
    texts = [f"text {n}" for n in range(WAITING_MAX)]
    tasks = [asyncio.create_task(embedder.vector(text, Call.awaited)) for text in texts]
    await asyncio.sleep(0)
    assert await embedder.vector("one more", Call.awaited) is None
    assert notes.reasons == ["embedder_busy"]
    gate.go.set()
    assert None not in await asyncio.gather(*tasks)


def test_several_event_loops_share_one_embedder(make: Any) -> None:
    embedder, _ = make(Model())

    async def ask(number: int) -> list[bytes | None]:
        texts = [f"text {(number + n) % 7}" for n in range(7)]
        found = await asyncio.gather(*(embedder.vector(text, Call.awaited) for text in texts))
        assert found == [pack(vector(text)) for text in texts]
        return found

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda n: asyncio.run(ask(n)), range(8)))
    assert len(outcomes) == 8


NAN = float("nan")
BAD: dict[str, tuple[Callable[[list[str]], Any], str]] = {
    "raises": (lambda texts: 1 / 0, "embedder_failed"),
    "raises what is no Exception": (lambda texts: exec("raise SystemExit"), "embedder_failed"),
    "too few": (lambda texts: [], "embedder_invalid"),
    "too many": (lambda texts: [[1.0]] * (len(texts) + 1), "embedder_invalid"),
    "nothing": (lambda texts: None, "embedder_invalid"),
    "a text": (lambda texts: "x" * len(texts), "embedder_invalid"),
    "a number each": (lambda texts: [1.0 for _ in texts], "embedder_invalid"),
    "NaN": (lambda texts: [[1.0, NAN] for _ in texts], "embedder_invalid"),
    "empty": (lambda texts: [[] for _ in texts], "embedder_invalid"),
    "texts": (lambda texts: [["1.0"] for _ in texts], "embedder_invalid"),
    "bytes": (lambda texts: [b"12345678" for _ in texts], "embedder_invalid"),
    "None": (lambda texts: [[None] for _ in texts], "embedder_invalid"),
    "nested": (lambda texts: [[[1.0]] for _ in texts], "embedder_invalid"),
    "too large": (lambda texts: [[10**400] for _ in texts], "embedder_invalid"),
}


@pytest.mark.parametrize("name", BAD)
async def test_trouble_is_none_and_counted(make: Any, name: str) -> None:
    model = Model()
    model.answer, reason = BAD[name]
    embedder, notes = make(model)
    assert await embedder.vector("my secret", Call.awaited) is None
    assert notes.reasons == [reason]
    assert "secret" not in notes.lines[0]
    # Nothing is kept of it.
    model.answer = vectors
    assert await embedder.vector("my secret", Call.awaited) == pack(vector("my secret"))


def test_what_an_error_says_is_not_logged(make: Any) -> None:
    def quote(texts: list[str]) -> None:
        raise ValueError(texts)

    embedder, notes = make(Model(quote))
    assert blocking(embedder, "my secret") is None
    assert notes.lines == ["llmemo: the embedder has raised ValueError"]


def test_a_caller_that_joins_late_gets_the_outcome() -> None:
    ticket = _Ticket("one")
    ticket.end(b"vector")
    ticket.end(b"another, from a thread that was stuck")
    call: Call[Any] = Call.blocking(cast("Any", None))
    ticket.join(call)
    assert run_inline(call.wait(0.0)) == b"vector"


async def test_one_bad_vector_spoils_no_other(make: Any) -> None:
    gate = Gate()
    model = Model(gate)
    model.answer = lambda texts: [[NAN] if text == "bad" else vector(text) for text in texts]
    embedder, notes = make(model)
    tasks = [asyncio.create_task(embedder.vector(text, Call.awaited)) for text in ("a", "bad", "c")]
    await asyncio.to_thread(gate.reached.wait, LIMIT)
    gate.go.set()
    assert await asyncio.gather(*tasks) == [pack(vector("a")), None, pack(vector("c"))]
    assert notes.reasons == ["embedder_invalid"]


def test_arrays_of_numpy_are_vectors(make: Any) -> None:
    np = pytest.importorskip("numpy")
    model = Model()
    model.answer = lambda texts: np.array(vectors(texts), dtype=np.float32)
    embedder, _ = make(model)
    assert blocking(embedder, "one") == pack(vector("one"))


def test_another_dimension_is_another_vector(make: Any) -> None:
    model = Model()
    embedder, notes = make(model)
    assert len(blocking(embedder, "one") or b"") == 8 * 8
    model.answer = lambda texts: [vector(text, size=5) for text in texts]
    assert len(blocking(embedder, "two") or b"") == 5 * 8
    assert notes.reasons == []


def test_a_hung_call_costs_its_callers_the_timeout(make: Any) -> None:
    gate = Gate()
    embedder, notes = make(Model(gate), 0.05)
    begun = time.monotonic()
    assert [blocking(embedder, f"text {n}") for n in range(3)] == [None] * 3
    assert time.monotonic() - begun < 5
    assert notes.reasons == ["embedder_slow"] * 3
    gate.go.set()
    # What comes late is kept.
    until(lambda: embedder._known.get("text 2"))
    assert blocking(embedder, "text 0") == pack(vector("text 0"))


async def test_a_hung_call_costs_tasks_the_timeout(make: Any) -> None:
    gate = Gate()
    embedder, _ = make(Model(gate), 0.05)
    assert (
        await asyncio.gather(*(embedder.vector("x", Call.awaited) for _ in range(3))) == [None] * 3
    )
    gate.go.set()
    await asyncio.to_thread(until, lambda: embedder._known.get("x"))


@pytest.mark.parametrize("trouble", ["raises", "NaN"])
def test_after_some_failures_no_caller_waits(make: Any, trouble: str) -> None:
    clock = Clock()
    model = Model()
    model.answer = BAD[trouble][0]
    embedder, notes = make(model, clock=clock)
    for n in range(FAILURES_TO_OPEN + 3):
        assert blocking(embedder, f"text {n}") is None
    assert len(model.calls) == FAILURES_TO_OPEN
    assert notes.reasons[FAILURES_TO_OPEN:] == ["embedder_shut"] * 3
    # After a pause one attempt is made, for which no caller waits.
    gate = Gate()
    model.before = gate
    clock.now += LONGEST_PAUSE
    assert [blocking(embedder, f"more {n}") for n in range(3)] == [None] * 3
    assert gate.reached.wait(LIMIT)
    assert model.calls[-1] == ["more 0"]
    model.answer = vectors
    gate.go.set()
    until(lambda: not embedder._breaker.is_open)
    assert len(model.calls) == FAILURES_TO_OPEN + 1
    assert blocking(embedder, "more 1") == pack(vector("more 1"))


def test_when_the_breaker_opens_those_that_wait_are_released(make: Any) -> None:
    gate = Gate()
    embedder, _ = make(Model(gate))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(blocking, embedder, "one")
        assert gate.reached.wait(LIMIT)
        until(lambda: embedder._tickets["one"]._calls)
        for _ in range(FAILURES_TO_OPEN):
            embedder._failed(ValueError())
        assert waiting.result(LIMIT / 2) is None
        gate.go.set()


def test_an_answer_that_comes_late_does_not_close_the_breaker(make: Any) -> None:
    clock = Clock()
    gate = Gate()
    embedder, _ = make(Model(gate), 0.01, clock=clock)
    for n in range(FAILURES_TO_OPEN):
        assert blocking(embedder, f"text {n}") is None
    clock.now += 5 * 0.01
    # It ends with the first call; the others are prompt, but begin when that is over.
    embedder._tickets.clear()
    gate.go.set()
    until(lambda: not embedder._background.is_working)
    assert embedder._breaker.is_open


def test_another_thread_takes_over_from_one_that_hangs(make: Any) -> None:
    clock = Clock()
    gate = Gate()
    model = Model(gate)
    embedder, _ = make(model, 0.02, clock=clock)
    assert blocking(embedder, "first") is None
    model.before = lambda texts: None
    clock.now += PATIENCE * 0.02 + 1
    embedder._timeout = LIMIT
    assert blocking(embedder, "second") == pack(vector("second"))
    # What the stuck thread had taken was asked for again.
    assert sorted(model.asked) == ["first", "first", "second"]
    gate.go.set()
    until(lambda: not embedder._background._stuck)


def test_the_threads_that_hang_are_bounded(make: Any) -> None:
    clock = Clock()
    gates = [Gate() for _ in range(STUCK_MAX + 3)]
    model = Model()
    embedder, _ = make(model, 0.01, clock=clock)
    for number, gate in enumerate(gates):
        model.before = gate
        embedder._breaker.succeeded()
        assert blocking(embedder, f"text {number}") is None
        clock.now += PATIENCE * 0.01 + 1
        assert gate.reached.wait(LIMIT if number <= STUCK_MAX else 0.0) == (number <= STUCK_MAX)
    assert len(embedder._background._stuck) == STUCK_MAX
    for gate in gates:
        gate.go.set()
    until(lambda: not embedder._background._stuck)
    embedder._timeout = LIMIT
    embedder._breaker.succeeded()
    assert blocking(embedder, "again") == pack(vector("again"))


class AsyncOnly(Embeddings):
    def __init__(self) -> None:
        self.loops: list[asyncio.AbstractEventLoop] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        raise NotImplementedError

    def embed_query(self, text: str) -> list[float]:
        raise NotImplementedError

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        self.loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return vectors(texts)


async def test_embeddings_that_are_only_async_have_one_loop(make: Any) -> None:
    model = AsyncOnly()
    embedder, notes = make(model)
    for text in ("one", "two"):
        assert await embedder.vector(text, Call.awaited) == pack(vector(text))
    assert notes.reasons == []
    assert model.loops[0] is model.loops[1] is not asyncio.get_running_loop()
    embedder.close()
    await asyncio.to_thread(until, model.loops[0].is_closed)


async def test_an_async_call_that_hangs_is_cancelled(make: Any) -> None:
    cancelled = threading.Event()

    class Hanging(AsyncOnly):
        async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            return []

    embedder, notes = make(Hanging(), 0.01)
    assert await embedder.vector("one", Call.awaited) is None
    assert await asyncio.to_thread(cancelled.wait, LIMIT)
    until(lambda: len(notes.reasons) == 2)
    assert notes.reasons == ["embedder_slow", "embedder_failed"]


def test_what_has_neither_method_fails(make: Any) -> None:
    class Neither(AsyncOnly):
        aembed_documents = Embeddings.aembed_documents

    embedder, notes = make(Neither())
    assert blocking(embedder, "one") is None
    assert notes.reasons == ["embedder_failed"]


async def test_a_caller_that_leaves_takes_nothing_from_the_others(make: Any) -> None:
    gate = Gate()
    model = Model(gate)
    embedder, notes = make(model)
    leaving, staying = [asyncio.create_task(embedder.vector("one", Call.awaited)) for _ in range(2)]
    await asyncio.to_thread(gate.reached.wait, LIMIT)
    leaving.cancel()
    gate.go.set()
    assert await staying == pack(vector("one"))
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert model.calls == [["one"]]
    assert notes.reasons == []


def test_after_close_nothing_is_asked(make: Any) -> None:
    model = Model()
    embedder, notes = make(model)
    blocking(embedder, "one")
    embedder.close()
    assert blocking(embedder, "two") is None
    assert model.calls == [["one"]]
    assert notes.reasons == []
    until(lambda: not embedder._background._shift.has_thread.locked())


def test_close_releases_those_that_wait(make: Any) -> None:
    gate = Gate()
    embedder, notes = make(Model(gate))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(blocking, embedder, "one")
        until(lambda: embedder._tickets and embedder._tickets["one"]._calls)
        embedder.close()
        assert waiting.result(LIMIT / 2) is None
        gate.go.set()
    assert notes.reasons == []


def test_its_thread_ends_with_it() -> None:
    model = Model()
    embedder = Embedder(model, LIMIT, Notes())
    blocking(embedder, "one")
    shift = embedder._background._shift
    gone = weakref.ref(embedder)
    assert shift.has_thread.locked()
    del embedder

    def is_gone() -> bool:
        gc.collect()
        return gone() is None and not shift.has_thread.locked()

    until(is_gone)


def test_the_memory_is_bounded() -> None:
    memory = VectorMemory()
    for n in range(TEXTS_MAX + 10):
        memory.set(str(n), b"vector")
        memory.get("0")
    assert memory.get("0") == b"vector"
    assert memory.get("1") is None
    assert len(memory._vectors) == TEXTS_MAX
    large = bytes(BYTES_MAX // 16)
    for n in range(TEXTS_MAX):
        memory.set(f"large {n}", large)
    assert len(memory._vectors) < 20
    assert memory.get(f"large {TEXTS_MAX - 1}") == large


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("kind", "is_signal"),
    [(KeyboardInterrupt, False), (KeyboardInterrupt, True), (SoftTimeLimit, True)],
)
def test_an_interrupt_is_the_callers_and_no_other_hangs(
    make: Any, *, kind: type[BaseException], is_signal: bool
) -> None:
    step = max(1, 7 // ROUNDS)
    at, was_raised = first(step), True
    with ThreadPoolExecutor(1) as pool:
        while was_raised:
            # Another each time: its thread is started, too.
            embedder, _ = make(Model())
            text, found = str(at), []
            with Interrupts(at, kind, is_signal=is_signal) as interrupts:
                found.append(contextvars.copy_context().run(blocking, embedder, text))
            if interrupts.error is not None and kind is SoftTimeLimit:
                assert is_interrupt(interrupts.error)
            assert found in ([], [pack(vector(text))]), (at, interrupts.where)
            assert found or interrupts.was_raised
            interrupts.error = None
            after = pool.submit(blocking, embedder, text).result(LIMIT / 4)
            assert after == pack(vector(text)), (at, interrupts.where)
            embedder.close()
            was_raised = interrupts.was_raised
            at += step


PROGRAM = """
import time
from array import array
from llmemo import _core
from llmemo.semantic.embedder import Embedder
from llmemo.store_io.calls import Call, run_inline

_core.pack_vector = lambda values: array("d", values).tobytes()

class Model:
    def __init__(self, seconds=0):
        self.seconds = seconds
    def embed_documents(self, texts):
        time.sleep(self.seconds)
        return [[float(len(text))] for text in texts]

def made(seconds=0, timeout=60):
    return Embedder(Model(seconds), timeout, lambda *_: None)

def ask(embedder, text):
    return run_inline(embedder.vector(text, Call.blocking))
"""


def test_a_hung_call_does_not_keep_the_process_alive(tmp_path: Path) -> None:
    program = (
        PROGRAM
        + """
print(ask(made(10_000, 0.01), "one"))
"""
    )
    begun = time.monotonic()
    assert run(program, tmp_path) == {"None"}
    assert time.monotonic() - begun < LIMIT


def test_a_child_has_a_thread_of_its_own(tmp_path: Path) -> None:
    program = (
        PROGRAM
        + """
embedder = made()
assert ask(embedder, "one")
hung = made(10_000, 0.01)
assert ask(hung, "one") is None
child = os.fork()
if not child:
    assert ask(embedder, "one") and ask(embedder, "other")
    hung._embeddings.seconds, hung._timeout = 0, 60
    assert ask(hung, "one")
    say("child")
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert ask(embedder, "more")
say("parent")
"""
    )
    assert run(program, tmp_path) == {"child", "parent"}


@pytest.mark.parametrize("patch", ["gevent", "eventlet"])
def test_greenlets_wait_beside_each_other(patch: str, tmp_path: Path) -> None:
    # Not imported here: eventlet has every later fork of the process warn.
    if importlib.util.find_spec(patch) is None:
        pytest.skip(f"{patch} is not here")
    statement = {
        "gevent": "from gevent import monkey; monkey.patch_all()",
        "eventlet": "import eventlet; eventlet.monkey_patch()",
    }[patch]
    patching = f"""
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    {statement}
"""
    program = """
embedder = made(0.2)
found = []
threads = [
    threading.Thread(target=lambda n=n: found.append(ask(embedder, "x" * n))) for n in range(1, 6)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(60)
assert len(found) == 5 and None not in found
embedder.close()
say("done")
"""
    script = tmp_path / "program.py"
    script.write_text(patching + PRELUDE + PROGRAM + program)
    assert run(script, tmp_path / "a.db") == {"done"}

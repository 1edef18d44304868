"""Concurrent calls of cached embeddings: each text is computed once, and no call hangs."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.outputs import Generation
from support.doubles import LIMIT, ROUNDS, run
from support.embedders import Embedder, Gate, vector, vectors

from llmemo import LLMCache, cached_embeddings
from llmemo.single_flight.flights import Flights

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from llmemo.integrations.embeddings import CachedEmbeddings

pytestmark = pytest.mark.anyio


def made(cache: Any = None, embedder: Embedder | None = None) -> CachedEmbeddings:
    return cached_embeddings(embedder or Embedder(), cache, namespace="m")


def of(embeddings: CachedEmbeddings) -> Any:
    return embeddings.wrapped


def flights(embeddings: CachedEmbeddings) -> Flights:
    found = embeddings.cache._tiers.flights
    assert found is not None
    return found


def waiters(embeddings: CachedEmbeddings) -> int:
    return sum(len(each.waiters) for each in flights(embeddings)._flights.values())


async def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not is_so():
        assert time.monotonic() < end
        await asyncio.sleep(0)


async def soon(*calls: Awaitable[Any]) -> list[Any]:
    """The outcomes of concurrent calls, errors included; none may hang."""
    return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), LIMIT)


def nothing_is_left(embeddings: CachedEmbeddings) -> None:
    gc.collect()
    assert flights(embeddings)._flights == {}


async def test_concurrent_batches_are_one_call(make_cache: Callable[..., LLMCache]) -> None:
    embeddings = made(make_cache())
    of(embeddings).go = asyncio.Event()
    texts = ["a", "b", "c"]
    calls = [asyncio.create_task(embeddings.aembed_documents(texts)) for _ in range(20)]
    await until(lambda: waiters(embeddings) == 19)
    of(embeddings).go.set()
    assert await soon(*calls) == [vectors(texts)] * 20
    assert of(embeddings).calls == [texts]
    stats = embeddings.cache.stats()
    assert (stats.misses, stats.hits) == (3, 57)
    nothing_is_left(embeddings)


async def test_concurrent_queries_are_one_call(make_cache: Callable[..., LLMCache]) -> None:
    embeddings = made(make_cache())
    found = await soon(*(embeddings.aembed_query("a") for _ in range(20)))
    assert found == [vector("a", "query")] * 20
    assert len({id(one) for one in found}) == 20
    assert of(embeddings).calls == [["a"]]


def test_concurrent_threads_are_one_call(make_cache: Callable[..., LLMCache]) -> None:
    embeddings, gate = made(make_cache()), Gate()
    of(embeddings).before = gate
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(embeddings.embed_documents, ["a", "b"]) for _ in range(8)]
        while waiters(embeddings) < 7:
            pass
        gate.go.set()
        assert [call.result(LIMIT) for call in calls] == [vectors(["a", "b"])] * 8
    assert of(embeddings).calls == [["a", "b"]]
    nothing_is_left(embeddings)


async def test_batches_with_texts_in_common_ask_for_each_once() -> None:
    embeddings = made()
    of(embeddings).go = asyncio.Event()
    batches = [["a", "b"], ["b", "c"], ["c", "a"], ["d", "c", "b", "a"]]
    calls = [asyncio.create_task(embeddings.aembed_documents(texts)) for texts in batches]
    await until(lambda: len(of(embeddings).calls) == 3)
    of(embeddings).go.set()
    assert await soon(*calls) == [vectors(texts) for texts in batches]
    assert of(embeddings).calls == [["a", "b"], ["c"], ["d"]]
    nothing_is_left(embeddings)


async def test_of_several_waiters_one_tries_after_a_failure() -> None:
    embeddings = made()
    of(embeddings).go = asyncio.Event()
    errors = [OSError("first")]

    def fail(texts: list[str]) -> None:
        if errors:
            raise errors.pop()

    of(embeddings).before = fail
    calls = [asyncio.create_task(embeddings.aembed_documents(["a", "b"])) for _ in range(6)]
    await until(lambda: waiters(embeddings) == 5)
    of(embeddings).go.set()
    found = await soon(*calls)
    assert [type(one) for one in found] == [OSError, *[list] * 5]
    assert of(embeddings).calls == [["a", "b"]] * 2
    nothing_is_left(embeddings)


async def test_a_provider_that_always_fails_fails_all() -> None:
    embeddings = made()
    of(embeddings).go = asyncio.Event()
    of(embeddings).before = lambda texts: 1 / 0
    calls = [asyncio.create_task(embeddings.aembed_documents(["a"])) for _ in range(6)]
    await until(lambda: waiters(embeddings) == 5)
    of(embeddings).go.set()
    assert {type(one) for one in await soon(*calls)} == {ZeroDivisionError}
    assert len(of(embeddings).calls) == 6
    nothing_is_left(embeddings)


async def test_waiters_in_crossed_order_survive_a_failure() -> None:
    """Each of two waiters is passed a text that the other one needs as well."""
    embeddings = made()
    of(embeddings).go = asyncio.Event()
    errors = [OSError("first")]

    def fail(texts: list[str]) -> None:
        if errors:
            raise errors.pop()

    of(embeddings).before = fail
    batches = [["a", "b"], ["a", "b"], ["b", "a"]]
    calls = [asyncio.create_task(embeddings.aembed_documents(texts)) for texts in batches]
    await until(lambda: waiters(embeddings) == 2)
    of(embeddings).go.set()
    found = await soon(*calls)
    assert found[1:] == [vectors(["a", "b"]), vectors(["b", "a"])]
    assert sorted(of(embeddings).asked[2:]) == ["a", "b"]
    nothing_is_left(embeddings)


async def test_a_cancelled_call_hands_over() -> None:
    embeddings = made()
    of(embeddings).go = asyncio.Event()
    calls = [asyncio.create_task(embeddings.aembed_documents(["a", "b"])) for _ in range(3)]
    await until(lambda: waiters(embeddings) == 2)
    calls[0].cancel()
    of(embeddings).go.set()
    found = await soon(*calls)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [vectors(["a", "b"])] * 2
    assert of(embeddings).calls == [["a", "b"]] * 2
    nothing_is_left(embeddings)


async def test_a_waiter_that_is_cancelled_costs_nothing() -> None:
    embeddings = made()
    of(embeddings).go = asyncio.Event()
    calls = [asyncio.create_task(embeddings.aembed_documents(["a"])) for _ in range(3)]
    await until(lambda: waiters(embeddings) == 2)
    calls[1].cancel()
    of(embeddings).go.set()
    found = await soon(*calls)
    assert (found[0], found[2]) == ([vector("a")], [vector("a")])
    assert of(embeddings).calls == [["a"]]
    nothing_is_left(embeddings)


async def test_waiters_go_on_without_what_is_no_vector() -> None:
    embeddings = made(LLMCache(lease_timeout=10 * LIMIT))
    of(embeddings).go = asyncio.Event()
    of(embeddings).answer = lambda texts: [[float("nan")] for _ in texts]
    calls = [asyncio.create_task(embeddings.aembed_documents(["a", "b"])) for _ in range(4)]
    await until(lambda: waiters(embeddings) == 3)
    go, of(embeddings).go = of(embeddings).go, asyncio.Event()
    go.set()
    # At once, not one after the other.
    await until(lambda: len(of(embeddings).calls) == 4)
    of(embeddings).go.set()
    found = await soon(*calls)
    assert [len(one) for one in found] == [2] * 4
    # Each in one call, as without a cache.
    assert of(embeddings).calls == [["a", "b"]] * 4
    assert embeddings.cache.stats().errors == {}
    nothing_is_left(embeddings)


async def test_the_waiter_of_a_loop_that_is_closed_hands_over() -> None:
    embeddings = made()
    of(embeddings).go = asyncio.Event()
    first_call = asyncio.create_task(embeddings.aembed_documents(["a"]))
    await until(lambda: len(of(embeddings).calls) == 1)
    begun = threading.Event()

    def other() -> None:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        task = loop.create_task(embeddings.aembed_documents(["a"]))
        while waiters(embeddings) == 0:
            loop.run_until_complete(asyncio.sleep(0))
        begun.set()
        loop.close()
        del task

    await asyncio.to_thread(other)
    of(embeddings).before = lambda texts: 1 / 0
    of(embeddings).go.set()
    assert isinstance((await soon(first_call))[0], ZeroDivisionError)
    gc.collect()
    of(embeddings).before = lambda texts: None
    assert await soon(embeddings.aembed_documents(["a"])) == [[vector("a")]]


class Nested(Embedder):
    """Asks the cached embeddings that wrap it for the same text."""

    outer: CachedEmbeddings

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if len(self.calls) < 1:
            self.calls.append(texts)
            return self.outer.embed_documents(texts)
        return super().embed_documents(texts)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        if len(self.calls) < 1:
            self.calls.append(texts)
            return (await asyncio.gather(self.outer.aembed_documents(texts)))[0]
        return await super().aembed_documents(texts)


async def test_a_call_within_a_call_does_not_wait_for_it() -> None:
    for way in ("sync", "async"):
        before, nested = time.monotonic(), Nested()
        nested.outer = embeddings = made(LLMCache(lease_timeout=30), nested)
        if way == "sync":
            found = await asyncio.to_thread(embeddings.embed_documents, ["a", "b"])
        else:
            found = (await soon(embeddings.aembed_documents(["a", "b"])))[0]
        assert found == vectors(["a", "b"])
        assert nested.calls == [["a", "b"]] * 2
        assert time.monotonic() - before < 25


async def test_a_blocking_call_on_the_loop_does_not_wait_for_a_task() -> None:
    embeddings = made()
    of(embeddings).go = asyncio.Event()
    call = asyncio.create_task(embeddings.aembed_documents(["a"]))
    await until(lambda: len(of(embeddings).calls) == 1)
    assert embeddings.embed_documents(["a", "b"]) == vectors(["a", "b"])
    of(embeddings).go.set()
    assert await call == [vector("a")]
    assert of(embeddings).calls == [["a"], ["a", "b"]]
    assert embeddings.cache.stats().errors == {}


async def test_waiting_threads_do_not_starve_the_call_that_needs_one() -> None:
    """`Embeddings.aembed_query` runs in a thread of the loop's executor, by default."""

    class Sync(Embedder):
        async def aembed_query(self, text: str) -> list[float]:
            await until(lambda: waiters(embeddings) == 4)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(None, self.embed_query, text)

    embeddings = made(None, Sync())
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(4))
    leader = asyncio.create_task(embeddings.aembed_query("a"))
    await until(lambda: bool(flights(embeddings)._flights))
    others = [loop.run_in_executor(None, embeddings.embed_query, "a") for _ in range(4)]
    found = await asyncio.wait_for(asyncio.gather(leader, *others), LIMIT / 4)
    assert found == [vector("a", "query")] * 5
    assert embeddings.cache.stats().errors == {"holder_stuck": 1}


def test_without_single_flight_each_call_asks() -> None:
    embeddings, gate = made(LLMCache(single_flight=False)), Gate()
    of(embeddings).before = gate
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(embeddings.embed_documents, ["a"]) for _ in range(4)]
        while len(of(embeddings).calls) < 4:
            pass
        gate.go.set()
        assert [call.result(LIMIT) for call in calls] == [[vector("a")]] * 4


async def test_a_task_with_a_models_lease_waits_for_nothing() -> None:
    """The call that computes the vector may wait for that model, in the end."""
    cache = LLMCache()
    embeddings, go = made(cache), asyncio.Event()
    of(embeddings).go = go
    call = asyncio.create_task(embeddings.aembed_documents(["a"]))
    await until(lambda: len(of(embeddings).calls) == 1)
    of(embeddings).go = None

    async def holder() -> Any:
        assert await cache.alookup("p", "m") is None
        found = await embeddings.aembed_documents(["a"])
        await cache.aupdate("p", "m", [Generation(text="x")])
        return found

    assert await asyncio.wait_for(holder(), LIMIT / 4) == [vector("a")]
    go.set()
    assert await call == [vector("a")]
    assert len(of(embeddings).calls) == 2


async def test_hits_of_a_large_batch_let_the_event_loop_run() -> None:
    embeddings = made()
    texts = [f"text {number}" for number in range(200)]
    of(embeddings).answer = lambda texts: [vector(text, size=1536) for text in texts]
    turns: list[int] = []

    async def tick() -> None:
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    ticker = asyncio.create_task(tick())
    counts = []
    for _ in range(2):
        turns.clear()
        await embeddings.aembed_documents(texts)
        counts.append(len(turns))
    ticker.cancel()
    assert min(counts) >= 200 * 1536 // (32 * 1024)


def test_what_comes_to_memory_in_between_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may be through between this call's look at memory and its lease."""
    embeddings, lead = made(), Flights.lead

    def late(self: Flights, key: bytes) -> Any:
        monkeypatch.setattr(Flights, "lead", lead)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(embeddings.embed_documents, ["a", "b"]).result(LIMIT)
        return self.lead(key)

    monkeypatch.setattr(Flights, "lead", late)
    assert embeddings.embed_documents(["a", "c"]) == vectors(["a", "c"])
    assert of(embeddings).calls == [["a", "b"], ["c"]]
    nothing_is_left(embeddings)


@pytest.mark.slow
@pytest.mark.parametrize("is_failing", [False, True])
async def test_random_calls_all_come_to_their_end(*, is_failing: bool) -> None:
    """Without failures, no text is asked for twice."""
    for seed in range(8 * ROUNDS):
        dice = random.Random(seed)
        embeddings = made()

        def before(texts: list[str], dice: random.Random = dice) -> None:
            if is_failing and dice.random() < 0.3:
                raise OSError(texts)

        async def call(dice: random.Random = dice, it: CachedEmbeddings = embeddings) -> None:
            texts = dice.choices("abcdefgh", k=dice.randrange(1, 6))
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            try:
                assert await it.aembed_documents(texts) == vectors(texts)
            except OSError:
                assert is_failing

        async def leave(task: asyncio.Task[None], dice: random.Random = dice) -> None:
            for _ in range(dice.randrange(8)):
                await asyncio.sleep(0)
            if is_failing and dice.random() < 0.5:
                task.cancel()

        class Slow(Embedder):
            async def _wait(self, dice: random.Random = dice) -> None:
                for _ in range(dice.randrange(6)):
                    await asyncio.sleep(0)

        embeddings.wrapped.__class__ = Slow
        of(embeddings).before = before
        tasks = [asyncio.create_task(call()) for _ in range(12)]
        found = await soon(*tasks, *map(leave, tasks))
        bad = [one for one in found if one and not isinstance(one, asyncio.CancelledError)]
        assert bad == [], seed
        if not is_failing:
            assert len(of(embeddings).asked) == len(set(of(embeddings).asked)), seed
        nothing_is_left(embeddings)


# Among caches on one file, and processes.


async def test_caches_on_one_file_are_one_call(tmp_path: Path) -> None:
    embedder = Embedder()
    embedder.go = asyncio.Event()
    those = [made(LLMCache(tmp_path / "cache.db"), embedder) for _ in range(3)]
    calls = [asyncio.create_task(it.aembed_documents(["a", "b"])) for it in those]
    await until(lambda: bool(embedder.calls))
    for _ in range(100):
        await asyncio.sleep(0.001)
    embedder.go.set()
    assert await soon(*calls) == [vectors(["a", "b"])] * 3
    assert embedder.calls == [["a", "b"]]
    for it in those:
        it.cache.close()


async def test_caches_on_one_file_with_texts_in_common(tmp_path: Path) -> None:
    embedder = Embedder()
    embedder.go = asyncio.Event()
    batches = [["a", "b"], ["b", "c"], ["c", "a"]]
    those = [made(LLMCache(tmp_path / "cache.db"), embedder) for _ in batches]
    pairs = zip(those, batches, strict=True)
    calls = [asyncio.create_task(it.aembed_documents(texts)) for it, texts in pairs]
    await until(lambda: len(embedder.asked) >= 3)
    embedder.go.set()
    assert await soon(*calls) == [vectors(texts) for texts in batches]
    assert sorted(embedder.asked) == ["a", "b", "c"]
    for it in those:
        it.cache.close()


async def test_a_call_that_waits_holds_no_lease(tmp_path: Path) -> None:
    """Of a text that another process computes, either: others here may follow that one, too."""
    here, there = (made(LLMCache(tmp_path / "cache.db")) for _ in range(2))
    go_here, go_there = of(here).go, of(there).go = asyncio.Event(), asyncio.Event()
    calls = [asyncio.create_task(there.aembed_documents(["q"]))]
    await until(lambda: bool(of(there).calls))
    calls.append(asyncio.create_task(here.aembed_documents(["p"])))
    await until(lambda: bool(of(here).calls))
    calls.append(asyncio.create_task(here.aembed_documents(["p", "q"])))
    await until(lambda: waiters(here) == 1)
    other = asyncio.create_task(here.aembed_documents(["q"]))
    go_there.set()
    assert await asyncio.wait_for(other, LIMIT / 4) == [vector("q")]
    go_here.set()
    assert await soon(*calls) == [[vector("q")], [vector("p")], vectors(["p", "q"])]
    assert (of(here).calls, of(there).calls) == ([["p"]], [["q"]])
    assert here.cache.stats().errors == {}
    for it in (here, there):
        it.cache.close()


PROCESS = """
import time
from langchain_core.embeddings import Embeddings
from llmemo import cached_embeddings

class Slow(Embeddings):
    def embed_documents(self, texts):
        say("asked-" + "-".join(texts))
        time.sleep(1.0)
        return [[float(len(text)), 0.5] for text in texts]

    def embed_query(self, text):
        raise NotImplementedError

embeddings = cached_embeddings(Slow(), opened(), namespace="m")
start = float(sys.argv[2])
while time.time() < start:
    time.sleep(0.001)
assert embeddings.embed_documents(["a", "bb", "a"]) == [[1.0, 0.5], [2.0, 0.5], [1.0, 0.5]]
embeddings.cache.close()
"""


@pytest.mark.slow
def test_processes_are_one_call(tmp_path: Path) -> None:
    start = time.time() + 1
    with ThreadPoolExecutor(3) as pool:
        path = tmp_path / "cache.db"
        said = list(pool.map(lambda _: run(PROCESS, path, start, seconds=3), range(3)))
    # Nothing but these may be said: see `run`.
    assert sorted(said, key=len) == [set(), set(), {"asked-a-bb"}]
    with LLMCache(tmp_path / "cache.db") as cache:
        embeddings = made(cache)
        assert embeddings.embed_documents(["bb", "a"]) == [[2.0, 0.5], [1.0, 0.5]]
        assert of(embeddings).calls == []

"""Callers who ask the same at once: one goes to the model, the others get what it gets."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.outputs import Generation
from support.doubles import LIMIT, answer
from support.scripted import Scripted, ScriptedLLM, queued, said, waiters

from llmemo import LLMCache, track

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    MakeCache = Callable[..., LLMCache]

pytestmark = pytest.mark.anyio


class Gate:
    """An `act` that tells when it is reached, and goes on, or fails, when it is told."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.outcomes: asyncio.Queue[str | BaseException] = asyncio.Queue()

    async def __call__(self, text: str) -> str:
        self.reached.set()
        outcome = await self.outcomes.get()
        if isinstance(outcome, BaseException):
            raise outcome
        return f"{outcome} {text}"


async def within(seconds: float, work: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(work, seconds)


async def settled() -> None:
    """Let every task that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.slow
async def test_two_hundred_at_once_make_one_call(make_cache: MakeCache) -> None:
    gate = Gate()
    cache = make_cache()
    model = Scripted(act=gate, cache=cache)
    calls = [asyncio.ensure_future(model.ainvoke("Hello.")) for _ in range(200)]
    await queued(cache, 199)
    gate.outcomes.put_nowait("Good day:")
    answers = await within(LIMIT, asyncio.gather(*calls))
    assert {said(each) for each in answers} == {"Good day: Hello."}
    assert model.asked == ["Hello."]
    stats = cache.stats()
    assert (stats.misses, stats.coalesced, stats.hits, stats.updates) == (1, 199, 199, 1)


async def test_each_gets_a_copy_of_its_own() -> None:
    gate = Gate()
    cache = LLMCache()
    model = Scripted(act=gate, cache=cache)
    calls = [asyncio.ensure_future(model.ainvoke("Hello.")) for _ in range(3)]
    await queued(cache, 2)
    gate.outcomes.put_nowait("Good day:")
    answers = await within(LIMIT, asyncio.gather(*calls))
    for number, each in enumerate(answers):
        each.additional_kwargs["mine"] = number
    assert [each.additional_kwargs for each in answers] == [{"mine": 0}, {"mine": 1}, {"mine": 2}]
    assert len({each.id for each in answers}) == 3
    assert (await model.ainvoke("Hello.")).additional_kwargs == {}


async def test_a_failure_sends_exactly_one_other_to_the_model(make_cache: MakeCache) -> None:
    gate = Gate()
    cache = make_cache()
    model = Scripted(act=gate, cache=cache)

    async def leader() -> None:
        with pytest.raises(ValueError, match="no"):
            await model.ainvoke("Hello.")
        await asyncio.sleep(LIMIT)  # its task lives on

    first = asyncio.ensure_future(leader())
    await gate.reached.wait()
    calls = [asyncio.ensure_future(model.ainvoke("Hello.")) for _ in range(20)]
    await queued(cache, 20)
    gate.reached.clear()
    gate.outcomes.put_nowait(ValueError("no"))
    await within(5 * 0.1, gate.reached.wait())
    assert (len(model.asked), waiters(cache)) == (2, 19)
    gate.outcomes.put_nowait("Good day:")
    answers = await within(LIMIT, asyncio.gather(*calls))
    assert {said(each) for each in answers} == {"Good day: Hello."}
    assert len(model.asked) == 2
    first.cancel()


async def test_two_failures_in_a_row_release_everybody() -> None:
    gate = Gate()
    cache = LLMCache()
    model = Scripted(act=gate, cache=cache)
    calls = [asyncio.ensure_future(model.ainvoke("Hello.")) for _ in range(10)]
    await queued(cache, 9)
    for _ in range(2):
        gate.outcomes.put_nowait(ValueError("no"))
    while len(model.asked) < 10:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    for _ in range(8):
        gate.outcomes.put_nowait("Good day:")
    results = await within(LIMIT, asyncio.gather(*calls, return_exceptions=True))
    assert sum(isinstance(each, ValueError) for each in results) == 2
    assert len(model.asked) == 10


@pytest.mark.parametrize("who", ["leader", "waiter", "both"])
async def test_a_cancelled_caller_strands_nobody(who: str) -> None:
    gate = Gate()
    cache = LLMCache()
    model = Scripted(act=gate, cache=cache)
    leader = asyncio.ensure_future(model.ainvoke("Hello."))
    await gate.reached.wait()
    calls = [asyncio.ensure_future(model.ainvoke("Hello.")) for _ in range(3)]
    await queued(cache, 3)
    gate.reached.clear()
    if who != "leader":
        calls.pop(0).cancel()
    if who != "waiter":
        leader.cancel()
        await within(LIMIT, gate.reached.wait())
    gate.outcomes.put_nowait("Good day:")
    answers = await within(LIMIT, asyncio.gather(*calls))
    assert {said(each) for each in answers} == {"Good day: Hello."}
    assert len(model.asked) == (1 if who == "waiter" else 2)


async def test_a_waiter_cancelled_as_it_is_told_to_go_on_hands_on() -> None:
    gate = Gate()
    cache = LLMCache()
    model = Scripted(act=gate, cache=cache)
    leader = asyncio.ensure_future(model.ainvoke("Hello."))
    await gate.reached.wait()
    calls = [asyncio.ensure_future(model.ainvoke("Hello.")) for _ in range(3)]
    await queued(cache, 3)
    gate.reached.clear()
    leader.cancel()
    while waiters(cache) == 3:  # noqa: ASYNC110
        await asyncio.sleep(0)
    calls.pop(0).cancel()  # it was given the lease, and has not run since
    await within(LIMIT, gate.reached.wait())
    gate.outcomes.put_nowait("Good day:")
    answers = await within(LIMIT, asyncio.gather(*calls))
    assert {said(each) for each in answers} == {"Good day: Hello."}
    assert len(model.asked) == 2


async def test_lease_timeout_is_for_all_the_waiting() -> None:
    gate = Gate()
    cache = LLMCache(lease_timeout=0.05)
    model = Scripted(act=gate, cache=cache)
    calls = [asyncio.ensure_future(model.ainvoke("Hello.")) for _ in range(4)]
    while len(model.asked) < 4:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    for _ in range(4):
        gate.outcomes.put_nowait("Good day:")
    await within(LIMIT, asyncio.gather(*calls))
    assert cache.stats().coalesced == 0


async def test_without_single_flight_nobody_waits() -> None:
    gate = Gate()
    cache = LLMCache(single_flight=False)
    model = Scripted(act=gate, cache=cache)
    calls = [asyncio.ensure_future(model.ainvoke("Hello.")) for _ in range(3)]
    await settled()
    assert len(model.asked) == 3
    for _ in range(3):
        gate.outcomes.put_nowait("Good day:")
    await within(LIMIT, asyncio.gather(*calls))


@pytest.mark.parametrize("is_sync", [True, False])
async def test_a_batch_of_equal_prompts_does_not_wait_for_itself(is_sync: bool) -> None:
    cache = LLMCache()
    model = ScriptedLLM(act=lambda prompt: f"answer to {prompt}", cache=cache)
    if is_sync:
        result = await within(LIMIT, asyncio.to_thread(model.generate, ["a", "a"]))
    else:
        result = await within(LIMIT, model.agenerate(["a", "a"]))
    assert [each[0].text for each in result.generations] == ["answer to a"] * 2


async def test_batches_in_crossed_order_do_not_wait_for_each_other() -> None:
    gate = Gate()
    cache = LLMCache()
    model = ScriptedLLM(act=gate, cache=cache)
    calls = [asyncio.ensure_future(model.agenerate(each)) for each in (["a", "b"], ["b", "a"])]
    for _ in range(4):
        gate.outcomes.put_nowait("answer to")
    for result in await within(LIMIT, asyncio.gather(*calls)):
        assert {each[0].text for each in result.generations} == {"answer to a", "answer to b"}


@pytest.mark.parametrize("is_sync", [True, False])
async def test_the_failure_of_a_completion_model_ends_its_lease_at_once(is_sync: bool) -> None:
    # It asks the cache before its run begins, and an async one begins it in a task of its own.
    cache = LLMCache()

    def fail(prompt: str) -> str:
        raise ValueError("no")

    model = ScriptedLLM(act=fail, cache=cache)
    invoke = asyncio.to_thread(model.invoke, "a") if is_sync else model.ainvoke("a")
    with pytest.raises(ValueError, match="no"):
        await invoke
    assert cache._tiers.flights._flights == {}  # type: ignore[union-attr]


async def test_a_call_within_a_call_does_not_wait(make_cache: MakeCache) -> None:
    cache = make_cache()
    inner = Scripted(act=lambda text: f"inner {text}", cache=cache)

    async def outer(text: str) -> str:
        # As an agent's tool might: in child tasks, for what is being computed here.
        found = await asyncio.gather(*(model.ainvoke(text) for _ in range(2)), inner.ainvoke("x"))
        return said(found[2])

    depth: list[int] = []

    async def act(text: str) -> str:
        depth.append(1)
        return "deep" if len(depth) > 1 else await outer(text)

    model = Scripted(act=act, cache=cache)
    assert said(await within(LIMIT, model.ainvoke("Hello."))) == "inner x"


def test_threads_take_part(make_cache: MakeCache) -> None:
    cache = make_cache()
    reached, go = threading.Event(), threading.Event()

    def act(text: str) -> str:
        reached.set()
        assert go.wait(LIMIT)
        return f"Good day: {text}"

    model = Scripted(act=act, cache=cache)
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(model.invoke, "Hello.") for _ in range(16)]
        assert reached.wait(LIMIT)
        deadline = time.monotonic() + LIMIT
        while waiters(cache) < 15 and time.monotonic() < deadline:
            time.sleep(0.001)
        go.set()
        assert {said(call.result(LIMIT)) for call in calls} == {"Good day: Hello."}
    assert model.asked == ["Hello."]


def test_a_thread_that_fails_hands_on() -> None:
    cache = LLMCache()
    tries: list[int] = []

    def act(text: str) -> str:
        tries.append(1)
        if len(tries) == 1:
            deadline = time.monotonic() + LIMIT
            while waiters(cache) < 7 and time.monotonic() < deadline:
                time.sleep(0.001)
            raise ValueError("no")
        return f"Good day: {text}"

    model = Scripted(act=act, cache=cache)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(model.invoke, "Hello.") for _ in range(8)]
        outcomes = [call.exception(LIMIT) for call in calls]
    assert sum(each is not None for each in outcomes) == 1
    assert len(tries) == 2


@pytest.fixture
def holder() -> Iterator[Callable[[Any], None]]:
    """Runs something in a thread that goes on living, and holds what it was given."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda work: pool.submit(work).result(LIMIT)


async def test_a_sync_call_on_the_loops_own_thread_does_not_wait() -> None:
    gate = Gate()
    cache = LLMCache()
    model = Scripted(act=gate, cache=cache)
    leader = asyncio.ensure_future(model.ainvoke("Hello."))
    await gate.reached.wait()
    [(prompt, llm_string)] = requests_of(cache)
    start = time.monotonic()
    assert cache.lookup(prompt, llm_string) is None
    assert time.monotonic() - start < LIMIT
    gate.outcomes.put_nowait("Good day:")
    await within(LIMIT, leader)


def requests_of(cache: LLMCache) -> list[tuple[str, str]]:
    """What Scripted is asked as, by LangChain."""
    seen: list[tuple[str, str]] = []

    class Spy(LLMCache):
        def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
            seen.append((prompt, llm_string))
            return None

    Scripted(act=lambda text: text, cache=Spy()).invoke("Hello.")
    return seen


class TestByHand:
    """Without a model run: `await cache.alookup(…)`, and maybe `aupdate`."""

    async def test_lookups_wait_for_the_update(self, make_cache: MakeCache) -> None:
        cache, go = make_cache(), asyncio.Event()

        async def call() -> str:
            with track() as tracker:
                found = await cache.alookup("p", "m")
            if found is None:
                await go.wait()
                await cache.aupdate("p", "m", answer("p"))
                return "computed"
            assert found == answer("p")
            return str(tracker.events[0].tier)

        calls = [asyncio.ensure_future(call()) for _ in range(20)]
        await queued(cache, 19)
        go.set()
        results = await within(LIMIT, asyncio.gather(*calls))
        assert sorted(results) == ["computed", *["flight"] * 19]

    async def test_who_only_looked_holds_nobody_up_once_its_task_has_ended(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("llmemo.single_flight.lease.UNBACKED", 10 * LIMIT)
        cache = LLMCache()
        assert await asyncio.create_task(cache.alookup("p", "m")) is None
        assert await within(LIMIT, asyncio.create_task(cache.alookup("p", "m"))) is None

    async def test_who_only_looked_and_lives_on_holds_others_up_for_a_while(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("llmemo.single_flight.lease.UNBACKED", 0.05)
        cache, looked = LLMCache(), asyncio.Event()

        async def look() -> None:
            await cache.alookup("p", "m")
            looked.set()
            await asyncio.sleep(LIMIT)

        looking = asyncio.create_task(look())
        await looked.wait()
        assert await within(LIMIT, asyncio.create_task(cache.alookup("p", "m"))) is None
        looking.cancel()

    async def test_a_model_that_ended_well_without_an_update_holds_others_up_for_a_while(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("llmemo.single_flight.lease.UNBACKED", 0.05)
        cache, go = LLMCache(), asyncio.Event()

        async def act(text: str) -> str:
            await go.wait()
            return text

        model = Scripted(act=act, cache=False)

        async def look() -> None:
            await cache.alookup("p", "m")
            await model.ainvoke("something else")
            await asyncio.sleep(LIMIT)

        looking = asyncio.create_task(look())
        while not model.asked:  # noqa: ASYNC110
            await asyncio.sleep(0)
        waiting = asyncio.create_task(cache.alookup("p", "m"))
        await queued(cache, 1)
        go.set()
        assert await within(LIMIT / 2, waiting) is None
        looking.cancel()

    @pytest.mark.slow
    async def test_a_thread_that_has_ended_holds_nobody_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("llmemo.single_flight.lease.UNBACKED", 10 * LIMIT)
        cache = LLMCache()
        thread = threading.Thread(target=cache.lookup, args=("p", "m"))
        thread.start()
        await asyncio.to_thread(thread.join)
        del thread
        gc.collect()
        assert await within(LIMIT, asyncio.create_task(cache.alookup("p", "m"))) is None

    @pytest.mark.slow
    async def test_a_loop_that_has_closed_holds_nobody_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("llmemo.single_flight.lease.UNBACKED", 10 * LIMIT)
        cache = LLMCache()

        async def abandon() -> None:
            self.tasks = [asyncio.create_task(cache.alookup("p", "m")) for _ in range(3)]
            await asyncio.sleep(0)

        await asyncio.to_thread(asyncio.run, abandon())
        del self.tasks
        gc.collect()
        assert await within(LIMIT, asyncio.create_task(cache.alookup("p", "m"))) is None

    @pytest.mark.slow
    def test_many_lookups_without_an_update_leave_little_behind(self) -> None:
        cache = LLMCache()
        for number in range(5000):
            assert cache.lookup(f"p{number}", "m") is None
        assert len(cache._tiers.flights._flights) <= 1025  # type: ignore[union-attr]


async def test_what_is_not_kept_is_handed_out_all_the_same() -> None:
    gate = Gate()
    cache = LLMCache(admit=lambda generations: False)
    model = Scripted(act=gate, cache=cache)
    calls = [asyncio.ensure_future(model.ainvoke("Hello.")) for _ in range(5)]
    await queued(cache, 4)
    gate.outcomes.put_nowait("Good day:")
    answers = await within(LIMIT, asyncio.gather(*calls))
    assert {said(each) for each in answers} == {"Good day: Hello."}
    assert len(model.asked) == 1
    assert cache.stats().skipped == {"not_admitted": 1}


async def test_what_cannot_be_handed_on_releases_everybody_and_is_remembered() -> None:
    cache, go = LLMCache(), asyncio.Event()

    async def call() -> bool:
        found = await cache.alookup("p", "m")
        await go.wait()
        await cache.aupdate("p", "m", [Generation(text="x", generation_info={"x": object()})])
        return found is None

    calls = [asyncio.ensure_future(call()) for _ in range(5)]
    await queued(cache, 4)
    go.set()
    assert all(await within(LIMIT, asyncio.gather(*calls)))
    # The next ones do not even begin to wait.
    go.clear()
    calls = [asyncio.ensure_future(call()) for _ in range(5)]
    await settled()
    assert waiters(cache) == 0
    go.set()
    await within(LIMIT, asyncio.gather(*calls))

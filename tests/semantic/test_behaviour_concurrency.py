"""Many callers at once, from tasks, threads and loops, some of whom leave: none waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from langchain_core.outputs import Generation
from support.doubles import LIMIT, ROUNDS
from support.embedders import Gate
from support.near import Meaning, certify, keep, near_cache, semantic, told, topic_of, wording
from support.scripted import Scripted

from llmemo.semantic.tier import REPEATS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmemo import LLMCache

pytestmark = pytest.mark.anyio

PARAPHRASES = 20


@pytest.fixture(params=["memory", "store"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LLMCache]:
    where = tmp_path / "cache.db" if request.param == "store" else None
    with near_cache(where, lease_timeout=3600) as cache:
        yield cache


def model_of(cache: LLMCache, act: Any = None) -> Scripted:
    def answer(text: str) -> str:
        return f"all about {topic_of(text)}"

    return Scripted(act=act or answer, cache=cache, asked=[])


def certified(cache: LLMCache) -> Scripted:
    """A model whose cache serves near matches."""
    model = model_of(cache)
    for number in range(4):
        model.invoke(wording(number, "rehearsals"))
    assert told(cache).threshold is not None
    model.asked.clear()
    return model


@pytest.mark.parametrize("is_certified", [False, True])
async def test_paraphrases_of_a_cold_question_take_a_call_each_at_most(
    cache: LLMCache, *, is_certified: bool
) -> None:
    if is_certified:
        certified(cache)
    entered, go = asyncio.Event(), asyncio.Event()

    async def act(text: str) -> str:
        entered.set()
        await go.wait()
        return "all about tides"

    model = model_of(cache, act)
    texts = [wording(number, "tides") for number in range(PARAPHRASES)]
    with anyio.fail_after(LIMIT):
        calls = [asyncio.ensure_future(model.ainvoke(text)) for text in texts]
        await entered.wait()
        go.set()
        answers = await asyncio.gather(*calls)
    assert {answer.text for answer in answers} == {"all about tides"}
    assert max(Counter(model.asked).values()) == 1
    assert len(model.asked) <= PARAPHRASES
    # Now they are known.
    await model.ainvoke(wording(PARAPHRASES, "tides"))
    assert told(cache).hits > 0 or not is_certified


def test_paraphrases_of_a_cold_question_in_threads(cache: LLMCache) -> None:
    certified(cache)
    barrier = threading.Barrier(PARAPHRASES)
    model = model_of(cache)

    def work(number: int) -> str:
        barrier.wait(LIMIT)
        if number % 2:
            return model.invoke(wording(number, "tides")).text
        return asyncio.run(model.ainvoke(wording(number, "tides"))).text

    with ThreadPoolExecutor(PARAPHRASES) as pool:
        answers = list(pool.map(work, range(PARAPHRASES), timeout=LIMIT))
    assert set(answers) == {"all about tides"}
    assert max(Counter(model.asked).values()) == 1
    assert cache.stats().errors == {}


async def test_one_question_of_many_callers_is_one_call(cache: LLMCache) -> None:
    certified(cache)

    async def act(text: str) -> str:
        await asyncio.sleep(0.05)
        return "all about tides"

    model = model_of(cache, act)
    with anyio.fail_after(LIMIT):
        answers = await asyncio.gather(
            *(model.ainvoke(wording(0, "tides")) for _ in range(200 * min(ROUNDS, 5)))
        )
    assert {answer.text for answer in answers} == {"all about tides"}
    assert model.asked == [wording(0, "tides")]


async def test_one_paraphrase_of_many_callers_is_one_call_at_most(cache: LLMCache) -> None:
    model = certified(cache)
    await model.ainvoke(wording(0, "tides"))
    with anyio.fail_after(LIMIT):
        await asyncio.gather(*(model.ainvoke(wording(1, "tides")) for _ in range(200)))
    assert model.asked == [wording(0, "tides"), wording(1, "tides")]
    assert told(cache).hits == REPEATS_MAX


async def test_many_paraphrases_are_no_call(cache: LLMCache) -> None:
    model = certified(cache)
    await model.ainvoke(wording(0, "tides"))
    with anyio.fail_after(LIMIT):
        await asyncio.gather(*(model.ainvoke(wording(n % 20 + 1, "tides")) for n in range(60)))
    assert model.asked == [wording(0, "tides")]
    assert told(cache).hits == 60


async def _leave_after(call: Any, ticks: int) -> None:
    """Cancel a call after so many passes of the loop."""
    task = asyncio.ensure_future(call)
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    with anyio.fail_after(LIMIT):
        await asyncio.wait([task])
    assert task.cancelled() or task.exception() is None


@pytest.mark.parametrize("what", ["lookup", "update", "call"])
async def test_a_caller_that_leaves_at_any_tick_strands_no_lease(
    cache: LLMCache, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("llmemo.single_flight.lease.UNBACKED", 3600.0)
    monkeypatch.setattr("llmemo.store_io.leases.manager.LEASE", 3600.0)
    certified(cache)
    model = model_of(cache)
    for ticks in [*range(12), *range(12, 12 + 40 * ROUNDS, 7)]:
        topic = f"tides{'abcdefghijklmnopqrstuvwxyz'[ticks % 26] * (ticks // 26 + 1)}"
        text = wording(ticks % 3, topic)
        if what == "lookup":
            await _leave_after(cache.alookup(text, "m"), ticks)
        elif what == "update":
            await _leave_after(cache.aupdate(text, "m", [Generation(text="all")]), ticks)
        else:
            await _leave_after(model.ainvoke(text), ticks)
        with anyio.fail_after(LIMIT):
            assert (await model.ainvoke(text)).text == f"all about {topic}"
            assert (await model.ainvoke(wording(4, topic))).text == f"all about {topic}"
    assert cache.stats().errors == {}


@pytest.mark.parametrize("where", ["memory", "store"])
async def test_a_caller_that_leaves_while_its_vector_is_made_strands_no_lease(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmemo.single_flight.lease.UNBACKED", 3600.0)
    monkeypatch.setattr("llmemo.store_io.leases.manager.LEASE", 3600.0)
    embeddings, gate = Meaning(), Gate()
    store = tmp_path / "cache.db" if where == "store" else None
    with near_cache(store, semantic=semantic(embeddings), lease_timeout=3600) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))
        embeddings.before = gate
        task = asyncio.ensure_future(cache.alookup(wording(1, "tides"), "m"))
        await asyncio.to_thread(gate.reached.wait, LIMIT)
        assert task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        gate.go.set()
        with anyio.fail_after(LIMIT):
            hit = await cache.alookup(wording(1, "tides"), "m")
        assert hit is not None


def test_loops_that_come_and_go_share_one_embedder(cache: LLMCache) -> None:
    certified(cache)
    model = model_of(cache)

    def work(number: int) -> set[str]:
        async def main() -> set[str]:
            texts = [wording(at, f"tides{'ab'[number % 2]}") for at in range(number, number + 4)]
            return {(await model.ainvoke(text)).text for text in texts}

        return asyncio.run(main())

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, range(12), timeout=LIMIT))
    assert all(len(one) == 1 for one in found)
    assert cache.stats().errors == {}
    assert told(cache).hits > 0

"""What the tasks of an event loop look for in one pass: one read, and each its own outcome."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT, FakeStore, Held, answer, keep_busy

from llmemo import LLMCache
from llmemo.concurrency.circuit_breaker import FAILURES_TO_OPEN

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = [f"p{number}" for number in range(64)]


def kept(store: FakeStore, **settings: Any) -> LLMCache:
    """A cache without memory, whose store has an answer to each name."""
    cache = LLMCache(store, max_bytes=0, **settings)
    for name in NAMES:
        cache.update(name, "m", answer(name))
    store.asked.clear()
    return cache


def timers() -> int:
    """How many are to come in the running loop."""
    scheduled: Any = asyncio.get_running_loop()
    return sum(not timer.cancelled() for timer in scheduled._scheduled)


@pytest.mark.anyio
async def test_one_read_and_one_timer_for_a_pass() -> None:
    held = Held("get")
    with kept(store := FakeStore(held), store_timeout=LIMIT) as cache:
        before = timers()
        # Some twice, and some that there are not.
        asked = [*NAMES, *NAMES[:8], "q0", "q1"]
        looking = [asyncio.ensure_future(cache.alookup(name, "m")) for name in asked]
        await asyncio.to_thread(held.reached.wait, LIMIT)
        assert timers() == before + 1
        held.go.set()
        found = await asyncio.gather(*looking)
        assert found == [*map(answer, NAMES), *map(answer, NAMES[:8]), None, None]
        assert timers() == before
        assert store.sizes("get") == [66]
        # Those of the next pass are another read, and are not kept waiting for more.
        assert await cache.alookup("p5", "m") == answer("p5")
        assert store.sizes("get") == [66, 1]


@pytest.mark.anyio
async def test_who_leaves_takes_nobody_along() -> None:
    held = Held("get")
    with kept(FakeStore(held), store_timeout=LIMIT) as cache:
        looking = [asyncio.ensure_future(cache.alookup(name, "m")) for name in NAMES]
        await asyncio.to_thread(held.reached.wait, LIMIT)
        for task in looking[::3]:
            task.cancel()
        await asyncio.wait(looking[::3], timeout=LIMIT)
        assert all(task.cancelled() for task in looking[::3])
        held.go.set()
        outcomes = asyncio.gather(*looking, return_exceptions=True)
        found = await asyncio.wait_for(outcomes, LIMIT)
        rest = [
            (name, it) for at, (name, it) in enumerate(zip(NAMES, found, strict=True)) if at % 3
        ]
        assert rest == [(name, answer(name)) for name, _ in rest]


@pytest.mark.anyio
async def test_all_are_given_up_together_and_what_comes_later_is_for_nobody() -> None:
    held = Held("get")
    with kept(FakeStore(held), store_timeout=0.1) as cache:
        start, before = time.monotonic(), timers()
        found = await asyncio.gather(*(cache.alookup(name, "m") for name in NAMES))
        assert 0.07 < time.monotonic() - start < LIMIT
        assert found == [None] * len(NAMES)
        assert timers() == before
        assert cache.stats().errors["store_read_timeout"] == len(NAMES)
        held.go.set()


def test_every_loop_has_its_own_pass() -> None:
    found: dict[int, list[Any]] = {}
    with kept(FakeStore(), store_timeout=LIMIT) as cache:

        async def look(number: int) -> None:
            for _ in range(20):
                mine = NAMES[number::4]
                found[number] = await asyncio.gather(*(cache.alookup(name, "m") for name in mine))
                assert found[number] == [answer(name) for name in mine]

        threads = [
            threading.Thread(target=asyncio.run, args=(look(number),)) for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
    assert len(found) == 4


@pytest.mark.slow
def test_a_loop_that_was_closed_in_between_is_not_kept_nor_waited_for() -> None:
    with kept(store := FakeStore(), store_timeout=LIMIT) as cache:
        loop = asyncio.new_event_loop()
        looking: Any = loop.create_task(cache.alookup("p1", "m"))
        looking._log_destroy_pending = False
        # Its lookup joins a pass, which is not over when the loop ends.
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        assert store.asked == []
        reference = weakref.ref(loop)
        del loop, looking
        gc.collect()
        assert reference() is None
        assert asyncio.run(cache.alookup("p1", "m")) == answer("p1")
        assert store.sizes("get") == [1]


@pytest.mark.slow
def test_loops_that_close_before_there_is_an_outcome_are_not_kept() -> None:
    held = Held("get")
    with kept(FakeStore(held), store_timeout=LIMIT) as cache:
        references = []

        async def leave() -> None:
            references.append(weakref.ref(asyncio.get_running_loop()))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(cache.alookup("p1", "m"), 0.01)

        for _ in range(5):
            asyncio.run(leave())
        held.go.set()
        # One more, behind them: the store is done with theirs.
        assert cache.lookup("p1", "m") == answer("p1")
        gc.collect()
        assert [reference() for reference in references] == [None] * 5


@pytest.mark.slow
@pytest.mark.anyio
@pytest.mark.parametrize("later", range(3))
async def test_a_loop_that_is_busy_costs_no_hit(later: int) -> None:
    with kept(FakeStore(), store_timeout=0.5) as cache:
        looking = (cache.alookup(name, "m") for name in NAMES)
        *found, _ = await asyncio.gather(*looking, keep_busy(0.6, later))
        assert found == [answer(name) for name in NAMES]
        assert cache.stats().errors == {}


@pytest.mark.anyio
async def test_a_pass_that_the_breaker_overtakes_is_not_sent() -> None:
    with kept(store := FakeStore(), store_timeout=LIMIT) as cache:
        looking = [asyncio.ensure_future(cache.alookup(name, "m")) for name in NAMES]
        await asyncio.sleep(0)
        durable = cache._tiers.durable
        assert durable is not None
        durable.health.failed("read", OSError("broken"), FAILURES_TO_OPEN)
        assert await asyncio.wait_for(asyncio.gather(*looking), LIMIT) == [None] * len(NAMES)
        assert store.asked == []
        # None of them has waited.
        assert cache.stats().errors == {"store_read": FAILURES_TO_OPEN, "store_shut": len(NAMES)}


@pytest.mark.anyio
async def test_what_counting_does_wrong_is_not_for_those_who_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with kept(FakeStore(), store_timeout=LIMIT) as cache:
        durable = cache._tiers.durable
        assert durable is not None
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
        monkeypatch.setattr(durable.health, "reads_done", fail)
        assert await asyncio.wait_for(cache.alookup("p1", "m"), LIMIT) == answer("p1")
        assert len(told) == 1


@pytest.mark.slow
def test_a_cache_that_is_dropped_needs_no_collector() -> None:
    cache = kept(FakeStore(), store_timeout=LIMIT)

    assert asyncio.run(cache.alookup("p1", "m")) == answer("p1")
    durable = cache._tiers.durable
    assert durable is not None
    reference = weakref.ref(durable)
    del durable
    gc.collect()
    gc.disable()
    try:
        del cache
        assert reference() is None
    finally:
        gc.enable()


@pytest.mark.anyio
async def test_who_looks_while_the_cache_closes_misses_and_nothing_is_amiss() -> None:
    cache = kept(FakeStore())
    looking = asyncio.ensure_future(cache.alookup("p1", "m"))
    await asyncio.sleep(0)
    cache.close()
    assert await looking is None
    assert cache.stats().errors == {}
    assert cache.stats().misses == 1


class Odd(FakeStore):
    """Says something at once that is no answer."""

    said: Any = None

    def get_at_once(self, keys: Sequence[bytes]) -> Any:
        if isinstance(self.said, BaseException):
            raise self.said
        return self.said


@pytest.mark.anyio
@pytest.mark.parametrize("said", [7, True, "x", [1], KeyError("x"), asyncio.CancelledError()])
async def test_what_is_no_answer_at_once_is_asked_for_again(said: object) -> None:
    with kept(store := Odd(), store_timeout=LIMIT) as cache:
        store.said = said
        looking = asyncio.gather(*(cache.alookup(name, "m") for name in NAMES))
        assert await asyncio.wait_for(looking, LIMIT) == [answer(name) for name in NAMES]
        assert cache.stats().errors == {}


def test_a_loop_may_go_on_in_another_thread_and_come_back() -> None:
    held = Held("get")
    with kept(FakeStore(held), store_timeout=LIMIT) as cache:
        loop = asyncio.new_event_loop()
        first = loop.create_task(cache.alookup("p1", "m"))
        loop.call_soon(loop.stop)
        loop.run_forever()

        async def reached() -> None:
            await asyncio.to_thread(held.reached.wait, LIMIT)

        other = threading.Thread(target=loop.run_until_complete, args=(reached(),))
        other.start()
        other.join(LIMIT)
        # The pass was sent there: who comes now is too late for it.
        second = loop.create_task(cache.alookup("p2", "m"))
        loop.call_later(0.01, held.go.set)
        found = loop.run_until_complete(asyncio.wait_for(asyncio.gather(first, second), LIMIT))
        assert list(found) == [answer("p1"), answer("p2")]
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@pytest.mark.anyio
async def test_a_pass_that_cannot_be_sent_is_a_miss_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with LLMCache(FakeStore(), store_timeout=LIMIT) as cache:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            looking = (cache.alookup(name, "m") for name in NAMES[:3])
            assert await asyncio.gather(*looking) == [None] * 3
        assert cache.stats().errors == {"store_read": 3}
        await cache.aupdate("p0", "m", answer("p0"))
        assert await cache.alookup("p0", "m") == answer("p0")

"""Answers that expire: refreshed early by one caller, served stale where the model fails."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT, Clock, answer
from support.figures import tell
from support.scripted import Scripted, queued, said

from llmemo import ConfigurationError, LLMCache, track

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeCache = Callable[..., LLMCache]

pytestmark = pytest.mark.anyio


def reasons(cache: LLMCache, count: int) -> list[str | None]:
    """Why each of so many lookups by hand missed; None where it hit."""
    with track() as tracker:
        for _ in range(count):
            cache.lookup("p", "m")
    return [event.reason for event in tracker.events]


def computed(cache: LLMCache, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Have the answer computed by a model that takes so long."""
    elapsed = [0.0]
    # Of these two modules alone: `time` itself is other threads', too.
    clock = SimpleNamespace(monotonic=lambda: elapsed[0])
    with monkeypatch.context() as patched:
        patched.setattr("llmemo.single_flight.lease.time", clock)
        patched.setattr("llmemo.pipeline.answer_record.time", clock)
        assert cache.lookup("p", "m") is None
        elapsed[0] = seconds
        cache.update("p", "m", answer("p"))


class TestEarlyRefresh:
    def test_one_caller_is_told_and_the_others_keep_hitting(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        cache = LLMCache(ttl=100, clock=clock)
        computed(cache, monkeypatch, 2.0)
        assert reasons(cache, 1000) == [None] * 1000  # 50 times as long before the end: e^-50
        clock.now += 99.9
        told = reasons(cache, 1000)
        assert told.count("early") == 1
        assert told.count(None) == 999
        # He fails: another is told.
        cache._tiers.flights.lease(cache._tiers.key("p", "m")).end(failed=True)  # type: ignore[union-attr, arg-type]
        assert reasons(cache, 1000).count("early") == 1
        # He succeeds: nobody is told for a while.
        cache.update("p", "m", answer("p"))
        assert reasons(cache, 1000) == [None] * 1000

    @pytest.mark.slow
    def test_it_comes_at_about_the_time_the_model_takes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # For 1,000 reads a second and a model of 1 s, half of all periods begin to be refreshed
        # between 6 and 9 s before the end: ln(1000) = 6.9, and Euler's 0.6 more on average.
        begun = []
        for period in range(25):
            clock = Clock()
            # Each at another time: chance depends on it, and on what a process has in common.
            clock.now = made = Clock.now + 1000.1 * period
            cache = LLMCache(ttl=100, clock=clock)
            computed(cache, monkeypatch, 1.0)
            clock.now += 88.0
            while "early" not in reasons(cache, 10):
                clock.now += 0.01
            begun.append(100 - (clock.now - made))
        assert 6 < sum(begun) / len(begun) < 9

    def test_who_did_not_ask_for_it_gets_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for settings in ({"early_refresh": 0}, {"single_flight": False, "early_refresh": 0}):
            clock = Clock()
            cache = LLMCache(ttl=100, clock=clock, **settings)  # type: ignore[arg-type]
            computed(cache, monkeypatch, 2.0)
            clock.now += 99.99
            assert reasons(cache, 1000) == [None] * 1000

    @pytest.mark.slow
    async def test_readers_over_many_periods_meet_at_most_two_refreshes_each(self) -> None:
        # 1,000 reads a second over ten periods that are ten times as long as the model takes. The
        # clock is the test's; the model's time is real.
        clock = Clock()
        cache = LLMCache(ttl=0.2, clock=clock)
        longest = 0.0

        async def act(text: str) -> str:
            await asyncio.sleep(0.02)
            return "fresh"

        model = Scripted(act=act, cache=cache)
        await model.ainvoke("Hello.")
        loop = asyncio.get_running_loop()
        start = loop.time()
        running: set[asyncio.Future[Any]] = set()
        for _ in range(2000):
            clock.now = Clock.now + (loop.time() - start)
            before = loop.time()
            task = asyncio.ensure_future(model.ainvoke("Hello."))
            running.add(task)
            task.add_done_callback(running.discard)
            await asyncio.sleep(0.001)
            longest = max(longest, loop.time() - before)
        await asyncio.gather(*running)
        periods = (loop.time() - start) / 0.2
        stats = cache.stats()
        tell(
            "readers of what expires",
            reads=2000,
            periods=periods,
            refreshes_a_period=(len(model.asked) - 1) / periods,
            waited=stats.coalesced,
        )
        assert len(model.asked) <= 2 * periods + 2
        assert stats.coalesced <= 0.1 * stats.hits


class TestStaleIfError:
    async def test_who_waits_for_a_model_that_fails_gets_the_old_answer(
        self, make_cache: MakeCache
    ) -> None:
        clock = Clock()
        cache = make_cache(ttl=10, stale_if_error=60, clock=clock)
        outcomes: asyncio.Queue[Any] = asyncio.Queue()

        async def act(text: str) -> str:
            outcome = await outcomes.get()
            if isinstance(outcome, Exception):
                raise outcome
            return str(outcome)

        model = Scripted(act=act, cache=cache)
        outcomes.put_nowait("old")
        await model.ainvoke("Hello.")
        clock.now += 20
        with track() as tracker:
            calls = [asyncio.ensure_future(model.ainvoke("Hello.")) for _ in range(5)]
            await queued(cache, 4)
            outcomes.put_nowait(ValueError("down"))
            results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), LIMIT)
            assert sum(isinstance(each, ValueError) for each in results) == 1
            assert [said(each) for each in results if not isinstance(each, Exception)] == [
                "old"
            ] * 4
            # Who comes after is not sent to a model that has just failed.
            assert said(await model.ainvoke("Hello.")) == "old"
        assert len(model.asked) == 2
        assert [event.is_stale for event in tracker.events if event.outcome == "hit"] == [True] * 5
        assert {event.age for event in tracker.events if event.is_stale} == {20.0}
        assert (cache.stats().stale, cache.stats().hits) == (5, 5)

    async def test_after_a_while_the_model_is_tried_again(
        self, make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        cache = make_cache(ttl=10, stale_if_error=60, clock=clock)
        outcomes: list[Any] = ["old", ValueError("down"), "new"]

        def act(text: str) -> str:
            outcome = outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return str(outcome)

        model = Scripted(act=act, cache=cache)
        await model.ainvoke("Hello.")
        clock.now += 20
        with pytest.raises(ValueError, match="down"):
            await model.ainvoke("Hello.")
        assert said(await model.ainvoke("Hello.")) == "old"
        monkeypatch.setattr("llmemo.pipeline.coordinate.STALE_PAUSE", 0.0)
        assert said(await model.ainvoke("Hello.")) == "new"
        assert said(await model.ainvoke("Hello.")) == "new"
        assert len(model.asked) == 3

    async def test_not_for_longer_than_was_said(self, make_cache: MakeCache) -> None:
        clock = Clock()
        cache = make_cache(ttl=10, stale_if_error=60, clock=clock)
        fails = False

        def act(text: str) -> str:
            if fails:
                raise ValueError("down")
            return "old"

        model = Scripted(act=act, cache=cache)
        await model.ainvoke("Hello.")
        fails = True
        clock.now += 71
        for _ in range(3):
            with pytest.raises(ValueError, match="down"):
                await model.ainvoke("Hello.")
        assert cache.stats().stale == 0

    async def test_without_it_a_failure_is_a_failure(self, make_cache: MakeCache) -> None:
        clock = Clock()
        cache = make_cache(ttl=10, clock=clock)
        outcomes: list[Any] = ["old"]
        model = Scripted(act=lambda text: outcomes.pop(), cache=cache)
        await model.ainvoke("Hello.")
        clock.now += 20
        for _ in range(2):
            with pytest.raises(IndexError):
                await model.ainvoke("Hello.")

    def test_an_old_row_stays_in_the_file_for_so_long(self, make_cache: MakeCache) -> None:
        clock = Clock()
        cache = make_cache(ttl=10, stale_if_error=60, clock=clock)
        if cache._tiers.store is None:
            return
        assert cache._tiers.store.grace == 60

    def test_it_needs_leases(self) -> None:
        with pytest.raises(ConfigurationError, match="stale_if_error needs single_flight"):
            LLMCache(stale_if_error=1, single_flight=False)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("early_refresh", -1),
        ("early_refresh", float("inf")),
        ("stale_if_error", "1"),
        ("lease_timeout", 0),
        ("single_flight", 1),
        ("ttl_jitter", 1.5),
        ("namespace_ttl", {"a": 0}),
    ],
)
def test_bad_settings_are_errors_at_once(name: str, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        LLMCache(**{name: wrong})

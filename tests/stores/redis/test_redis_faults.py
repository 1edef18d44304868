"""A Redis server in trouble is in nobody's way, and no trouble of a connection mixes answers up."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from support.counting_model import CountingModel
from support.doubles import LIMIT, ROUNDS, answer, lines
from support.figures import tell
from support.proxy_actions import (
    Action,
    Answer,
    Command,
    CutReply,
    CutRequest,
    Delay,
    Hold,
    Swap,
    by_chance,
)
from support.redis_world import PASSWORD, TROUBLES, World
from typing_extensions import override

from llmemo import LLMCache
from llmemo.concurrency import circuit_breaker
from llmemo.concurrency.circuit_breaker import FAILURES_TO_OPEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.messages import BaseMessage

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TIMEOUT = 0.3
"""Seconds that a call waits for the store, at most."""
SLACK = 0.5
"""More seconds that a busy machine may take for it."""
CALLS, CALLS_EACH = 40, 15
AGAIN_WITHIN = 5.0
"""Seconds from the end of the trouble until there are hits."""


class Echo(CountingModel):
    """Answers each prompt with what no other prompt gets."""

    @override
    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.calls.append(len(messages))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(said(messages[-1].text)))])


def said(prompt: object) -> str:
    return f"said {prompt}"


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture
def world(running: World) -> World:
    running.fresh()
    return running


async def ask(model: Echo, prompt: str, *, is_sync: bool = False) -> float:
    """One call, whose answer has to be right. Returns the seconds that it took."""
    before = time.perf_counter()
    reply = model.invoke(prompt) if is_sync else await model.ainvoke(prompt)
    seconds = time.perf_counter() - before
    assert reply.content == said(prompt)
    return seconds


async def until_hit(model: Echo) -> float:
    """Ask for what is stored until it is a hit. Returns the seconds that it took."""
    began = time.perf_counter()
    while time.perf_counter() < began + LIMIT:
        before = len(model.calls)
        await ask(model, "old 1")
        if len(model.calls) == before:
            return time.perf_counter() - began
        await asyncio.sleep(0.02)
    raise AssertionError("there are no hits any more")


WAYS = [*((trouble, "async") for trouble in TROUBLES), ("frozen", "sync")]


@pytest.mark.parametrize(("trouble", "way"), WAYS, ids=lambda part: part.replace(" ", "-"))
async def test_no_trouble_reaches_a_caller_and_it_is_over_when_it_is_over(
    world: World, trouble: str, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    begin, end, is_readable = TROUBLES[trouble]
    is_sync = way == "sync"
    async with LLMCache(world.url, max_bytes=0, store_timeout=LIMIT) as before:
        for number in range(5):
            await ask(Echo(cache=before), f"old {number}")
    async with LLMCache(world.url, max_bytes=0, store_timeout=TIMEOUT) as cache:
        model = Echo(cache=cache)
        await until_hit(model)
        model.calls.clear()
        begin(world)
        try:
            took = [await ask(model, f"old {n % 5}", is_sync=is_sync) for n in range(CALLS)]
            assert len(model.calls) == (0 if is_readable else CALLS)
            took += [await ask(model, f"new {n}", is_sync=is_sync) for n in range(CALLS)]
            for _ in range(ROUNDS - 1):
                took += [await ask(model, "old 1"), await ask(model, f"new {time.time()}")]
                await asyncio.sleep(0.2)
        finally:
            end(world)
        again = await until_hit(model)
        said_lines = lines(caplog)
        closing = time.perf_counter()
    tell(f"{trouble}, {way}: longest call {max(took):.2f} s, hits again after {again:.2f} s")
    assert max(took) < TIMEOUT + SLACK
    assert sum(seconds > TIMEOUT / 2 for seconds in took[:CALLS]) <= FAILURES_TO_OPEN
    assert not [seconds for seconds in took[CALLS:] if seconds > TIMEOUT / 2]
    assert again < AGAIN_WITHIN
    assert time.perf_counter() - closing < 2
    assert len(said_lines) <= 4, "each kind is said once"
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize("trouble", ["frozen", "LOADING"])
async def test_what_was_written_meanwhile_is_stored_when_it_is_over(
    world: World, trouble: str
) -> None:
    begin, end, _ = TROUBLES[trouble]
    async with LLMCache(world.url, max_bytes=0, store_timeout=TIMEOUT) as cache:
        await cache.aupdate("old", "m", answer("old"))
        begin(world)
        try:
            for number in range(2 * FAILURES_TO_OPEN):
                await cache.aupdate(f"p{number}", "m", answer(f"p{number}"))
        finally:
            end(world)
    assert cache.stats().errors.get("store_refused") is None
    async with LLMCache(world.url, max_bytes=0) as other:
        for number in range(2 * FAILURES_TO_OPEN):
            assert await other.alookup(f"p{number}", "m") == answer(f"p{number}")


def is_about_answers(command: Command) -> bool:
    """Whether it names an answer: most of the others are about the streams of changes."""
    return any(b":v:" in word for word in command.words)


class Once:
    """A fault of the first command that is about answers; then of none."""

    def __init__(self, action: Action, name: str | None = None) -> None:
        self.action, self.name, self.is_done = action, name, False

    def __call__(self, command: Command) -> Action | None:
        if self.is_done or not is_about_answers(command) or self.name not in (None, command.name):
            return None
        self.is_done = True
        return self.action


CUTS: tuple[Action, ...] = (
    *(CutReply(part / 10) for part in range(10)),
    *(CutRequest(part / 5) for part in range(5)),
)


async def test_a_connection_that_is_cut_is_replaced_and_no_caller_is_told(world: World) -> None:
    async with LLMCache(world.url, max_bytes=0, store_timeout=LIMIT) as cache:
        for number, cut in enumerate(CUTS):
            key = f"p{number}"
            world.proxy.fault = writing = Once(cut)
            await cache.aupdate(key, "m", answer(key))
            world.proxy.fault = reading = Once(cut)
            assert await cache.alookup(key, "m") == answer(key)
            assert writing.is_done
            assert reading.is_done
    assert cache.stats().errors == {}


@pytest.mark.parametrize("code", ["NOSCRIPT No such script", "TRYAGAIN later"])
async def test_an_error_that_says_what_to_do_is_followed(world: World, code: str) -> None:
    async with LLMCache(world.url, max_bytes=0, store_timeout=LIMIT) as cache:
        faults = [Once(Answer(f"-{code}"), "EVALSHA") for _ in range(2)]
        world.proxy.fault = faults[0]
        await cache.aupdate("p", "m", answer("p"))
        world.proxy.fault = faults[1]
        assert await cache.alookup("q", "m") is None
        world.proxy.fault = reading = Once(Answer("-TRYAGAIN later"), "MGET")
        assert await cache.alookup("p", "m") == answer("p")
        assert all(fault.is_done for fault in (*faults, reading))
    assert cache.stats().errors == {}


async def test_a_hit_costs_the_server_no_script(world: World) -> None:
    async with LLMCache(world.url, max_bytes=0, store_timeout=LIMIT) as cache:
        await cache.aupdate("p", "m", answer("p"))
        seen: list[str] = []

        def note(command: Command) -> None:
            if is_about_answers(command):
                seen.append(command.name)

        world.proxy.fault = note
        assert await cache.alookup("p", "m") == answer("p")
        assert seen == ["MGET"]
        assert await cache.alookup("q", "m") is None
        # With the second, the lease.
        assert seen == ["MGET", "MGET", "EVALSHA"]


KINDS: dict[str, tuple[float, tuple[Action, ...]]] = {
    "all swapped": (1.0, (Swap(),)),
    "swapped": (0.3, (Swap(),)),
    "cut": (0.1, CUTS),
    "delayed": (0.2, (Delay(0.01), Delay(0.05), Delay(1.0))),
    "all kinds": (0.15, (*CUTS, Swap(), Swap(), Swap(), Delay(0.01), Delay(1.0), Hold())),
}


def mixed(dice: random.Random, part: float, *actions: Action) -> Callable[[Command], Action | None]:
    """Faults of a part of the commands about answers, and of few others: these come in dozens."""
    often, rarely = (by_chance(dice, each, *actions) for each in (part, part / 500))
    return lambda command: (often if is_about_answers(command) else rarely)(command)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_caller_gets_the_answer_to_another_request(
    world: World, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The store is asked all the time, whatever comes of it.
    monkeypatch.setattr(circuit_breaker, "FAILURES_TO_OPEN", 10**9)
    seed = random.randrange(2**32) if ROUNDS > 1 else 7
    dice = random.Random(seed)
    caches = [LLMCache(world.url, max_bytes=0, store_timeout=TIMEOUT) for _ in range(2)]
    models = [Echo(cache=cache) for cache in caches]
    part, actions = KINDS[kind]

    async def caller(model: Echo) -> list[float]:
        return [await ask(model, f"p{dice.randrange(12)}") for _ in range(CALLS_EACH)]

    try:
        for _ in range(ROUNDS):
            world.proxy.fault = mixed(dice, part, *actions)
            took = await asyncio.gather(*(caller(model) for model in models for _ in range(6)))
            world.proxy.heal()
            assert max(max(each) for each in took) < TIMEOUT + SLACK, seed
    finally:
        world.proxy.heal()
        for cache in caches:
            await cache.aclose()
    async with LLMCache(world.url, max_bytes=0, store_timeout=LIMIT) as cache:
        last = Echo(cache=cache)
        for number in range(12):
            await ask(last, f"p{number}")
        assert not cache.stats().errors, seed
    # Another guard, behind the store, would have found them too.
    assert not [cache for cache in caches if "value_wrong_key" in cache.stats().errors], seed
    hits = sum(cache.stats().hits for cache in caches)
    tell(f"{kind}: {hits} of {len(models) * 6 * CALLS_EACH * ROUNDS} calls were hits, none wrong")

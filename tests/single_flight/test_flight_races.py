"""Leases that end, or pass from hand to hand, at an awkward moment."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT, answer
from support.scripted import Scripted, said

from llmemo import LLMCache
from llmemo.single_flight.holding import hold, holds_anything

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmemo.langchain.model_runs import Run
    from llmemo.single_flight import holding

pytestmark = pytest.mark.anyio


def flights(cache: LLMCache) -> dict[bytes, Any]:
    assert cache._tiers.flights is not None
    return cache._tiers.flights._flights


def waiters(cache: LLMCache) -> int:
    return sum(len(flight.waiters) for flight in flights(cache).values())


async def ticks(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("passes", [0, 1])
async def test_a_waiter_that_leaves_with_a_lease_hands_it_on_though_its_task_is_kept(
    passes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The traceback of its CancelledError has all that it was given.
    monkeypatch.setattr("llmemo.single_flight.lease.UNBACKED", 10 * LIMIT)
    cache = LLMCache()
    leader = asyncio.create_task(cache.alookup("p", "m"))
    calls = [asyncio.create_task(cache.alookup("p", "m")) for _ in range(3)]
    while waiters(cache) < 3 and not leader.done():  # noqa: ASYNC110
        await asyncio.sleep(0)
    while waiters(cache) == 3:  # noqa: ASYNC110
        await asyncio.sleep(0)
    await ticks(passes)
    calls[0].cancel()
    await asyncio.wait(calls, timeout=LIMIT)
    assert [call.done() for call in calls] == [True] * 3
    assert flights(cache) == {}


async def test_a_lookup_that_is_cancelled_holds_nothing_though_its_task_lives_on(
    tmp_path: Path,
) -> None:
    with LLMCache(tmp_path / "a.db") as cache:
        reached = asyncio.Event()

        async def impatient() -> None:
            lookup = cache.alookup("p", "m")
            # By hand, since wait_for makes a task for it on older Pythons.
            task = asyncio.current_task()
            assert task is not None
            asyncio.create_task(_cancel_at_lease(cache, task))  # noqa: RUF006
            with pytest.raises(asyncio.CancelledError):
                await lookup
            reached.set()
            await asyncio.sleep(LIMIT)

        living = asyncio.create_task(impatient())
        await reached.wait()
        assert flights(cache) == {}
        living.cancel()


async def _cancel_at_lease(cache: LLMCache, task: asyncio.Task[Any]) -> None:
    while not flights(cache):  # noqa: ASYNC110
        await asyncio.sleep(0)
    task.cancel()


async def test_what_a_task_holds_later_keeps_none_of_its_children_from_waiting() -> None:
    cache, go = LLMCache(), asyncio.Event()

    async def act(text: str) -> str:
        await go.wait()
        return f"answer to {text}"

    model = Scripted(act=act, cache=cache)
    await cache.alookup("before", "m")
    await cache.aupdate("before", "m", answer("before"))
    children = [asyncio.create_task(model.ainvoke("Hello.")) for _ in range(20)]
    # Held by this task from now on, by none of them.
    await cache.alookup("mine", "m")
    await ticks()
    assert waiters(cache) == 19
    go.set()
    answers = await asyncio.wait_for(asyncio.gather(*children), LIMIT)
    assert {said(each) for each in answers} == {"answer to Hello."}
    assert model.asked == ["Hello."]


async def test_a_child_holds_what_its_parent_held_when_it_began() -> None:
    cache = LLMCache()
    await cache.alookup("mine", "m")

    async def child() -> bool:
        held = holds_anything()
        await cache.aupdate("mine", "m", answer("mine"))
        return held and not holds_anything()

    assert await asyncio.create_task(child())


@pytest.mark.slow
async def test_a_failure_that_nobody_awaits_is_still_told() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    cache = LLMCache()

    async def fail() -> None:
        await cache.alookup("p", "m")
        raise ValueError("nobody looks")

    task = asyncio.create_task(fail())
    while not task.done():  # noqa: ASYNC110
        await asyncio.sleep(0)
    await ticks()
    assert cache._tiers.flights.failed(  # type: ignore[union-attr]
        cache._tiers.key("p", "m") or b""
    )
    del task
    gc.collect()
    assert [str(context["exception"]) for context in told] == ["nobody looks"]


class Held:
    """Something to hold, which is over or not."""

    has_run = has_ended = False
    older: holding.Held | None = None
    is_settled = False

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over = is_over

    @property
    def is_over(self) -> bool:
        return self._is_over()

    def run_began(self, run: Run) -> None: ...

    def run_ended(self, *, failed: bool) -> None: ...

    def end(self, *, failed: bool) -> None: ...


def test_a_thread_that_looks_at_what_another_holds_takes_nothing_from_it() -> None:
    looked, held = threading.Event(), threading.Event()

    def is_over() -> bool:
        if threading.current_thread() is not threading.main_thread():
            looked.set()
            assert held.wait(LIMIT)
        return looked.is_set()

    def holding() -> None:
        hold(Held(is_over))
        context = contextvars.copy_context()
        looking = threading.Thread(target=context.run, args=(holds_anything,))
        looking.start()
        assert looked.wait(LIMIT)
        hold(Held(lambda: False))
        held.set()
        looking.join(LIMIT)
        assert holds_anything()

    contextvars.Context().run(holding)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_process_holds_nothing() -> None:
    def forked() -> int:
        cache = LLMCache()
        assert cache.lookup("p", "m") is None
        assert holds_anything()
        pid = os.fork()
        if pid == 0:
            os._exit(int(holds_anything()))
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert contextvars.Context().run(forked) == 0

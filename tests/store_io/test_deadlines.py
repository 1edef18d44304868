"""One timer for many callers: each is given up in time, whatever becomes of the others."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import Any

import pytest

from llmemo.concurrency.blocking_future import NotYetError
from llmemo.store_io.calls import Call
from llmemo.store_io.operations import Get


def waiting(seconds: float) -> tuple[Call[Any], asyncio.Task[Any]]:
    call: Call[Any] = Call.awaited(Get([]))
    return call, asyncio.ensure_future(call.wait(seconds))


def timers() -> int:
    """How many are to come in the running loop."""
    scheduled: Any = asyncio.get_running_loop()
    return sum(not timer.cancelled() for timer in scheduled._scheduled)


@pytest.mark.anyio
async def test_those_who_begin_together_share_a_timer_which_goes_with_the_last() -> None:
    before = timers()
    calls = [waiting(100.0) for _ in range(64)]
    await asyncio.sleep(0)
    assert timers() == before + 1
    for index, (call, task) in enumerate(calls):
        assert timers() == before + 1
        if index % 3:
            call.set(index, None)
            assert await task == index
        else:
            task.cancel()
            await asyncio.wait([task])
    assert timers() == before


@pytest.mark.anyio
async def test_each_has_its_own_patience() -> None:
    start = time.monotonic()
    ends: dict[float, float] = {}

    async def end(seconds: float) -> None:
        call: Call[Any] = Call.awaited(Get([]))
        with pytest.raises(NotYetError):
            await call.wait(seconds)
        ends[seconds] = time.monotonic() - start

    patience = [0.3, 0.1, 0.2, 0.0]
    await asyncio.gather(*(end(seconds) for seconds in [*patience, *patience]))
    assert list(ends) == sorted(patience)
    assert all(took >= 0.98 * seconds for seconds, took in ends.items())


@pytest.mark.anyio
async def test_who_comes_later_waits_as_long_as_the_others() -> None:
    _, first = waiting(0.2)
    await asyncio.sleep(0.1)
    start = time.monotonic()
    _, second = waiting(0.2)
    for task in (first, second):
        with pytest.raises(NotYetError):
            await task
    assert time.monotonic() - start >= 0.98 * 0.2


@pytest.mark.anyio
async def test_an_answer_reaches_who_is_still_there_when_others_have_left() -> None:
    calls = [waiting(100.0) for _ in range(3)]
    await asyncio.sleep(0)
    calls[0][1].cancel()
    await asyncio.wait([calls[0][1]])
    late, waits = waiting(100.0)
    await asyncio.sleep(0)
    for call, _ in calls[1:]:
        call.set("here", None)
    late.set("here", None)
    assert [await calls[1][1], await calls[2][1], await waits] == ["here"] * 3


@pytest.mark.slow
def test_a_loop_that_was_closed_is_not_kept() -> None:
    async def leave() -> None:
        _, task = waiting(100.0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    reference = weakref.ref(loop)
    del loop
    gc.collect()
    assert reference() is None

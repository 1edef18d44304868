"""The event loop of uvicorn, whose timers and callbacks come in another order than asyncio's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.doubles import LIMIT, FakeStore, Held, answer, expect_on_disk, keep_busy
from support.scripted import Scripted, said

from llmemo import LLMCache

if TYPE_CHECKING:
    from pathlib import Path

uvloop: Any = pytest.importorskip("uvloop")
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@pytest.mark.slow
async def test_a_service_of_many_callers(tmp_path: Path) -> None:
    assert type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    names = [f"p{number}" for number in range(64)]
    path = tmp_path / "cache.db"
    async with LLMCache(path, max_bytes=0, store_timeout=LIMIT) as cache:
        await asyncio.gather(*(cache.aupdate(name, "m", answer(name)) for name in names))
        for _ in range(5):
            found = await asyncio.gather(*(cache.alookup(name, "m") for name in names))
            assert found == [answer(name) for name in names]
        assert cache.stats().store_hits == 5 * len(names)

        async def act(text: str) -> str:
            await asyncio.sleep(0.05)
            return f"answer to {text}"

        model = Scripted(act=act, cache=cache)
        told = await asyncio.gather(*(model.ainvoke(f"q{number % 4}") for number in range(200)))
        assert [said(each) for each in told] == [
            f"answer to q{number % 4}" for number in range(200)
        ]
        assert len(model.asked) == 4
        assert cache.stats().errors == {}
    expect_on_disk(path, names)


async def test_cancelled_and_too_late(tmp_path: Path) -> None:
    held = Held("get")
    async with LLMCache(FakeStore(held), store_timeout=0.1) as cache:
        looking = [asyncio.ensure_future(cache.alookup(f"p{number}", "m")) for number in range(9)]
        await asyncio.to_thread(held.reached.wait, LIMIT)
        for task in looking[::2]:
            task.cancel()
        outcomes = await asyncio.wait_for(asyncio.gather(*looking, return_exceptions=True), LIMIT)
        assert outcomes[1::2] == [None] * 4
        assert all(isinstance(it, asyncio.CancelledError) for it in outcomes[::2])
        held.go.set()


@pytest.mark.slow
@pytest.mark.parametrize("later", range(3))
async def test_a_loop_that_is_busy_costs_no_hit(later: int) -> None:
    # Timers that are due come before outcomes that are there.
    names = [f"p{number}" for number in range(9)]
    async with LLMCache(FakeStore(), max_bytes=0, store_timeout=0.5) as cache:
        for name in names:
            await cache.aupdate(name, "m", answer(name))
        looking = (cache.alookup(name, "m") for name in names)
        *found, _ = await asyncio.gather(*looking, keep_busy(0.6, later))
        assert found == [answer(name) for name in names]
        assert cache.stats().errors == {}
        if later:  # else the updates are not on their way yet
            updating = [cache.aupdate(name, "m", answer(name)) for name in names]
            await asyncio.gather(*updating, keep_busy(0.6, later))
            assert cache.stats().errors == {}
            assert cache.stats().writes_unconfirmed == 0

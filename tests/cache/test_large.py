"""Large answers and removals: what an event loop notices of them, and what order they keep."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from typing import TYPE_CHECKING, TypeVar

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from support.doubles import FAST, LIMIT, run

from llmemo import LLMCache
from llmemo._core import LARGE, ValueRefused, compress, decode, decompress, encode
from llmemo.keys.request import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

MB = 2**20
BEAT = 0.001
KEY = b"k" * 32
ANSWER = [Generation(text="answer " * (LARGE // 4))]
SMALL = [Generation(text="small")]
FEW = 2
"""Beats that a loop may have had by chance: one that is held up has none at all."""

LATE = 0.025
"""Seconds: what is promised of removals, five times."""


async def watched(work: Awaitable[T]) -> tuple[T, int, float]:
    """What came of work; how often the loop went on meanwhile, and its thread's seconds of work.

    Neither depends on what else the machine does, as the lateness of a beat would:
    `benches/lateness.py` prints that.
    """
    beats, is_over = 0, False

    async def beat() -> None:
        nonlocal beats
        while not is_over:
            await asyncio.sleep(BEAT)
            beats += 1

    beating = asyncio.create_task(beat())
    await asyncio.sleep(5 * BEAT)
    beats, begun = 0, time.thread_time()
    result = await work
    took, went_on = time.thread_time() - begun, beats
    is_over = True
    await beating
    return result, went_on, took


def fill(cache: LLMCache, entries: int) -> None:
    memory = cache._tiers.memory
    for number in range(entries):
        prompt = str(number)
        key = memory.key(Request(prompt, "m"), "")
        memory.put(prompt, "m", "", key, encode(SMALL, key))


@contextlib.contextmanager
def busy(cache: LLMCache) -> Iterator[threading.Event]:
    """Keep the thread for large answers busy until the event is set."""
    go, job = threading.Event(), cache._tiers.large_writes
    waiting = threading.Thread(target=job.wait, args=[lambda: go.wait(LIMIT)])
    waiting.start()
    while job.doing is None:
        time.sleep(0)
    try:
        yield go
    finally:
        go.set()
        waiting.join()


REMOVALS: dict[str, Callable[[LLMCache], Awaitable[object]]] = {
    "clear": lambda cache: cache.aclear(),
    "all of a namespace": lambda cache: cache.ainvalidate(namespace=""),
    "none, by age": lambda cache: cache.ainvalidate(older_than=1_000),
}


@pytest.mark.parametrize("name", REMOVALS)
def test_a_large_removal_does_not_hold_the_event_loop(name: str) -> None:
    entries = 150_000
    with LLMCache(max_bytes=2**30) as cache:
        fill(cache, entries)
        removed, beats, took = asyncio.run(watched(REMOVALS[name](cache)))
        left = entries if "none" in name else 0
        assert cache.stats().entries == left
        assert removed in (None, entries - left)
    # A beat takes some 30 µs.
    assert took - 0.0001 * beats < LATE
    if "all" in name:
        assert beats > 20


def test_many_small_answers_make_room_for_a_large_one_in_steps() -> None:
    with LLMCache(max_bytes=80 * MB, admit=None) as cache:
        fill(cache, 120_000)
        assert cache.stats().evictions == 0
        large = [Generation(text="x" * (48 * MB))]
        _, beats, _ = asyncio.run(watched(cache.aupdate("p", "m", large)))
        after = cache.stats()
        assert after.evictions > 10_000
        assert after.bytes <= 80 * MB
        assert cache.lookup("p", "m") == large
    assert beats > 20


ANSWERS: dict[str, Callable[[], list[Generation]]] = {
    "text": lambda: [Generation(text="word " * (48 * MB // 5))],
    "not ASCII": lambda: [Generation(text="wörd € " * (24 * MB // 7))],
    "a message": lambda: [ChatGeneration(message=AIMessage("word " * (24 * MB // 5)))],
    "many values": lambda: [
        Generation(
            text="x", generation_info={"p": [{"a": n, "b": [str(n)]} for n in range(150_000)]}
        )
    ],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_large_answer_does_not_hold_the_event_loop(name: str) -> None:
    answer = ANSWERS[name]()
    with LLMCache(max_bytes=2**30) as cache:
        # The thread is started, and what it takes is imported.
        asyncio.run(cache.aupdate("q", "m", ANSWER))
        _, beats, _ = asyncio.run(watched(cache.aupdate("p", "m", answer)))
        hit, beats_of_hit, _ = asyncio.run(watched(cache.alookup("p", "m")))
        assert cache.stats().memory_hits == 1
    assert hit == answer
    assert beats > FEW
    assert beats_of_hit > FEW


def test_a_large_prompt_does_not_hold_the_event_loop() -> None:
    prompt = "word " * (48 * MB // 5)
    with LLMCache() as cache:
        asyncio.run(cache.aupdate("q", "m", ANSWER))
        for work in (cache.alookup, cache.aupdate, cache.alookup, cache.adelete):
            rest = [SMALL] if work == cache.aupdate else []
            _, beats, _ = asyncio.run(watched(work(prompt, "m", *rest)))
            assert beats > FEW
        stats = cache.stats()
        assert (stats.memory_hits, stats.misses, stats.entries) == (1, 1, 1)


def test_no_thread_is_started_for_what_is_small() -> None:
    def threads() -> int:
        asides = cache._tiers.large_reads, cache._tiers.large_writes
        return sum(aside.is_started for aside in asides)

    async def use(answer: list[Generation]) -> None:
        await cache.aupdate("p", "m", answer)
        assert await cache.alookup("p", "m") == answer
        await cache.ainvalidate(namespace="")

    with LLMCache() as cache:
        asyncio.run(use(SMALL))
        assert threads() == 0
        asyncio.run(use(ANSWER))
        assert threads() == 2


REMOVE: dict[str, Callable[[LLMCache], Awaitable[object]]] = {
    "clear": lambda cache: cache.aclear(),
    "invalidate": lambda cache: cache.ainvalidate(namespace=""),
    "delete": lambda cache: cache.adelete("p", "m"),
    "clear, blocking": lambda cache: asyncio.to_thread(cache.clear),
}


@pytest.mark.parametrize("name", REMOVE)
@pytest.mark.parametrize("has_store", [False, True])
def test_a_removal_does_not_overtake_a_large_answer(
    name: str, tmp_path: Path, *, has_store: bool
) -> None:
    path = tmp_path / "a.db" if has_store else None
    with LLMCache(path, store_timeout=LIMIT) as cache:

        async def main() -> None:
            with busy(cache) as go:
                update = asyncio.create_task(cache.aupdate("p", "m", ANSWER))
                await asyncio.sleep(0)
                removal = asyncio.ensure_future(REMOVE[name](cache))
                await asyncio.sleep(0.01)
                assert not removal.done()
                go.set()
                await asyncio.wait_for(asyncio.gather(update, removal), LIMIT)
            assert await cache.alookup("p", "m") is None

        asyncio.run(main())
        assert cache.stats().entries == 0


@pytest.mark.parametrize("has_store", [False, True])
def test_a_small_answer_does_not_overtake_a_large_one(tmp_path: Path, *, has_store: bool) -> None:
    path = tmp_path / "a.db" if has_store else None
    with LLMCache(path, store_timeout=LIMIT) as cache:

        async def main() -> None:
            with busy(cache) as go:
                first = asyncio.create_task(cache.aupdate("p", "m", ANSWER))
                await asyncio.sleep(0)
                second = asyncio.create_task(cache.aupdate("p", "m", SMALL))
                await asyncio.sleep(0)
                # Another request has nothing to wait for.
                await asyncio.wait_for(cache.aupdate("other", "m", SMALL), LIMIT)
                go.set()
                await asyncio.gather(first, second)

        asyncio.run(main())
        assert cache.lookup("p", "m") == SMALL
    if has_store:
        with LLMCache(path) as cache:
            assert cache.lookup("p", "m") == SMALL


def test_an_update_whose_caller_has_left_is_finished(tmp_path: Path) -> None:
    # Nothing fits into memory: the waiter is served by the update alone.
    with LLMCache(tmp_path / "a.db", max_bytes=10_000, store_timeout=LIMIT) as cache:

        async def main() -> None:
            # A task that is begun by the holder of a lease would not wait.
            apart = contextvars.copy_context()
            assert await cache.alookup("p", "m") is None
            with busy(cache) as go:
                update = asyncio.create_task(cache.aupdate("p", "m", ANSWER))
                waiter = apart.run(asyncio.create_task, cache.alookup("p", "m"))
                await asyncio.sleep(0)
                update.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await update
                go.set()
                assert await asyncio.wait_for(waiter, LIMIT) == ANSWER

        asyncio.run(main())
    with LLMCache(tmp_path / "a.db") as cache:
        assert cache.lookup("p", "m") == ANSWER


def test_a_users_function_may_use_the_cache_while_a_large_answer_is_kept() -> None:
    def admit(generations: object) -> bool:
        if generations is not SMALL:
            cache.update("q", "m", SMALL)
            cache.clear()
            cache.update("p", "m", SMALL)
        return True

    with LLMCache(admit=admit) as cache:
        keeping = threading.Thread(
            target=lambda: asyncio.run(cache.aupdate("large", "m", ANSWER)), daemon=True
        )
        keeping.start()
        keeping.join(LIMIT)
        assert not keeping.is_alive()
        found = [cache.lookup(prompt, "m") for prompt in ("q", "p", "large")]
        assert found == [None, SMALL, ANSWER]


LATER = """
async def main():
    cache = opened()
    update = asyncio.create_task(cache.aupdate("p", "m", [Generation(text="x" * 20_000_000)]))
    await asyncio.sleep(0)
    update.cancel()

asyncio.run(main())
"""

FORKED = """
LARGE = [Generation(text="x" * 1_000_000)]
cache = LLMCache(path, store_timeout=60)
asyncio.run(cache.aupdate("p", "m", LARGE))
child = os.fork()
if not child:
    async def main():
        assert await cache.alookup("p", "m") == LARGE
        await cache.aupdate("q", "m", LARGE)
    asyncio.run(main())
    assert cache.close() == 0
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert asyncio.run(cache.alookup("q", "m")) == LARGE
"""


@pytest.mark.parametrize("program", [LATER, FORKED], ids=["exit", "fork"])
def test_what_was_begun_is_finished_at_exit_and_a_child_begins_anew(
    program: str, tmp_path: Path
) -> None:
    assert run(program, tmp_path / "a.db", python=FAST) == set()
    with LLMCache(tmp_path / "a.db", store_timeout=LIMIT) as cache:
        assert cache.lookup("p", "m") is not None


PIECES = 128 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("end", ["", "é", "€", "😀", "\ud800", "e\ud83d"])
@pytest.mark.parametrize("fill", ["a", "é", "€", "😀"])
@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_long_texts_come_back_by_pieces(fill: str, end: str, shift: int) -> None:
    text = "x" * shift + fill * (3 * PIECES - shift) + end
    for answer in (
        [Generation(text=text)],
        [ChatGeneration(message=AIMessage(text))],
    ):
        value = encode(answer, KEY)
        assert decode(value, KEY) == answer
        assert decode(decompress(compress(value)), KEY) == answer
        assert encode(answer, KEY, at_once=True) is None
        if len(answer) == 1 and type(answer[0].text) is not str:
            # LangChain made it from the message, as it does since 1.1: it is said once.
            assert len(value) < 1.5 * len(text.encode("utf-8", "surrogatepass"))


def test_a_text_too_long_for_a_value_is_not_even_read() -> None:
    with pytest.raises(ValueRefused, match="too_large"):
        encode([Generation(text="é" * (64 * MB + 1))], KEY)

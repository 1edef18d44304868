"""Blocks of options that hold in another context than their caller believes: seen, said once."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest
from langchain_core.outputs import Generation
from support.doubles import LIMIT

from llmemo import LLMCache, NamespaceRequiredError, options, track
from llmemo.config import misplaced_options
from llmemo.config.options import REQUIRED, current, in_force
from llmemo.telemetry.stats import Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def fresh_tally(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said a moment ago, in another test, would not be said again."""
    monkeypatch.setattr(misplaced_options, "tally", Tally())


@pytest.fixture
def cache() -> LLMCache:
    """Has an answer in the namespaces "", "a" and "b", which is the name."""
    cache = LLMCache()
    for name in ("", "a", "b"):
        with options(namespace=name):
            cache.update("p", "m", [Generation(text=f"of {name}")])
    return cache


def served(cache: LLMCache) -> Any:
    """Whose answer a lookup gets."""
    hit = cache.lookup("p", "m")
    return hit and hit[0].text.removeprefix("of ")


def holding(name: str) -> Iterator[None]:
    with options(namespace=name):
        yield


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "llmemo"]


@contextlib.asynccontextmanager
async def in_threadpool(block: Any) -> AsyncIterator[None]:
    """As `fastapi.concurrency.contextmanager_in_threadpool` runs a sync dependency."""
    await anyio.to_thread.run_sync(block.__enter__)
    yield
    await anyio.to_thread.run_sync(block.__exit__, None, None, None)


async def test_a_sync_dependency_of_a_framework_is_said_once(
    cache: LLMCache, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        async with in_threadpool(contextmanager(holding)("a")):
            assert served(cache) == ""
    async with in_threadpool(options(namespace="a")):
        assert current.get() is None
    assert cache.stats().errors == {"options_elsewhere": 4}
    (line,) = lines(caplog)
    assert "`async def` dependency" in line
    assert "docs/namespaces.md" in line
    assert LLMCache().stats().errors == {}  # one that was not there
    assert in_force() is None


async def test_where_a_namespace_is_required_it_raises() -> None:
    cache = LLMCache(namespace=REQUIRED)
    async with in_threadpool(contextmanager(holding)("a")):
        with pytest.raises(NamespaceRequiredError):
            await cache.alookup("p", "m")
    assert cache.stats().errors == {"options_elsewhere": 1}


async def test_what_works_is_not_spoken_of(
    cache: LLMCache, caplog: pytest.LogCaptureFixture
) -> None:
    @contextlib.asynccontextmanager
    async def dependency(name: str) -> AsyncIterator[None]:
        with options(namespace=name):
            yield

    async with dependency("a"):
        assert served(cache) == "a"
        assert await anyio.to_thread.run_sync(served, cache) == "a"
        assert await asyncio.create_task(asyncio.to_thread(served, cache)) == "a"
        after = contextvars.copy_context()
    with contextmanager(holding)("b"), track() as tracker:
        assert served(cache) == "b"
    assert tracker.hits == 1
    # A task that was begun inside goes on for its tenant.
    assert after.run(served, cache) == "a"
    with contextlib.ExitStack() as stack, options(namespace="b"):
        stack.enter_context(options(namespace="a"))
        stack.enter_context(options(ttl=5))
        stack.close()
        assert served(cache) == "b"
    # A context may go from thread to thread.
    context, block = contextvars.copy_context(), options(namespace="a")
    context.run(block.__enter__)
    thread = threading.Thread(target=context.run, args=(block.__exit__,))
    thread.start()
    thread.join(LIMIT)
    assert context.run(current.get) is None
    # Nobody is served under these: a block that makes no call.
    list(holding("a"))
    assert (cache.stats().errors, lines(caplog)) == ({}, [])


@pytest.mark.slow
async def test_a_generator_that_is_not_read_to_its_end_lets_go_of_its_reader(
    cache: LLMCache, caplog: pytest.LogCaptureFixture
) -> None:
    async def asynchronous() -> AsyncIterator[str]:
        with options(namespace="a"):
            yield "one"
            yield "two"

    async for _ in asynchronous():
        child = contextvars.copy_context()
        break
    gc.collect()
    await asyncio.sleep(0)  # asyncio closes it in a task of its own
    await asyncio.sleep(0)
    assert served(cache) == ""
    assert current.get() is None
    assert child.run(served, cache) == "a"
    assert child.run(served, cache) == "a"
    assert (cache.stats().errors, lines(caplog)) == ({}, [])


async def test_an_async_generator_that_is_closed_by_another_task_is_not_spoken_of(
    cache: LLMCache, caplog: pytest.LogCaptureFixture
) -> None:
    # As asyncio closes those that a client's disconnection leaves open, in whatever context.
    async def asynchronous() -> AsyncIterator[Any]:
        with options(namespace="a"):
            yield served(cache)

    generator: Any = asynchronous()
    assert await asyncio.create_task(generator.__anext__()) == "a"
    await asyncio.create_task(generator.aclose())
    assert (cache.stats().errors, lines(caplog), current.get()) == ({}, [], None)


async def test_a_block_that_is_left_in_another_thread_ends_where_it_began(cache: LLMCache) -> None:
    with options(namespace="b"):
        stack = contextlib.ExitStack()
        stack.enter_context(options(namespace="a"))
        with options(ttl=5):
            assert served(cache) == "a"
            thread = threading.Thread(target=stack.close)
            thread.start()
            thread.join(LIMIT)
            assert served(cache) == "b"
            holds = in_force()
            assert holds is not None
            assert holds.ttl == 5
    assert current.get() is None
    # The thread knew nothing of the block: the calls in it may have been without.
    assert cache.stats().errors == {"options_elsewhere": 1}


def test_a_block_that_is_shared_and_left_elsewhere_takes_back_nothing_else(cache: LLMCache) -> None:
    shared = options(namespace="a")
    with shared:
        thread = threading.Thread(target=shared.__exit__)  # the wrong one, or a second time
        thread.start()
        thread.join(LIMIT)
    with shared:
        thread = threading.Thread(target=shared.__exit__)
        thread.start()
        thread.join(LIMIT)
        # Which entry that was for is not known.
        assert served(cache) == "a"
    assert cache.stats().errors == {"options_elsewhere": 2}


def looped(cache: LLMCache, generator: Iterator[Any]) -> list[Any]:
    return [served(cache) for _ in generator]


def twice(name: str) -> Iterator[None]:
    with options(namespace=name):
        yield
        yield


def delegating(name: str) -> Iterator[None]:
    yield from twice(name)


@pytest.mark.parametrize("make", [twice, delegating, lambda name: map(str, twice(name))])
def test_a_loop_that_calls_under_a_generators_options_is_told(
    make: Callable[[str], Iterator[Any]], cache: LLMCache, caplog: pytest.LogCaptureFixture
) -> None:
    # Its author may mean it: so it is said, and not changed.
    assert looped(cache, make("a")) == ["a", "a"]
    assert served(cache) == ""
    assert cache.stats().errors == {"options_in_a_loop": 1}
    assert "no `yield` inside" in lines(caplog)[0]


async def test_an_async_loop_that_calls_under_a_generators_options_is_told(cache: LLMCache) -> None:
    async def asynchronous() -> AsyncIterator[None]:
        with options(namespace="a"):
            await asyncio.sleep(0)
            yield
            await asyncio.sleep(0)

    assert [served(cache) async for _ in asynchronous()] == ["a"]
    assert cache.stats().errors == {"options_in_a_loop": 1}


async def test_a_generator_that_makes_its_calls_itself_is_not_spoken_of(cache: LLMCache) -> None:
    def reading() -> Iterator[Any]:
        with options(namespace="a"):
            yield served(cache)
            yield served(cache)

    async def asynchronous() -> AsyncIterator[Any]:
        with options(namespace="a"):
            yield await asyncio.to_thread(served, cache)
            # A task of the generator's, while its reader runs.
            task = asyncio.create_task(asyncio.to_thread(served, cache))
            yield None
            yield await task

    assert [name for name in reading()] == ["a", "a"]  # noqa: C416 (a loop)
    assert [name async for name in asynchronous()] == ["a", None, "a"]
    assert cache.stats().errors == {}


async def test_many_tasks_at_once_keep_their_own(cache: LLMCache) -> None:
    async def work(name: str) -> None:
        for _ in range(20):
            async with in_threadpool(options(namespace="b")):
                with options(namespace=name):
                    await asyncio.sleep(0)
                    assert served(cache) == name
            assert served(cache) == ""

    await asyncio.gather(*(work(name) for name in "abab"))
    assert cache.stats().errors == {"options_elsewhere": 80}

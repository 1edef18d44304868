"""Callers that wait with threads which the one who computes needs: it takes less than a second."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda, RunnableParallel
from pydantic import PrivateAttr
from support.doubles import LIMIT
from support.scripted import Scripted, queued, said, waiters

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Tool = Callable[[], object]
    Atool = Callable[[], Awaitable[object]]
    from langchain_core.messages import BaseMessage


pytestmark = pytest.mark.anyio

BOUND = 5 * 1.0
"""Seconds after which a wait of less than one hangs."""

STUCK = {"holder_stuck": 1}


class SyncOnly(BaseChatModel):
    """A model whose `_agenerate` is LangChain's: `_generate` in the default executor."""

    act: Any
    _asked: list[str] = PrivateAttr(default_factory=list)
    _waits_for: int = PrivateAttr(default=0)

    @property
    def asked(self) -> list[str]:
        return self._asked

    @property
    def _llm_type(self) -> str:
        return "sync only"

    def waiting_for(self, callers: int) -> SyncOnly:
        """So many, before the async method does anything: as for a rate limiter."""
        self._waits_for = callers
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self._asked.append(messages[-1].text)
        text = self.act(messages[-1].text)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])

    async def _agenerate(self, *args: Any, **kwargs: Any) -> ChatResult:
        await queued(cache_of(self), self._waits_for)
        return await super()._agenerate(*args, **kwargs)


Model: TypeAlias = "Scripted | SyncOnly"


def cache_of(model: Model) -> LLMCache:
    assert isinstance(model.cache, LLMCache)
    return model.cache


def native(act: Callable[[], Awaitable[object]], **fields: Any) -> Scripted:
    """A model that does something async before it answers; and answers at once in a thread."""

    async def answer() -> str:
        await act()
        return "Good day."

    def either(text: str) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return "Good day."
        return answer()

    return Scripted(act=either, cache=LLMCache(), **fields)


@contextlib.contextmanager
def in_time(model: Model, calls: int = 2, *, is_trusted: bool = False) -> Iterator[None]:
    """What is done in here takes no time to speak of, and so many calls of the model."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < BOUND
    assert len(model.asked) == calls
    assert cache_of(model).stats().errors == ({} if is_trusted else STUCK)
    assert waiters(cache_of(model)) == 0


def small_pool(size: int = 2) -> asyncio.AbstractEventLoop:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(size))
    return loop


async def beside(model: Model, *calls: Awaitable[object]) -> None:
    """A task that computes, and what waits for it."""
    first = asyncio.ensure_future(model.ainvoke("Hello."))
    flights = cache_of(model)._tiers.flights
    assert flights is not None
    while not flights._flights:  # noqa: ASYNC110
        await asyncio.sleep(0)
    answers = await asyncio.wait_for(asyncio.gather(first, *calls), LIMIT)
    assert {said(each) for each in answers} == {"Good day."}


async def _resolves() -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)


async def _runs() -> None:
    await asyncio.get_running_loop().run_in_executor(None, int)


async def _resolves_elsewhere() -> None:
    """As some clients do: nothing that the caller awaits leads to the task."""
    found = asyncio.Event()

    async def resolve() -> None:
        await _resolves()
        found.set()

    task = asyncio.ensure_future(resolve())
    await found.wait()
    await task


@pytest.mark.slow
@pytest.mark.parametrize("need", [_resolves, _runs, _resolves_elsewhere])
async def test_a_holder_that_needs_the_threads_that_wait_for_it(
    need: Callable[[], Awaitable[None]],
) -> None:
    async def act() -> None:
        await queued(cache_of(model), 2)
        await need()

    small_pool()
    model = native(act)
    with in_time(model):
        await beside(model, *(asyncio.to_thread(model.invoke, "Hello.") for _ in range(2)))


async def test_a_sync_model_in_the_executor_that_waits_for_it() -> None:
    small_pool()
    model = SyncOnly(act=lambda text: "Good day.", cache=LLMCache()).waiting_for(2)
    with in_time(model):
        await beside(model, *(asyncio.to_thread(model.invoke, "Hello.") for _ in range(2)))


def _in_parallel(model: Model) -> Any:
    # In threads of another pool; those of the first wait for them.
    return RunnableLambda(lambda text: RunnableParallel(a=model, b=model).invoke(text)["a"])


def _in_batches(model: Model) -> Any:
    return RunnableLambda(lambda text: model.batch([text] * 4, {"max_concurrency": 1})[0])


def _as_step(model: Model) -> Any:
    return RunnableLambda(model.invoke)


@pytest.mark.slow
@pytest.mark.parametrize("chain", [_as_step, _in_parallel, _in_batches])
async def test_chains_whose_sync_steps_wait(chain: Callable[[Model], Any]) -> None:
    async def act() -> None:
        await queued(cache_of(model), 2)
        await _runs()

    small_pool()
    model = native(act)
    with in_time(model):
        await beside(model, *(chain(model).ainvoke("Hello.") for _ in range(2)))


@pytest.mark.parametrize("is_own", [True, False])
async def test_a_limiter_of_anyios_whose_threads_wait(
    is_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = anyio.CapacityLimiter(1) if is_own else None
    default = anyio.to_thread.current_default_thread_limiter()
    monkeypatch.setattr(default, "total_tokens", 1)

    async def act() -> None:
        await queued(cache_of(model), 1)
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: anyio.to_thread.run_sync(int, limiter=limiter))

    model = native(act)
    with in_time(model):
        await beside(model, anyio.to_thread.run_sync(model.invoke, "Hello.", limiter=limiter))


def _own_thread() -> Callable[..., Callable[[], object]]:
    """A pool as people write one."""
    jobs: queue.Queue[Any] = queue.Queue()

    def work() -> None:
        while True:
            function, arguments, done = jobs.get()
            function(*arguments)
            done.set()

    def submit(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
        done = threading.Event()
        jobs.put((function, arguments, done))
        return done.wait

    threading.Thread(target=work, daemon=True).start()
    return submit


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["executor", "multiprocessing", "own"])
def test_a_pool_of_one_thread_in_which_another_waits(kind: str) -> None:
    executor, pool = ThreadPoolExecutor(1), ThreadPool(1)
    submit: Callable[..., Callable[[], object]] = {
        "executor": lambda f, *a: executor.submit(f, *a).result,
        "multiprocessing": lambda f, *a: pool.apply_async(f, a).get,
        "own": _own_thread(),
    }[kind]
    reached, go = threading.Event(), threading.Event()

    def act(text: str) -> str:
        if threading.current_thread().name == "holder":
            reached.set()
            assert go.wait(LIMIT)
            submit(int)()
        return "Good day."

    model = Scripted(act=act, cache=LLMCache())
    with executor, pool, in_time(model):
        holder = threading.Thread(target=model.invoke, args=("Hello.",), name="holder")
        holder.start()
        assert reached.wait(LIMIT)
        other = submit(model.invoke, "Hello.")
        asyncio.run(queued(cache_of(model), 1))
        go.set()
        other()
        holder.join()


def _starts(tool: Tool, atool: Atool) -> None:
    thread = threading.Thread(target=tool)
    thread.start()
    thread.join()


def _submits(tool: Tool, atool: Atool) -> None:
    with ThreadPoolExecutor(1) as executor:
        executor.submit(tool).result()


def _waits(tool: Tool, atool: Atool) -> None:
    with ThreadPoolExecutor(1) as executor:
        concurrent.futures.wait([executor.submit(tool)])


def _has_it_run(tool: Tool, atool: Atool) -> None:
    _starts(lambda: asyncio.run(atool()), atool)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("use", [_starts, _submits, _waits, _has_it_run])
def test_a_tool_that_asks_what_its_caller_asks(use: Callable[[Tool, Atool], None]) -> None:
    def act(text: str) -> str:
        if len(model.asked) == 1:
            use(lambda: model.invoke("Hello."), lambda: model.ainvoke("Hello."))
        return "Good day."

    model = Scripted(act=act, cache=LLMCache())
    with in_time(model):
        model.invoke("Hello.")

"""How far the options of a block reach: chains, batches, agents, tasks, threads, generators."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.globals import get_llm_cache, set_llm_cache
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel
from support import TESTS
from support.doubles import LIMIT, answer
from support.scripted import Scripted, ScriptedLLM, said

from llmemo import CacheMiss, ConfigurationError, LLMCache, options, track
from llmemo.config.options import current

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    MakeCache = Callable[..., LLMCache]

pytestmark = pytest.mark.anyio

MODELS = [Scripted, ScriptedLLM]


def chain_of(model: Any) -> Runnable[Any, Any]:
    """A chain that asks the model in threads, or tasks, of its own."""
    prompt = PromptTemplate.from_template("{text}")
    ask: Runnable[Any, Any] = prompt | model | StrOutputParser()
    return RunnableParallel(one=ask, other=RunnableLambda(lambda it: it) | ask)


async def through(path: str, model: Any) -> None:
    """Ask for "p" in one of the ways that LangChain has."""
    inputs = ["p", "p"]
    if path == "invoke":
        model.invoke("p")
    elif path == "ainvoke":
        await model.ainvoke("p")
    elif path == "batch":
        model.batch(inputs)
    elif path == "abatch":
        await model.abatch(inputs)
    elif path == "generate":
        model.generate_prompt([PromptTemplate.from_template("p").invoke({})])
    elif path == "as completed":
        # Of several that fail LangChain looks at the first only, and asyncio tells of the others.
        assert len([done async for done in model.abatch_as_completed(["p"])]) == 1
    elif path == "chain":
        chain_of(model).invoke({"text": "p"})
    elif path == "achain":
        await chain_of(model).ainvoke({"text": "p"})
    elif path == "chain in batches":
        chain_of(model).batch([{"text": "p"}] * 2)
    elif path == "gather":
        await asyncio.gather(*(model.ainvoke("p") for _ in range(3)))
    elif path == "to_thread":
        await asyncio.to_thread(model.invoke, "p")
    else:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(contextvars.copy_context().run, model.invoke, "p").result(LIMIT)


PATHS = ["invoke", "ainvoke", "batch", "abatch", "generate", "as completed", "chain", "achain"]
PATHS += ["chain in batches", "gather", "to_thread", "thread"]


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", MODELS)
async def test_options_reach_the_model_on_every_path(
    path: str, kind: type[Scripted | ScriptedLLM], make_cache: MakeCache
) -> None:
    cache = make_cache()
    number = iter(range(1_000))
    model = kind(act=lambda _: f"answer {next(number)}", cache=cache)
    with options(mode="only"), pytest.raises(CacheMiss):
        await through(path, model)
    assert model.asked == []

    with options(mode="bypass"):
        await through(path, model)
    assert len(model.asked) > 0
    assert (cache.stats().updates, cache.stats().hits) == (0, 0)

    with options(namespace="a"):
        await through(path, model)
        asked = len(model.asked)
        with options(mode="only"), track() as tracker:
            await through(path, model)
        assert len(tracker.events) == tracker.hits > 0
        old = said(model.invoke("p"))
        with options(mode="refresh"):
            await through(path, model)
        assert len(model.asked) > asked
        assert said(model.invoke("p")) != old
    asked = len(model.asked)
    with options(mode="only"), pytest.raises(CacheMiss):  # of another namespace
        await through(path, model)
    assert len(model.asked) == asked
    assert cache.stats().errors == {}


@pytest.mark.clients
@pytest.mark.parametrize("is_async", [False, True])
async def test_options_reach_through_agents(make_cache: MakeCache, *, is_async: bool) -> None:
    pytest.importorskip("langchain_openai")
    sys.path.insert(0, str(TESTS.parent / "examples"))
    from langchain.agents import create_agent
    from openai_server import OpenAIServer
    from support import clients

    def ask(model: Any) -> Any:
        agent: Any = create_agent(model, [clients.get_weather])
        question = {"messages": [("user", "What is the weather in Oslo?")]}
        return agent.ainvoke(question) if is_async else agent.invoke(question)

    cache, row = make_cache(), clients.Row("agent", ask)
    # A row brings an event loop of its own; `to_thread` takes the options along.
    with OpenAIServer() as server:

        async def run() -> None:
            await asyncio.to_thread(row.run, cache, server.url)

        with options(mode="only"), pytest.raises(CacheMiss):
            await run()
        assert server.requests == 0
        with options(namespace="a"):
            await run()
            sent = server.requests
            with options(mode="only"):
                await run()
            assert server.requests == sent > 0
            with options(mode="refresh"):
                await run()
        assert server.requests == 2 * sent


async def test_options_reach_the_cache_that_is_set_for_all(make_cache: MakeCache) -> None:
    before = get_llm_cache()
    set_llm_cache(make_cache())
    try:
        model = Scripted(act=str.upper)
        model.invoke("p")
        with options(mode="only"):
            assert said(await model.ainvoke("p")) == "P"
            with pytest.raises(CacheMiss):
                model.invoke("q")
        assert model.asked == ["p"]
    finally:
        set_llm_cache(before)


def test_an_inner_block_changes_what_it_names() -> None:
    seen: list[Any] = []

    def look() -> None:
        holds = current.get()
        seen.append(holds and (holds.namespace, holds.ttl, holds.mode, len(holds.trackers)))

    look()
    with options(namespace="a", mode="only", ttl=7), track():
        look()
        with options(ttl=5), options(mode="default"), track():
            look()
            with options(namespace="", ttl=None):
                look()
        with pytest.raises(KeyError), options(mode="bypass"):
            raise KeyError
        look()
    look()
    inside = ("a", 7, "only", 1)
    inner = [("a", 5, "default", 2), ("", None, "default", 2)]
    assert seen == [None, inside, *inner, inside, None]


async def test_functions_are_decorated_sync_or_async(make_cache: MakeCache) -> None:
    cache = make_cache(single_flight=False)

    @options(namespace="a")
    def tell(text: str, *, mark: str) -> str:
        """Documented."""
        cache.update("p", "m", answer(text))
        return mark

    @options(namespace="a", mode="only")
    async def ask() -> Any:
        await asyncio.sleep(0)
        return await cache.alookup("p", "m")

    assert (tell("one", mark="x"), tell.__name__, tell.__doc__) == ("x", "tell", "Documented.")
    assert cache.lookup("p", "m") is None
    # Each call is a block of its own, of as many at once as there are.
    assert await asyncio.gather(*(ask() for _ in range(20))) == [answer("one")] * 20
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: tell(f"{n}", mark=""), range(100)))
    with pytest.raises(CacheMiss):
        await options(mode="only", namespace="b")(cache.alookup)("p", "m")
    assert current.get() is None


def test_a_generator_is_not_decorated() -> None:
    def generator() -> Iterator[None]:
        yield

    async def asynchronous() -> AsyncIterator[None]:
        yield

    for function in (generator, asynchronous):
        with pytest.raises(ConfigurationError, match=r"is a generator.*`with options\(…\):`"):
            options(mode="only")(function)


def holding(name: str) -> Iterator[None]:
    with options(namespace=name), track():
        yield


def test_generators_end_in_any_order_and_leave_nothing_behind() -> None:
    for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
        with options(ttl=5):
            outer = current.get()
            generators = [holding(name) for name in "abc"]
            for each in generators:
                next(each)
            left = [*"abc"]
            for at in order:
                generators[at].close()  # type: ignore[attr-defined]
                left.remove("abc"[at])
                holds = current.get()
                assert holds is not None
                assert holds.namespace == (left[-1] if left else None)
                assert (holds.ttl, len(holds.trackers)) == (5, len(left))
            assert current.get() is outer
        assert current.get() is None


@pytest.mark.slow
async def test_a_block_ends_in_another_context() -> None:
    # As those of a web framework's dependencies do, and of what is not read to its end.
    generator = holding("a")
    contextvars.copy_context().run(next, generator)
    contextvars.copy_context().run(generator.close)  # type: ignore[attr-defined]
    generator = holding("b")
    thread = threading.Thread(target=next, args=(generator,))
    thread.start()
    thread.join(LIMIT)
    generator.close()  # type: ignore[attr-defined]

    async def asynchronous() -> AsyncIterator[str]:
        with options(namespace="c"):
            yield "one"
            yield "two"

    problems: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(context))

    async def read_a_part() -> None:
        async for _ in asynchronous():
            break

    await asyncio.create_task(read_a_part())
    gc.collect()
    await asyncio.sleep(0.01)
    assert (problems, current.get()) == ([], None)


def test_one_block_is_entered_by_many_at_once() -> None:
    block, barrier = options(namespace="a"), threading.Barrier(8)

    def work(_: int) -> bool:
        for _ in range(100):
            with block:
                barrier.wait(LIMIT)
                with block:
                    assert current.get() is not None
                assert current.get() is not None
                barrier.wait(LIMIT)
            if current.get() is not None:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))

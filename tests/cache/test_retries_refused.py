"""An answer that a parser could not read is not served again; any other is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from support.attempts import BAD, CHECK, GOOD, PARSER, Person, again, asked, chat, completes
from support.callers import until
from support.doubles import LIMIT, Clock, FakeStore
from support.scripted import Scripted

from llmemo import LLMCache
from llmemo.langchain import chains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    MakeCache = Callable[..., LLMCache]


@pytest.fixture(autouse=True)
def no_chain_is_left_open() -> Iterator[None]:
    yield
    assert not chains._by_id


MODELS = pytest.mark.parametrize("make_model", [chat, completes])
BOTH = pytest.mark.parametrize("is_async", [False, True])
pytestmark = pytest.mark.anyio


@pytest.mark.slow
@BOTH
@MODELS
@pytest.mark.parametrize("between", [None, StrOutputParser()])
async def test_what_a_parser_refused_is_not_served_again(
    make_cache: MakeCache, make_model: Any, between: Any, *, is_async: bool
) -> None:
    cache = make_cache()
    model = make_model(cache, BAD, BAD, GOOD)
    chain = model | PARSER if between is None else model | between | PARSER
    for _ in range(2):
        # Stored by the first call, and found by none.
        with pytest.raises(OutputParserException):
            await asked(chain, "How old?", is_async=is_async)
    for _ in range(2):
        assert await asked(chain, "How old?", is_async=is_async) == Person(age=7)
    assert len(model.asked) == 3
    assert cache.stats().skipped == {"not_parsed": 2}


@BOTH
async def test_it_is_gone_for_other_processes_too(tmp_path: Path, *, is_async: bool) -> None:
    with LLMCache(tmp_path / "c.db") as cache, pytest.raises(OutputParserException):
        await asked(chat(cache, BAD) | PARSER, "How old?", is_async=is_async)
    with LLMCache(tmp_path / "c.db") as cache:
        assert await asked(chat(cache, GOOD) | PARSER, "How old?", is_async=is_async)


class Reluctant(FakeStore):
    """Removes nothing until it is told to, and answers meanwhile."""

    may_remove = False

    async def delete(self, keys: Sequence[bytes] | None) -> int:
        await until(lambda: self.may_remove)
        return await super().delete(keys)


async def test_a_store_that_is_slow_to_remove_it_is_not_believed() -> None:
    store = Reluctant()
    with LLMCache(store, max_bytes=0, store_timeout=0.5) as cache:
        model = chat(cache, BAD, GOOD)
        model.invoke("How old?")
        await until(lambda: len(store.records) == 1)
        with pytest.raises(OutputParserException):
            await (model | PARSER).ainvoke("How old?")
        assert len(store.records) == 1
        assert await (model | PARSER).ainvoke("How old?") == Person(age=7)
        old = [*store.records.values()]
        store.may_remove = True
        await until(lambda: len(store.records) == 1 and [*store.records.values()] != old)
        assert await (model | PARSER).ainvoke("How old?") == Person(age=7)
        assert len(model.asked) == 2


def test_it_is_noticed_though_the_error_is_caught(make_cache: MakeCache) -> None:
    model = chat(make_cache(), BAD, GOOD)
    parsed = RunnablePassthrough.assign(parsed=(lambda both: both["raw"]) | PARSER)
    nothing = RunnablePassthrough.assign(parsed=lambda _: None)
    chain = RunnableParallel(raw=model) | parsed.with_fallbacks([nothing])
    assert [chain.invoke("How old?")["parsed"] for _ in range(3)] == [None, *[Person(age=7)] * 2]
    assert len(model.asked) == 2


@BOTH
async def test_a_fallback_keeps_its_answer(make_cache: MakeCache, *, is_async: bool) -> None:
    cache = make_cache()
    first, second = chat(cache, BAD), chat(cache, GOOD)
    # Two models of one name would share their answers.
    chain = (first | PARSER).with_fallbacks([second.bind(stop=["x"]) | PARSER])
    for _ in range(3):
        assert await asked(chain, "How old?", is_async=is_async) == Person(age=7)
    assert (len(first.asked), len(second.asked)) == (3, 1)


def test_of_a_batch_only_what_was_refused_goes(make_cache: MakeCache) -> None:
    said: dict[str, list[str]] = {"a": [GOOD], "b": [BAD, GOOD], "c": [GOOD]}
    model = Scripted(act=lambda text: said[text].pop(0), cache=make_cache(), asked=[])
    chain = model | PARSER
    found = chain.batch([*"abc"], return_exceptions=True)
    assert isinstance(found[1], OutputParserException)
    assert chain.batch([*"abc"]) == [Person(age=7)] * 3
    assert sorted(model.asked) == [*"abbc"]


@pytest.mark.slow
@BOTH
@MODELS
async def test_an_error_of_anything_else_costs_no_answer(
    make_cache: MakeCache, make_model: Any, *, is_async: bool
) -> None:
    # Whoever works on what comes after the model wants its answer kept.
    model = make_model(make_cache(), BAD, GOOD)
    for _ in range(3):
        with pytest.raises(ValueError, match="no 7"):
            await asked(model | StrOutputParser() | CHECK, "How old?", is_async=is_async)
    assert len(model.asked) == 1


def test_a_newer_answer_stays() -> None:
    clock = Clock()
    settings: list[dict[str, Any]] = [{}, {"store": FakeStore()}]
    settings.append({"store": FakeStore(), "max_bytes": 0})
    for each in settings:
        with LLMCache(clock=clock, **each) as cache:
            model = chat(cache, BAD, GOOD)
            late = chains.Chain(None)

            def slow(message: Any, late: chains.Chain = late) -> Any:
                # Another caller is at the same, and later.
                around = chains.current_chain()
                assert around is not None
                assert around.parent is not None
                assert around.parent.answers is not None
                late.answers = around.parent.answers.copy()
                return message

            with pytest.raises(OutputParserException):
                (model | RunnableLambda(slow) | PARSER).invoke("How old?")
            clock.now += 1
            assert (model | PARSER).invoke("How old?") == Person(age=7)
            chains.Chain(late, is_parser=True).fail(ValueError())
            assert late.answers is None
            assert (model | PARSER).invoke("How old?") == Person(age=7)
            assert len(model.asked) == 2
            assert cache.stats().skipped == {"not_parsed": 1}


async def test_who_retry_at_once_share_the_next_answer(make_cache: MakeCache) -> None:
    rest = [BAD, BAD, GOOD]

    async def act(_: str) -> str:
        await anyio.sleep(0.05)
        return rest.pop(0)

    model: Any = Scripted(act=act, cache=make_cache(), asked=[])
    chain = again(model | PARSER)
    found = await asyncio.gather(*[chain.ainvoke("How old?") for _ in range(10)])
    assert found == [Person(age=7)] * 10
    assert len(model.asked) == 3


async def test_a_chain_that_is_cancelled_leaves_nothing(make_cache: MakeCache) -> None:
    async def act(_: str) -> str:
        await anyio.sleep(LIMIT)
        return GOOD

    model: Any = Scripted(act=act, cache=make_cache(), asked=[])
    with anyio.move_on_after(0.05):
        await again(model | PARSER).ainvoke("How old?")
    assert not chains._by_id
    assert chains.current_chain() is None


def test_a_cache_that_is_gone_or_closed_is_not_asked() -> None:
    chain, cache = chains.Chain(None), LLMCache()
    chain.remember(cache._tiers, bytes(32))
    cache.close()
    chains.Chain(chain, is_parser=True).fail(ValueError())
    assert cache.stats().skipped == {}
    chain.remember(cache._tiers, bytes(32))
    del cache
    chains.Chain(chain, is_parser=True).fail(ValueError())


def test_chains_whose_end_is_not_told_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "OPEN_MAX", 3)
    from uuid import uuid4

    names = [uuid4() for _ in range(10)]
    for name in names:
        chains.begin(name, None, None, None)
    assert list(chains._by_id) == [name.int for name in names[-3:]]
    for name in names:
        chains.end(name)
    chains.in_chain.set(None)

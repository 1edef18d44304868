"""Who asks again since an answer was of no use gets another; and an answer that is good stays."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from callers import until
from doubles import LIMIT, Clock, FakeStore
from langchain_core.exceptions import OutputParserException
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser, StrOutputParser
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from providers import Provider, chat_completion, completion
from pydantic import BaseModel, SecretStr
from scripted import Scripted, ScriptedLLM

from llmemo import LLMCache, chains, options, track

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    MakeCache = Callable[..., LLMCache]

BAD, GOOD = "no number", '{"age": 7}'


class Person(BaseModel):
    """What is asked for."""

    age: int


PARSER = PydanticOutputParser(pydantic_object=Person)


@pytest.fixture(autouse=True)
def no_chain_is_left_open() -> Iterator[None]:
    yield
    assert not chains._by_id


def answers(*texts: str | Exception) -> Callable[[str], str]:
    """Says these, one after the other, and the last from then on."""
    rest = list(texts)

    def act(_: str) -> str:
        text = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(text, Exception):
            raise text
        return text

    return act


def chat(cache: LLMCache | None, *texts: str | Exception) -> Any:
    return Scripted(act=answers(*texts), cache=cache, asked=[])


def completes(cache: LLMCache | None, *texts: str | Exception) -> Any:
    return ScriptedLLM(act=answers(*texts), cache=cache, asked=[])


def again(chain: Any, attempts: int = 3) -> Any:
    return chain.with_retry(stop_after_attempt=attempts, wait_exponential_jitter=False)


async def asked(chain: Any, value: Any, *, is_async: bool) -> Any:
    return await chain.ainvoke(value) if is_async else chain.invoke(value)


def check(value: Any) -> Any:
    """What a user writes in the place of a parser."""
    if "7" not in getattr(value, "content", value):
        raise ValueError("there is no 7")
    return value


CHECK = RunnableLambda(check)
MODELS = pytest.mark.parametrize("make_model", [chat, completes])
BOTH = pytest.mark.parametrize("is_async", [False, True])
pytestmark = pytest.mark.anyio


# Retries.


@BOTH
@MODELS
@pytest.mark.parametrize("rest", [PARSER, CHECK, StrOutputParser() | CHECK], ids=["a", "b", "c"])
async def test_a_retry_gets_another_answer(
    make_cache: MakeCache, make_model: Any, rest: Any, *, is_async: bool
) -> None:
    cache = make_cache()
    model = make_model(cache, BAD, BAD, GOOD)
    chain = again(model | rest)
    result = await asked(chain, "How old?", is_async=is_async)
    assert len(model.asked) == 3
    # The good one is kept in place of the bad one.
    found = await asked(model | rest, "How old?", is_async=is_async)
    assert getattr(found, "content", found) == getattr(result, "content", result)
    assert len(model.asked) == 3


@BOTH
@MODELS
async def test_a_retry_gets_another_answer_than_an_old_one(
    make_cache: MakeCache, make_model: Any, *, is_async: bool
) -> None:
    model = make_model(make_cache(), BAD, GOOD)
    await asked(model, "How old?", is_async=is_async)
    with track() as tracker:
        await asked(again(model | CHECK), "How old?", is_async=is_async)
    assert len(model.asked) == 2
    assert [event.outcome for event in tracker.events] == ["hit", "miss"]
    assert tracker.events[1].reason == "refresh"


@BOTH
async def test_all_that_an_attempt_does_is_anew(make_cache: MakeCache, *, is_async: bool) -> None:
    cache = make_cache()
    first, second = chat(cache, "one", "two"), chat(cache, BAD, GOOD)
    inner = RunnableLambda(lambda message: (second | StrOutputParser()).invoke(message.content))
    chain: Any = (
        RunnablePassthrough() | RunnableParallel(a=first | inner) | (lambda both: both["a"])
    )
    assert await asked(again(chain | CHECK), "Who?", is_async=is_async) == GOOD
    assert (len(first.asked), second.asked) == (2, ["one", "two"])


@BOTH
async def test_a_model_that_fails_makes_nothing_anew(
    make_cache: MakeCache, *, is_async: bool
) -> None:
    cache = make_cache()
    first, second = chat(cache, "7", "8"), chat(cache, OSError("busy"), OSError("busy"), GOOD)
    chain = again(first | RunnableLambda(lambda message: message.content) | second | CHECK)
    assert (await asked(chain, "Who?", is_async=is_async)).content == GOOD
    assert (len(first.asked), len(second.asked)) == (1, 3)


@BOTH
async def test_what_failed_once_is_not_good_again_after_a_model_failed(
    make_cache: MakeCache, *, is_async: bool
) -> None:
    model = chat(make_cache(), BAD, OSError("busy"), GOOD)
    assert (await asked(again(model | CHECK), "How old?", is_async=is_async)).content == GOOD
    assert len(model.asked) == 3


async def test_a_retry_of_a_model_that_fails_may_get_what_is_stale() -> None:
    clock = Clock()
    with LLMCache(ttl=10, stale_if_error=100, clock=clock) as cache:
        model = chat(cache, GOOD, OSError("down"))
        await model.ainvoke("How old?")
        clock.now += 50
        for retried in (again(model), again(model | CHECK)):
            assert (await retried.ainvoke("How old?")).content == GOOD
        assert cache.stats().stale >= 2


@BOTH
async def test_of_a_batch_only_what_failed_is_asked_again(
    make_cache: MakeCache, *, is_async: bool
) -> None:
    said: dict[str, list[str]] = {"a": [GOOD], "b": [BAD, GOOD], "c": [BAD, BAD, GOOD]}
    model = Scripted(act=lambda text: said[text].pop(0), cache=make_cache(), asked=[])
    for rest in (CHECK, PARSER):
        model.asked.clear()
        said.update(a=[GOOD], b=[BAD, GOOD], c=[BAD, BAD, GOOD])
        chain = again(model | rest)
        with options(namespace=repr(rest)):
            found = await chain.abatch([*"abc"]) if is_async else chain.batch([*"abc"])
        assert len(found) == 3
        assert sorted(model.asked) == [*"abbccc"]


def test_a_batch_of_a_completion_model_is_asked_again(make_cache: MakeCache) -> None:
    said: dict[str, list[str]] = {"a": [GOOD], "b": [BAD, GOOD]}
    model = ScriptedLLM(act=lambda text: said[text].pop(0), cache=make_cache(), asked=[])
    assert again(model | CHECK).batch(["a", "b"]) == [GOOD, GOOD]
    assert sorted(model.asked) == ["a", "b", "b"]


def test_what_a_block_says_goes_before(make_cache: MakeCache) -> None:
    model = chat(make_cache(), BAD, GOOD)
    model.invoke("How old?")
    with options(mode="only"), pytest.raises(ValueError, match="no 7"):
        again(model | CHECK).invoke("How old?")
    assert len(model.asked) == 1
    with options(mode="bypass"):
        again(model | CHECK).invoke("How old?")
    assert model.invoke("How old?").content == BAD


def test_a_retry_ends_with_its_attempt(make_cache: MakeCache) -> None:
    cache = make_cache()
    model, other = chat(cache, BAD, GOOD), chat(cache, "one", "two")

    def both(_: str) -> Any:
        again(model | CHECK).invoke("How old?")
        return [other.invoke("Who?") for _ in range(2)]

    found = again(RunnableLambda(both)).invoke("")
    assert [message.content for message in found] == ["one", "one"]
    assert len(model.asked) == 2


# What a parser has refused.


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
        while not self.may_remove:
            await asyncio.sleep(0.001)
        return await super().delete(keys)


async def test_a_store_that_is_slow_to_remove_it_is_not_believed() -> None:
    store = Reluctant()
    with LLMCache(store, max_bytes=0, store_timeout=0.1) as cache:
        model = chat(cache, BAD, GOOD)
        model.invoke("How old?")
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
    chain.given(cache._tiers, bytes(32))
    cache.close()
    chains.Chain(chain, is_parser=True).fail(ValueError())
    assert cache.stats().skipped == {}
    chain.given(cache._tiers, bytes(32))
    del cache
    chains.Chain(chain, is_parser=True).fail(ValueError())


def test_chains_whose_end_is_not_told_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "OPEN_MAX", 3)
    from uuid import uuid4

    names = [uuid4() for _ in range(10)]
    for name in names:
        chains.begin(name, None, None, None)
    assert list(chains._by_id) == names[-3:]
    for name in names:
        chains.end(name)
    chains.in_chain.set(None)


# Through real clients.


@pytest.mark.clients
@BOTH
@pytest.mark.parametrize("method", ["function_calling", "json_mode", "json_schema"])
@pytest.mark.parametrize("include_raw", [False, True])
async def test_structured_output(
    make_cache: MakeCache, method: Any, *, include_raw: bool, is_async: bool
) -> None:
    from langchain_openai import ChatOpenAI

    def answer(body: dict[str, Any], number: int) -> dict[str, Any]:
        said = json.dumps({"age": "unknown" if number == 1 else 7})
        out = chat_completion(said, number)
        if body.get("tools"):
            call = {
                "id": "1",
                "type": "function",
                "function": {"name": "Person", "arguments": said},
            }
            out["choices"][0]["message"] = {
                "role": "assistant",
                "content": None,
                "tool_calls": [call],
            }
        return out

    with Provider(answer) as server:
        model = ChatOpenAI(
            model="gpt-4o", api_key=SecretStr("k"), base_url=server.url, cache=make_cache()
        )
        chain: Any = model.with_structured_output(Person, method=method, include_raw=include_raw)
        if include_raw and method != "json_schema":
            first = await asked(chain, "How old?", is_async=is_async)
            assert first["parsing_error"]
            found = (await asked(chain, "How old?", is_async=is_async))["parsed"]
        else:
            found = await asked(again(chain), "How old?", is_async=is_async)
            found = found["parsed"] if include_raw else found
        assert found == Person(age=7)
        await asked(chain, "How old?", is_async=is_async)
        assert len(server.bodies) == 2


@pytest.mark.clients
def test_a_completion_client(make_cache: MakeCache) -> None:
    from langchain_openai import OpenAI

    def answer(_: dict[str, Any], number: int) -> dict[str, Any]:
        return completion(BAD if number == 1 else GOOD, number)

    with Provider(answer) as server:
        model = OpenAI(api_key=SecretStr("k"), base_url=server.url, cache=make_cache())
        chain = again(model | JsonOutputParser())
        for _ in range(2):
            assert chain.invoke("How old?") == {"age": 7}
        assert len(server.bodies) == 2


@pytest.mark.clients
@BOTH
async def test_an_agent_that_is_tried_again(make_cache: MakeCache, *, is_async: bool) -> None:
    from langchain.agents import create_agent

    model = chat(make_cache(), BAD, GOOD)
    agent = create_agent(model, [])
    chain = again(agent | (lambda state: state["messages"][-1]) | CHECK)
    for _ in range(2):
        found = await asked(chain, {"messages": [("user", "How old?")]}, is_async=is_async)
        assert found.content == GOOD
    assert len(model.asked) == 2

"""Who asks again since an answer was of no use gets another; and an answer that is good stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from pydantic import SecretStr
from support.attempts import BAD, CHECK, GOOD, PARSER, Person, again, asked, chat, completes
from support.doubles import Clock
from support.providers import Provider, chat_completion, completion
from support.scripted import Scripted, ScriptedLLM

from llmemo import LLMCache, options, track
from llmemo.langchain import chains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


@pytest.mark.slow
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


@pytest.mark.slow
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

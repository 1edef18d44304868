"""Hits are told from calls where people look: in LangSmith, Langfuse and OpenTelemetry.

Real clients send to a server on 127.0.0.1, or to OpenTelemetry's exporter in memory.
"""

from __future__ import annotations

import asyncio
import operator
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableLambda
from support.counting_model import CountingModel
from support.trace_backends import NEEDED, PRICE, Langfuse, OpenLLMetry, begun
from typing_extensions import override

from llmemo import LLMCache, accelerate, cached, options
from llmemo.langchain import unbilled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.messages import BaseMessage
    from support.trace_backends import Backend, Traced

# Of langchain-core 1.0 itself, on a newer Pydantic.
pytestmark = pytest.mark.filterwarnings("ignore:The .* method is deprecated")

TOKENS = 15
SPENT: Any = {"input_tokens": 10, "output_tokens": 5, "total_tokens": TOKENS}
KEY_LENGTH = 64


class Spending(CountingModel):
    """Says what each answer has cost, in all the places where providers say it."""

    @override
    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.calls.append(len(messages))
        message = AIMessage(
            f"answer {len(self.calls)}",
            usage_metadata=SPENT,
            response_metadata={"model_name": "gpt-4o", "usage": SPENT},
        )
        output = {"token_usage": SPENT, "model_name": "gpt-4o"}
        return ChatResult(generations=[ChatGeneration(message=message)], llm_output=output)

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        self.calls.append(1)
        for text, said in (("answer ", None), (str(len(self.calls)), SPENT)):
            message = AIMessageChunk(content=text, usage_metadata=said)
            yield ChatGenerationChunk(message=message)


@pytest.fixture(params=NEEDED, ids=operator.attrgetter("__name__"))
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    pytest.importorskip(NEEDED[request.param])
    yield from begun(request.param)


def config_of(backend: Backend) -> Any:
    return {"callbacks": list(backend.handlers), "metadata": {"ls_model_name": "gpt-4o"}}


def own_tags(run: Traced) -> list[str]:
    """Those that are not LangChain's."""
    return [tag for tag in run.tags if tag.startswith("llmemo")]


def assert_is_call(run: Traced) -> None:
    assert run.facts["hit"] is False
    assert run.facts["outcome"] == "miss"
    assert (run.tokens, run.cost) == (TOKENS, TOKENS * PRICE)
    assert own_tags(run) in ([], ["llmemo:miss"])


def assert_is_hit(run: Traced, tier: str = "memory") -> None:
    facts = run.facts
    assert facts["hit"] is True
    assert facts["tier"] == tier
    assert 0 <= facts["age"] < 600
    assert len(facts["key"]) == KEY_LENGTH
    assert facts["saved_input_tokens"] + facts["saved_output_tokens"] == TOKENS
    assert (run.tokens, run.cost) == (0, 0)
    assert own_tags(run) in ([], ["llmemo:hit"])
    assert "answer 1" in run.answer


def by_invoke(model: Any, config: Any) -> str:
    return str(model.invoke("?", config).text)


def by_ainvoke(model: Any, config: Any) -> str:
    return str(asyncio.run(model.ainvoke("?", config)).text)


def by_stream(model: Any, config: Any) -> str:
    return "".join(chunk.text for chunk in model.stream("?", config))


def by_astream(model: Any, config: Any) -> str:
    async def read() -> str:
        return "".join([chunk.text async for chunk in model.astream("?", config)])

    return asyncio.run(read())


WAYS = [by_invoke, by_ainvoke, by_stream, by_astream]


@pytest.mark.parametrize("ask", WAYS[:2])
def test_hit_of_a_plain_model(backend: Backend, ask: Callable[..., str]) -> None:
    cache = LLMCache()
    model = Spending(cache=cache)
    assert [ask(model, config_of(backend)) for _ in range(2)] == ["answer 1", "answer 1"]
    call, hit = backend.runs()
    assert_is_call(call)
    assert_is_hit(hit)
    assert cache.stats().errors == {}


@pytest.mark.parametrize("ask", WAYS)
def test_hit_of_a_cached_model(backend: Backend, ask: Callable[..., str]) -> None:
    cache = LLMCache()
    model = cached(Spending(), cache)
    assert [ask(model, config_of(backend)) for _ in range(2)] == ["answer 1", "answer 1"]
    call, hit = backend.runs()
    assert_is_call(call)
    assert_is_hit(hit)
    assert cache.stats().errors == {}
    assert cache.stats().bypassed == {}


@pytest.mark.parametrize("ask", WAYS[2:])
def test_stream_under_accelerate(backend: Backend, ask: Callable[..., str]) -> None:
    cache = LLMCache()
    set_llm_cache(cache)
    try:
        with accelerate(streams=True):
            model = Spending()
            assert [ask(model, config_of(backend)) for _ in range(2)] == ["answer 1", "answer 1"]
    finally:
        set_llm_cache(None)
    call, hit = backend.runs()
    assert_is_call(call)
    assert_is_hit(hit)


def test_each_prompt_of_a_batch_is_told_of_its_own(backend: Backend) -> None:
    model = Spending(cache=LLMCache())
    model.invoke("1")
    asked = [[("user", "1")], [("user", "2")]]
    model.generate_prompt(
        [model._convert_input(each) for each in asked], callbacks=list(backend.handlers)
    )
    runs = {run.facts["outcome"]: run for run in backend.runs()}
    assert_is_hit(runs["hit"])
    assert_is_call(runs["miss"])


def test_hit_of_a_store_inside_a_chain(backend: Backend, tmp_path: Any) -> None:
    path = tmp_path / "cache.db"
    with LLMCache(path) as cache:
        Spending(cache=cache).invoke("?")
    with LLMCache(path) as cache:
        chain = RunnableLambda(lambda it: it) | Spending(cache=cache)
        chain.invoke("?", config_of(backend))
    (hit,) = backend.runs()
    assert_is_hit(hit, tier="store")


def test_hit_inside_an_agent(backend: Backend) -> None:
    agents = pytest.importorskip("langchain.agents")
    agent = agents.create_agent(Spending(cache=LLMCache()))
    for _ in range(2):
        agent.invoke({"messages": [("user", "?")]}, config_of(backend))
    call, hit = backend.runs()
    assert_is_call(call)
    assert_is_hit(hit)


def test_answer_is_the_same_with_and_without_a_tracer(backend: Backend) -> None:
    model = Spending(cache=LLMCache(fresh_ids=False))
    model.invoke("?")
    plain, traced = model.invoke("?"), model.invoke("?", config_of(backend))
    assert traced == plain
    assert traced.usage_metadata == {**SPENT, "total_cost": 0}
    assert traced.response_metadata["usage"] == SPENT
    assert backend.runs()[-1].tokens == 0


def test_bypass_is_a_call(backend: Backend) -> None:
    model = Spending(cache=LLMCache())
    with options(mode="bypass"):
        model.invoke("?", config_of(backend))
    (call,) = backend.runs()
    assert call.facts == {"hit": False, "outcome": "bypass", "reason": "requested"}
    assert (call.tokens, call.tags) in ((TOKENS, []), (TOKENS, ["llmemo:bypass"]))


def test_metric_of_openllmetry_counts_no_hit() -> None:
    pytest.importorskip(NEEDED[OpenLLMetry])
    for backend in begun(OpenLLMetry):
        model = Spending(cache=LLMCache())
        for _ in range(3):
            model.invoke("?", config_of(backend))
        assert isinstance(backend, OpenLLMetry)
        assert backend.tokens_in_metrics() == TOKENS


def test_langfuse_counts_no_cost_even_of_tokens_that_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(NEEDED[Langfuse])
    monkeypatch.setattr(unbilled, "_without_usage", lambda response, usage: response)
    for backend in begun(Langfuse):
        model = Spending(cache=LLMCache())
        for _ in range(2):
            model.invoke("?", config_of(backend))
        call, hit = backend.runs()
        assert (call.tokens, call.cost) == (TOKENS, TOKENS * PRICE)
        assert (hit.tokens, hit.cost) == (TOKENS, 0)

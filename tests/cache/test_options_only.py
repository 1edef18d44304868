"""`options(mode="only")` calls no model, also where no cache is asked: streams, `cache=False`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk, GenerationChunk
from langchain_core.prompts import PromptTemplate
from support import TESTS
from support.scripted import Passing, Scripted, ScriptedLLM, said

from llmemo import CacheMiss, LLMCache, options
from llmemo.langchain import chains
from llmemo.langchain.model_runs import open_runs
from llmemo.single_flight.holding import holds_anything

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
]


class Streaming(Scripted):
    def _stream(self, messages: Any, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        self.asked.append(messages[-1].text)
        yield ChatGenerationChunk(message=AIMessageChunk(content="streamed"))


class AStreaming(Streaming):
    async def _astream(
        self, messages: Any, *args: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        self.asked.append(messages[-1].text)
        yield ChatGenerationChunk(message=AIMessageChunk(content="streamed"))


class StreamingLLM(ScriptedLLM):
    def _stream(self, prompt: str, *args: Any, **kwargs: Any) -> Iterator[GenerationChunk]:
        self.asked.append(prompt)
        yield GenerationChunk(text="streamed")


def chain_of(model: Any) -> Any:
    return PromptTemplate.from_template("{text}") | model | StrOutputParser()


async def through(path: str, model: Any) -> None:
    """Ask for "p" in one of the ways that LangChain has to stream, or not."""
    if path == "invoke":
        model.invoke("p")
    elif path == "ainvoke":
        await model.ainvoke("p")
    elif path == "batch":
        model.batch(["p", "p"])
    elif path == "abatch":
        await model.abatch(["p", "p"])
    elif path == "stream":
        list(model.stream("p"))
    elif path == "astream":
        _ = [it async for it in model.astream("p")]
    elif path == "chain":
        list(chain_of(model).stream({"text": "p"}))
    elif path == "achain":
        _ = [it async for it in chain_of(model).astream({"text": "p"})]
    elif path == "events":
        _ = [it async for it in model.astream_events("p", version="v2")]
    elif path == "events of a chain":
        _ = [it async for it in chain_of(model).astream_events({"text": "p"}, version="v2")]
    elif path == "events v3":
        list(model.stream_events("p", version="v3"))
    else:
        _ = [it async for it in await model.astream_events("p", version="v3")]


ASKING = ["invoke", "ainvoke", "batch", "abatch"]
STREAMS = ["stream", "astream", "chain", "achain", "events", "events of a chain"]
# Of chat models, since langchain-core 1.4.
STREAMS_V3 = ["events v3", "aevents v3"] if hasattr(BaseChatModel, "stream_events") else []


@pytest.mark.parametrize("kind", [Streaming, AStreaming, StreamingLLM])
@pytest.mark.parametrize("path", [*STREAMS, *STREAMS_V3])
async def test_a_stream_is_refused_before_the_model_is_called(path: str, kind: Any) -> None:
    if kind is StreamingLLM and path in STREAMS_V3:
        pytest.skip("completion models have none")
    model = kind(act=str.upper, cache=LLMCache())
    model.invoke("p")  # is served to `invoke` only
    model.asked.clear()
    with options(mode="only"):
        with pytest.raises(CacheMiss, match='mode="only".*stream asks no'):
            await through(path, model)
        assert said(model.invoke("p")) == "P"
    assert (model.asked, open_runs(), holds_anything()) == ([], (), False)
    await through(path, model)
    assert model.asked == ["p"]


@pytest.mark.parametrize("kind", [Scripted, ScriptedLLM])
async def test_a_model_that_streams_by_invoke_is_served(kind: Any) -> None:
    model = kind(act=str.upper, cache=LLMCache())
    model.invoke("p")
    with options(mode="only"):
        for path in [*ASKING, *STREAMS]:
            await through(path, model)
    assert model.asked == ["p"]


@pytest.mark.parametrize("kind", [Streaming, StreamingLLM])
@pytest.mark.parametrize("path", [*ASKING, "stream", "astream"])
@pytest.mark.parametrize("cache", [False, None, "LangChain's"])
async def test_a_model_without_this_cache_is_not_called(cache: Any, path: str, kind: Any) -> None:
    model = kind(act=str.upper, cache=InMemoryCache() if cache else cache)
    with options(mode="only"), pytest.raises(CacheMiss, match="the model would be called"):
        await through(path, model)
    assert model.asked == []
    with options(mode="only"), options(mode="default"):
        await through(path, model)
    assert len(model.asked) > 0


@pytest.mark.parametrize("kind", [Streaming, StreamingLLM])
def test_a_cache_that_passes_lookups_on_is_asked(kind: Any) -> None:
    model = kind(act=str.upper, cache=Passing(LLMCache()))
    model.invoke("p")
    with options(mode="only"):
        assert said(model.invoke("p")) == "P"
        with pytest.raises(CacheMiss, match="absent"):
            model.invoke("q")
    assert model.asked == ["p"]


async def test_a_defect_in_a_callback_reaches_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(chains, "begin", broken)
    monkeypatch.setattr(chains, "enter", broken)
    chain = chain_of(Streaming(act=str.upper, cache=LLMCache()))
    assert chain.invoke({"text": "p"}) == "P"
    assert "".join([it async for it in chain.astream({"text": "p"})]) == "streamed"
    with options(mode="only"):
        assert await chain.ainvoke({"text": "p"}) == "P"


@pytest.mark.clients
@pytest.mark.parametrize("path", ["stream", "astream", "chain", "achain", "events", "no cache"])
async def test_no_request_is_sent(path: str) -> None:
    pytest.importorskip("langchain_openai")
    sys.path.insert(0, str(TESTS.parent / "examples"))
    from langchain_openai import ChatOpenAI
    from openai_server import OpenAIServer

    with OpenAIServer() as server:
        cache: Any = False if path == "no cache" else LLMCache()
        model: Any = ChatOpenAI(
            model="gpt-4o-mini",
            base_url=server.url,
            api_key="k",  # type: ignore[arg-type]
            cache=cache,
            max_retries=0,
        )
        with options(mode="only"), pytest.raises(CacheMiss):
            await through("invoke" if path == "no cache" else path, model)
        assert server.requests == 0
        model.invoke("p")
        assert server.requests == 1

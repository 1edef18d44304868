"""Models of all kinds, cached: those that lack streams, have only some, or call themselves."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, ToolCall
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.rate_limiters import BaseRateLimiter
from support.cached_calls import PATHS, finish, run
from support.streaming_models import Asked, Beside, OnlyStreams, Streams, SyncStreams

from llmemo import LLMCache, cached

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN_PATHS = [path for path in PATHS if not path.endswith("v3")]
every_path = pytest.mark.parametrize("path", PLAIN_PATHS)

ASKED_BY: dict[type[Asked], dict[str, str]] = {
    Asked: dict.fromkeys(PLAIN_PATHS, "_generate"),
    SyncStreams: dict.fromkeys(PLAIN_PATHS, "_stream")
    | dict.fromkeys(["invoke", "ainvoke", "batch", "abatch"], "_generate"),
    Streams: dict.fromkeys(["astream", "v1", "v2"], "_astream")
    | {"stream": "_stream"}
    | dict.fromkeys(["invoke", "ainvoke", "batch", "abatch"], "_generate"),
}


@every_path
@pytest.mark.parametrize("kind", ASKED_BY)
def test_the_model_is_asked_as_without_a_cache(kind: type[Asked], path: str) -> None:
    plain = kind()
    expected = run(path, plain)
    assert plain.asked == [ASKED_BY[kind][path]]
    model = cached(kind(), LLMCache())
    for _ in range(2):
        assert run(path, model) == expected
    assert model.asked == plain.asked


@every_path
def test_a_generate_that_streams_is_looked_up_once(path: str) -> None:
    cache = LLMCache()
    model = cached(OnlyStreams(), cache)
    run(path, model)
    assert model.asked in (["_stream"], ["_generate", "_stream"])
    assert (cache.stats().hits, cache.stats().misses, cache.stats().updates) == (0, 1, 1)


class Calls(Streams):
    """Calls tools, in one chunk each, and says what that has cost."""

    def chunks(self) -> Iterator[ChatGenerationChunk]:
        yield from super().chunks()
        for index, name in enumerate(("weather", "clock")):
            call = {"name": name, "args": '{"city": "Oslo"}', "id": f"call_{index}", "index": index}
            message = AIMessageChunk(content="", tool_call_chunks=[call])  # type: ignore[list-item]
            yield ChatGenerationChunk(message=message)
        usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
        message = AIMessageChunk(content="", usage_metadata=usage)  # type: ignore[arg-type]
        yield ChatGenerationChunk(message=message)


def test_a_stream_serves_a_call() -> None:
    cache = LLMCache()
    model = cached(Calls(), cache)
    chunks = list(model.stream("Why?"))
    whole = chunks[0] + chunks[1:]
    hit = model.invoke("Why?")
    assert (hit.content, hit.usage_metadata) == (whole.content, whole.usage_metadata)
    assert hit.tool_calls == whole.tool_calls
    assert [call["name"] for call in hit.tool_calls] == ["weather", "clock"]
    assert type(hit) is AIMessage
    assert len(model.asked) == 1


class Answers(Asked):
    """Its answers have all that a message can have."""

    def whole(self) -> ChatResult:
        call = ToolCall(name="weather", args={"city": "Oslo"}, id="call_1", type="tool_call")
        wrong: Any = {
            "name": "clock",
            "args": "{",
            "id": "2",
            "error": None,
            "type": "invalid_tool_call",
        }
        message = AIMessage(
            "".join(self.words),
            name="me",
            tool_calls=[call],
            invalid_tool_calls=[wrong],
            usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
            response_metadata={"a": 1, "finish_reason": "stop"},
            additional_kwargs={"kept": [1]},
        )
        info = {"finish_reason": "stop"}
        return ChatResult(generations=[ChatGeneration(message=message, generation_info=info)])


class LateStreams(Answers, Streams):
    """Streams what it says when it is asked for all of it."""


def test_a_call_serves_a_stream_as_one_chunk() -> None:
    cache = LLMCache(admit=None)
    model = cached(LateStreams(), cache)
    whole = model.invoke("Why?")
    for chunks in (list(model.stream("Why?")), finish(PATHS["astream"](model, "Why?", {}))):
        assert len(chunks) == 1
    (chunk,) = model.stream("Why?")
    assert isinstance(chunk, AIMessageChunk)
    same = ("content", "name", "tool_calls", "invalid_tool_calls", "usage_metadata")
    for name in (*same, "additional_kwargs"):
        assert getattr(chunk, name) == getattr(whole, name)
    assert list(chunk.response_metadata.items()) == list(whole.response_metadata.items())
    assert [call["args"] for call in chunk.tool_call_chunks] == ['{"city": "Oslo"}', "{"]
    # What LangChain makes of it in a graph, too: the wrong call does not become a right one.
    again = run("v2", model)[-1]["data"]["output"]
    assert [call["name"] for call in again["invalid_tool_calls"]] == ["clock"]
    assert [call["name"] for call in again["tool_calls"]] == ["weather"]
    assert chunk.chunk_position == "last"
    assert model.asked == ["_generate"]


def test_metadata_keep_their_order() -> None:
    model = cached(LateStreams(), LLMCache(admit=None))
    orders = [list(run("v2", model)[-1]["data"]["output"]["response_metadata"]) for _ in range(3)]
    orders += [list(run("invoke", model, callbacks=[])["response_metadata"]) for _ in range(2)]
    assert orders == [orders[0]] * 5


def test_fakes_of_langchain() -> None:
    cache = LLMCache()
    listed = cached(FakeListChatModel(responses=["one", "two"]), cache)
    for _ in range(2):
        assert [chunk.content for chunk in listed.stream("Why?")][:3] == ["o", "n", "e"]
        assert listed.invoke("Why?").content == "one"
    said = cached(GenericFakeChatModel(messages=iter([AIMessage("a b"), AIMessage("c")])), cache)
    for _ in range(2):
        assert "".join(chunk.text for chunk in said.stream("What?")) == "a b"
    assert cache.stats().misses == 2


class Noted(BaseRateLimiter):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def acquire(self, *, blocking: bool = True) -> bool:
        assert blocking
        self.asked.append("thread")
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        assert blocking
        await asyncio.sleep(0)
        self.asked.append("task")
        return True


@every_path
@pytest.mark.parametrize("kind", [Asked, Streams, SyncStreams, OnlyStreams])
def test_a_rate_limit_is_for_requests(kind: type[Asked], path: str) -> None:
    limiter = Noted()
    model = cached(kind(rate_limiter=limiter), LLMCache())
    for asked in (1, 1, 1):
        run(path, model)
        assert len(limiter.asked) == asked
    run(path, model, "What?")
    assert len(limiter.asked) == 2
    is_async = path in {"ainvoke", "abatch", "astream", "v1", "v2"}
    assert set(limiter.asked) == {"task" if is_async else "thread"}
    # A copy has it too, and without a cache it is asked each time.
    copied = cached(model.model_copy(), LLMCache())
    run(path, copied)
    assert len(limiter.asked) == 3


def test_a_rate_limit_of_many_at_once() -> None:
    limiter = Noted()
    model = cached(Streams(rate_limiter=limiter), LLMCache())

    async def main() -> None:
        calls = [PATHS[path](model, "Why?", {}) for path in ("astream", "v2", "ainvoke") * 10]
        await asyncio.gather(*calls)

    asyncio.run(main())
    # (A call and a stream of the same question may each lead.)
    assert len(limiter.asked) == len(model.asked) <= 2
    with ThreadPoolExecutor(8) as pool:
        streams = [pool.submit(lambda: list(model.stream("What?"))) for _ in range(8)]
        assert len({repr([chunk.content for chunk in it.result()]) for it in streams}) == 1
    assert len(limiter.asked) == len(model.asked) <= 3


def test_a_users_subclass_of_a_cached_class() -> None:
    class Louder(Beside):
        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            result = super()._generate(*args, **kwargs)
            result.generations[0].message.content = "LOUD"
            return result

    cache = LLMCache()
    model = cached(Louder(), cache)
    assert [model.invoke("Why?").content for _ in range(2)] == ["LOUD", "LOUD"]
    assert cached(Beside(), cache).invoke("Why?").content == "one two three"
    assert (cache.stats().hits, cache.stats().misses) == (1, 2)

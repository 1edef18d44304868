"""The ways in which people call a chat model; what must be equal between a call and its hits."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import BaseMessage
from pydantic import BaseModel, SecretStr

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.outputs import LLMResult


def openai(url: str, **options: Any) -> Any:
    """A client of OpenAI's chat completions."""
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        model="some-model",
        base_url=f"{url}/v1",
        api_key=SecretStr("unused"),
        max_retries=0,
        **options,
    )


def responses(url: str, **options: Any) -> Any:
    """A client of OpenAI's responses."""
    return openai(url, use_responses_api=True, **options)


def anthropic(url: str, **options: Any) -> Any:
    """A client of Anthropic's messages."""
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(
        model_name="some-model",
        base_url=url,
        api_key=SecretStr("unused"),
        max_retries=0,
        timeout=60,
        stop=None,
        **options,
    )


CLIENTS: dict[str, Callable[..., Any]] = {
    "openai": openai,
    "responses": responses,
    "anthropic": anthropic,
}


def weather(city: str) -> str:
    """Look up the weather in a city."""
    return f"rain in {city}"


def clock(city: str) -> str:
    """Look up the time in a city."""
    return f"noon in {city}"


FRESH = ("lc_", "run-", "resp_")
"""How the ids begin that are new on each hit: LangChain's own, and those of the Responses API."""


def comparable(value: Any) -> Any:
    """What must be equal, as plain values: all but the ids that LangChain makes, and times."""
    if isinstance(value, BaseModel):
        fields = {name: comparable(it) for name, it in value.__dict__.items()}
        if isinstance(value, BaseMessage):
            fields["id"] = "new"
        return {"class": type(value).__name__, **fields}
    if isinstance(value, dict):
        return {
            name: "run" if name in {"run_id", "parent_ids"} else comparable(it)
            for name, it in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [comparable(each) for each in value]
    if isinstance(value, str) and value.startswith(FRESH):
        return "new"
    if isinstance(value, (UUID, BaseException, type)):
        return type(value).__name__ if not isinstance(value, type) else value.__name__
    return value


class Told(list[Any]):
    """What handlers were told, in order."""

    def note(self, name: str, *arguments: Any) -> None:
        """Note a callback and its essential arguments, as they are now."""
        self.append([name, comparable(list(arguments))])


class Handler(BaseCallbackHandler):
    """Notes what it is told of models."""

    run_inline = True

    def __init__(self, told: Told) -> None:
        self.told = told

    def on_chat_model_start(self, serialized: Any, messages: Any, **more: Any) -> None:
        known = {name: more.get(name) for name in ("invocation_params", "options", "name", "tags")}
        self.told.note("start", serialized, messages, known)

    def on_llm_new_token(self, token: Any, *, chunk: Any = None, **more: Any) -> None:
        self.told.note("token", token, chunk, more.get("logprobs"))

    def on_stream_event(self, event: Any, **_: Any) -> None:
        self.told.note("event", event)

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        # No cache has `llm_output`; it stands in the message's `response_metadata`, too.
        self.told.note("end", response.generations)

    def on_llm_error(self, error: BaseException, **more: Any) -> None:
        self.told.note("error", error, more.get("response"))


class AsyncHandler(AsyncCallbackHandler):
    """The same, for async callers."""

    def __init__(self, told: Told) -> None:
        self.inner = Handler(told)

    async def on_chat_model_start(self, *args: Any, **more: Any) -> None:
        self.inner.on_chat_model_start(*args, **more)

    async def on_llm_new_token(self, *args: Any, **more: Any) -> None:
        self.inner.on_llm_new_token(*args, **more)

    async def on_stream_event(self, *args: Any, **more: Any) -> None:
        self.inner.on_stream_event(*args, **more)

    async def on_llm_end(self, *args: Any, **more: Any) -> None:
        self.inner.on_llm_end(*args, **more)

    async def on_llm_error(self, *args: Any, **more: Any) -> None:
        self.inner.on_llm_error(*args, **more)


def _v3(model: Any, question: Any, config: Any) -> Any:
    stream = model.stream_events(question, config, version="v3")
    return [list(stream), stream.output]


async def _av3(model: Any, question: Any, config: Any) -> Any:
    stream = await model.astream_events(question, config, version="v3")
    return [[event async for event in stream], await stream.output]


async def _collect(chunks: Any) -> list[Any]:
    return [comparable(chunk) async for chunk in chunks]


PATHS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "invoke": lambda model, question, config: model.invoke(question, config),
    "ainvoke": lambda model, question, config: model.ainvoke(question, config),
    "batch": lambda model, question, config: model.batch([question], config),
    "abatch": lambda model, question, config: model.abatch([question], config),
    "stream": lambda model, question, config: list(model.stream(question, config)),
    "astream": lambda model, question, config: _collect(model.astream(question, config)),
    "v1": lambda model, question, config: _collect(
        model.astream_events(question, config, version="v1")
    ),
    "v2": lambda model, question, config: _collect(
        model.astream_events(question, config, version="v2")
    ),
    "v3": _v3,
    "av3": _av3,
}
"""What a caller can do with a model, by name."""

ASYNC = frozenset({"ainvoke", "abatch", "astream", "v1", "v2", "av3"})
"""Those that are async."""


def finish(result: Any) -> Any:
    """What a call returns; an awaitable gets an event loop."""
    if not inspect.isawaitable(result):
        return result

    async def wait() -> Any:
        return await result

    return asyncio.run(wait())


def run(path: str, model: Any, question: Any = "Why?", **config: Any) -> Any:
    """Call a model; what that returns, to compare."""
    with warnings.catch_warnings():
        # LangChain warns of its own beta.
        warnings.simplefilter("ignore")
        return comparable(finish(PATHS[path](model, question, config)))


def told(path: str, model: Any, question: Any = "Why?") -> tuple[Any, Told]:
    """Call a model with a handler that fits; what it returns, and what the handler was told."""
    heard = Told()
    # Of the others, one has a plain handler, too.
    handler = AsyncHandler(heard) if path in ASYNC - {"v1"} else Handler(heard)
    return run(path, model, question, callbacks=[handler]), heard

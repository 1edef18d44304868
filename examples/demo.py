"""What a cache saves: a call, a stream, an agent's run and ten calls at once.

    python examples/demo.py

Each is made first, again, and in a new process. A `ChatOpenAI` and a `create_agent` with two tools
run over HTTP, behind llmemo with a SQLite file and behind LangChain's InMemoryCache. With
OPENAI_API_KEY set they talk to the real service (the model is OPENAI_MODEL, if set); without,
to the server in `openai_server.py`, which takes its time as a model would. Last, a question that is
like another one (`similar_questions.py`). `make bench` compares with more caches.

Exits with 1 if a repeated chat or stream reached the service although llmemo had its answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import openai
from langchain.agents import create_agent
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.messages import BaseMessage
from langchain_openai import ChatOpenAI
from openai_server import OpenAIServer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table
from similar_questions import similar_questions

from llmemo import LLMCache, cached

DEFAULT_MODEL = "gpt-5.4-nano"
CHAT = "In one sentence: why is the sky blue?"
AGENT = "What is the weather in Paris, and what is that temperature in Fahrenheit?"
CACHES = ("llmemo", "InMemoryCache")
CROWD = "In one sentence: why is the sea salt?"
STREAM = "In one sentence: why do leaves turn red in autumn?"
CALLS = ("chat", "stream", "agent", "10 at once")
PACE = 0.03  # seconds that the example's own server takes for each chunk of a stream


@dataclass(frozen=True)
class Setup:
    """What a process has to know in order to make its calls."""

    cache: str
    times: int  # how often to make each call
    folder: str
    url: str | None  # None: the real service


@dataclass(frozen=True)
class Measured:
    """One call: its duration in seconds, and the HTTP requests that it sent."""

    seconds: float
    requests: int
    first: float  # seconds until there was something to show: of a stream, its first words
    texts: list[str]  # of the messages; of a stream, of its chunks

    @property
    def time(self) -> str:
        """The duration, for people."""
        return shown(self.seconds)


Results = dict[str, list[Measured]]  # by call
Call = Callable[[], AsyncIterator[BaseMessage]]


def shown(seconds: float) -> str:
    """Format a duration for people."""
    return f"{seconds * 1000:,.1f} ms"


@asynccontextmanager
async def opened(name: str, folder: str) -> AsyncIterator[BaseCache]:
    """Open a cache; where a second process opens it again, it finds what the first one stored."""
    if name == "llmemo":
        async with LLMCache(Path(folder) / "llmemo.db") as cache:
            yield cache
    else:
        yield InMemoryCache()


def get_weather(city: str) -> str:
    """Look up the current weather in a city."""
    return f"21.5 degrees Celsius and dry in {city}."


def convert_temperature(celsius: float, unit: Literal["fahrenheit", "kelvin"]) -> str:
    """Convert a temperature in degrees Celsius to another unit."""
    value = celsius * 9 / 5 + 32 if unit == "fahrenheit" else celsius + 273.15
    return f"{value:.1f} degrees {unit.title()}."


def prepare(call: str, model: Any, cache: str) -> Call:
    """Build the call: a plain one, a stream, the run of an agent with two tools, or a crowd."""
    agent: Any = create_agent(model, [get_weather, convert_temperature])
    # LangChain asks a cache for no stream; a model of `cached` does.
    streamed = cached(model) if cache == "llmemo" else model

    async def chat() -> AsyncIterator[BaseMessage]:
        yield await model.ainvoke(CHAT)

    async def stream() -> AsyncIterator[BaseMessage]:
        async for chunk in streamed.astream(STREAM):
            if chunk.content:
                yield chunk

    async def run_agent() -> AsyncIterator[BaseMessage]:
        state = await agent.ainvoke({"messages": [("user", AGENT)]})
        for message in state["messages"]:
            yield message

    async def crowd() -> AsyncIterator[BaseMessage]:
        for message in await asyncio.gather(*(model.ainvoke(CROWD) for _ in range(10))):
            yield message

    return {"chat": chat, "stream": stream, "agent": run_agent}.get(call, crowd)


async def warm_up(cache: str) -> None:
    """Make each call once without a cache, to a server of this process.

    LangChain and the client import and build a good deal at their first call. That would count as
    the model's time, and a restarted program pays it with a hit, too.
    """
    with OpenAIServer() as server:
        async with openai.DefaultAsyncHttpxClient(trust_env=False) as http:
            local: Any = {"base_url": server.url, "api_key": SecretStr("unused"), "cache": False}
            model = ChatOpenAI(model=DEFAULT_MODEL, http_async_client=http, **local)
            for call in CALLS:
                _ = [message async for message in prepare(call, model, cache)()]


async def run(setup: Setup) -> Results:
    """Make each call `setup.times` times in this process, behind one cache."""
    sent = 0

    async def count(_: object) -> None:
        nonlocal sent
        sent += 1

    results: Results = {call: [] for call in CALLS}
    hooks: Any = {"request": [count]}
    # No proxy stands before 127.0.0.1, whatever the environment says.
    proxy = None if setup.url else os.environ.get("OPENAI_PROXY") or None
    async with openai.DefaultAsyncHttpxClient(
        event_hooks=hooks, trust_env=setup.url is None, proxy=proxy
    ) as http:
        local: Any = {"base_url": setup.url, "api_key": SecretStr("unused")} if setup.url else {}
        model = ChatOpenAI(model=model_name(), http_async_client=http, openai_proxy=None, **local)
        await warm_up(setup.cache)
        started = time.perf_counter()
        async with opened(setup.cache, setup.folder) as cache:
            set_llm_cache(cache)
            # Some caches open their file when they are made, some at the first lookup: a process's
            # first call is charged for both.
            opening = time.perf_counter() - started
            for call in CALLS:
                make = prepare(call, model, setup.cache)
                for _ in range(setup.times):
                    before, started, first, texts = sent, time.perf_counter() - opening, 0.0, []
                    async for message in make():
                        first = first or time.perf_counter() - started
                        texts.append(str(message.text))
                    seconds, opening = time.perf_counter() - started, 0.0
                    results[call].append(Measured(seconds, sent - before, first, texts))
    return results


def in_new_process(setup: Setup) -> Results:
    """Do so in a new process, which has nothing but what the cache left on disk."""
    command = [sys.executable, __file__, "--run", json.dumps(asdict(setup))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.strip() or f"demo: a process of its own exited {done.returncode}")
    return {
        call: [Measured(**each) for each in row] for call, row in json.loads(done.stdout).items()
    }


def model_name() -> str:
    """The model asked for; the example's own server takes any name."""
    return os.environ.get("OPENAI_MODEL") or DEFAULT_MODEL if is_real() else DEFAULT_MODEL


def is_real() -> bool:
    """Whether the real service is to be asked."""
    return bool(os.environ.get("OPENAI_API_KEY"))


def conclusions(results: Results) -> list[str]:
    """Say in words what llmemo's numbers show, and nothing else."""
    cold, again, after = results["chat"]
    chat = f"A chat behind llmemo took {cold.time} with the model's answer, "
    chat += f"{again.time} when repeated, {after.time} after a restart."
    cold, again, after = results["stream"]
    is_same = cold.texts == again.texts == after.texts
    stream = f"A stream of {len(cold.texts)} chunks showed its first after {shown(cold.first)}; "
    stream += f"repeated, after {shown(again.first)}; restarted, after {shown(after.first)}. "
    stream += f"The chunks were {'' if is_same else 'NOT '}the same."
    cold, again, after = results["agent"]
    agent = f"The agent sent {cold.requests} requests at first, "
    agent += f"{again.requests} when repeated, {after.requests} after the restart."
    cold, *_ = results["10 at once"]
    crowd = f"10 callers who asked the same at once sent {cold.requests} in all."
    return [chat, stream, agent, crowd]


def reached(results: Results) -> list[str]:
    """Name the repeated chats and streams that reached the service: there should be none."""
    return [
        f"{call}, {when}"
        for call in ("chat", "stream")
        for when, measured in zip(("repeated", "restarted"), results[call][1:], strict=True)
        if measured.requests
    ]


def measure(url: str | None, console: Console) -> dict[str, Results]:
    """Make every call behind every cache; a second process finds what the first one stored."""
    results: dict[str, Results] = {}
    with tempfile.TemporaryDirectory() as folder:
        for cache in CACHES:
            setup = Setup(cache, 2, folder, url)
            console.print(f"{cache}: {', '.join(CALLS)}; first and again …")
            first = in_new_process(setup)
            console.print(f"{cache}: the same in a new process …")
            second = in_new_process(replace(setup, times=1))
            results[cache] = {call: first[call] + second[call] for call in CALLS}
    return results


def table_of(results: dict[str, Results]) -> Table:
    """Draw the table: a row for each cache and call."""
    table = Table("cache", "call")
    for name in ("cold", "repeated", "restarted", "requests"):
        table.add_column(name, justify="right")
    for cache in CACHES:
        for call, row in results[cache].items():
            requests = ", ".join(str(each.requests) for each in row)
            times = [each.time for each in row]
            table.add_row(cache, call, *times, requests, end_section=call == CALLS[-1])
    return table


def demo(latency: float) -> None:
    """Measure every cache with every call, and print the table."""
    console = Console(highlight=False)
    with nullcontext() if is_real() else OpenAIServer(latency, PACE) as server:
        own = f"the example's own server, which takes {latency:g} s a request"
        console.print(
            "ChatOpenAI over HTTP, to", own if server else f"the service ({model_name()})"
        )
        results = measure(server.url if server else None, console)
        rows = [row for by_call in results.values() for row in by_call.values()]
        sent = sum(each.requests for row in rows for each in row)
        if server and server.requests != sent:
            sys.exit(f"demo: clients sent {sent} requests, the server got {server.requests}")
    console.print(
        table_of(results),
        "Requests: cold, repeated, restarted.",
        "A process's first call, a chat, includes opening the cache.",
        sep="\n",
    )
    if server:
        console.print(f"{sent} requests in all, by the clients' count and by the server's.")
    for line in [*conclusions(results["llmemo"]), *similar_questions()]:
        console.print(line)
    if calls := reached(results["llmemo"]):
        sys.exit(f"demo: llmemo had these answers, yet asked the model: {'; '.join(calls)}")


def main() -> None:
    """Run the demo or, started by the demo itself, the calls of one process."""
    parser = argparse.ArgumentParser(description="What a cache saves, in a table.")
    parser.add_argument(
        "--latency", type=float, default=0.25, help="of the example's own server, in seconds"
    )
    parser.add_argument("--run", help=argparse.SUPPRESS)
    args = parser.parse_args()
    # A demo is not traced to LangSmith, whatever this shell is set up for.
    os.environ.update(LANGSMITH_TRACING="false", LANGCHAIN_TRACING_V2="false")
    if args.latency < 0:
        parser.error(f"--latency is {args.latency:g}; it must be 0 or more seconds")
    try:
        if args.run is None:
            demo(args.latency)
            return
        results = asyncio.run(run(Setup(**json.loads(args.run))))
        print(json.dumps({call: [asdict(each) for each in row] for call, row in results.items()}))
    except openai.OpenAIError as error:
        # Not its text: where the key is wrong, the service repeats a part of it.
        sys.exit(f"demo: the model service could not be used ({type(error).__name__})")


if __name__ == "__main__":
    main()

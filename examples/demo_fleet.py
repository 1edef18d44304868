"""Four processes that share a Redis server: one model call for all, and one change for all.

    python examples/demo_fleet.py

It starts a redis-server (Debian: apt-get install redis-server), the model server of
`openai_server.py`, and four processes, as four machines would run them. All ask the same at the
same time. Then one of them replaces the answer, and the others are asked again.

Exits with 1 if the model was asked more than once, or a process kept the old answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from langchain_openai import ChatOpenAI
from openai_server import OpenAIServer
from pydantic import SecretStr

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection

    from langchain_core.outputs import Generation

PROCESSES = 4
LATENCY = 1.0
QUESTION = "In one sentence: why is the sky blue?"
NEW = "Because air scatters blue light more than red."
WAIT = 30.0
"""Seconds until something counts as failed."""


@contextmanager
def redis_server() -> Iterator[str]:
    """A server on a free port of 127.0.0.1, without persistence: its URL."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        sys.exit("demo: no redis-server here (Debian: apt-get install redis-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        server = subprocess.Popen(
            [program, *where, "--save", "", "--appendonly", "no", "--loglevel", "warning"],
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_for(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            server.kill()
            server.wait()


def wait_for(port: int) -> None:
    """Wait until something listens on a port."""
    limit = time.monotonic() + WAIT
    while time.monotonic() < limit:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    sys.exit("demo: the redis-server did not start")


class Watched(LLMCache):
    """A cache that notes what it was asked: the text and the name of LangChain's request."""

    asked: tuple[str, str] = ("", "")

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """As of `LLMCache`."""
        self.asked = (prompt, llm_string)
        return await super().alookup(prompt, llm_string)


async def work(orders: Connection, redis: str, url: str) -> None:
    """One of the processes: does what it is told, and says what came of it."""
    async with Watched(redis) as cache:
        model = ChatOpenAI(base_url=url, api_key=SecretStr("unused"), model="any", cache=cache)
        orders.send("ready")
        while (order := orders.recv()) != "end":
            began = time.perf_counter()
            if order == "replace":
                text, message = NEW, AIMessage(NEW)
                await cache.aupdate(*cache.asked, [ChatGeneration(message=message)])
            else:
                text = str((await model.ainvoke(QUESTION)).content)
            orders.send((time.perf_counter() - began, text))


def worker(orders: Connection, redis: str, url: str) -> None:
    """Run one of the processes."""
    os.environ.update(LANGSMITH_TRACING="false", LANGCHAIN_TRACING_V2="false")
    asyncio.run(work(orders, redis, url))


@contextmanager
def started(redis: str, url: str) -> Iterator[list[Connection]]:
    """The fleet: a connection to each of its processes, once all are ready."""
    # Forked from a process that has done the imports, which take longer than all the rest.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["langchain_openai", "llmemo"])
    fleet: list[Connection] = []
    processes = []
    for _ in range(PROCESSES):
        here, there = context.Pipe()
        process = context.Process(target=worker, args=(there, redis, url), daemon=True)
        process.start()
        there.close()
        fleet.append(here)
        processes.append(process)
    for orders in fleet:
        orders.recv()
    yield fleet
    for orders in fleet:
        orders.send("end")
    for process in processes:
        process.join()


def tell(fleet: Sequence[Connection], order: str) -> list[tuple[float, str]]:
    """Tell processes something, all at once. Returns seconds and text of each."""
    for orders in fleet:
        orders.send(order)
    return [orders.recv() for orders in fleet]


def show(title: str, replies: Sequence[tuple[float, str]]) -> None:
    """Print what the processes have said."""
    print(f"\n{title}")
    for number, (seconds, text) in enumerate(replies, start=1):
        print(f"  process {number}  {seconds * 1000:7.1f} ms  {text}"[:80])


def demo() -> bool:
    """Run it, and print what happens. Returns whether all went as it should."""
    with (
        redis_server() as redis,
        OpenAIServer(LATENCY) as server,
        started(redis, server.url) as fleet,
    ):
        print(
            f"{PROCESSES} processes, one Redis server, one model that takes {LATENCY:g} s a call."
        )
        show("All ask the same at the same time:", tell(fleet, "ask"))
        print(f"  The model was called {server.requests} time(s).")
        show("All ask again, and have it in their own memory:", tell(fleet, "ask"))
        show("Process 1 replaces the answer:", tell(fleet[:1], "replace"))
        began = time.monotonic()
        replies = tell(fleet, "ask")
        while any(text != NEW for _, text in replies) and time.monotonic() < began + WAIT:
            time.sleep(0.02)
            replies = tell(fleet, "ask")
        followed = all(text == NEW for _, text in replies)
        show("The others follow:", replies)
        print(f"  All had it {time.monotonic() - began:.2f} s later.")
        print(f"  The model was called {server.requests} time(s) in all.")
        return server.requests == 1 and followed


if __name__ == "__main__" and not demo():
    sys.exit("demo: the processes did not share what they should")

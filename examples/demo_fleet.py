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
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from langchain_core.outputs import ChatGeneration
from langchain_openai import ChatOpenAI
from openai_server import OpenAIServer
from pydantic import SecretStr

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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


async def worker(redis: str, url: str) -> None:
    """One of the processes: does what it is told on stdin, and says on stdout what came of it."""
    async with Watched(redis) as cache:
        model = ChatOpenAI(base_url=url, api_key=SecretStr("unused"), model="any", cache=cache)
        print("ready", flush=True)
        for line in sys.stdin:
            began = time.perf_counter()
            if line.strip() == "replace":
                answer = await cache.alookup(*cache.asked)
                assert answer, "it was just asked"
                message = answer[0].message.model_copy(update={"content": NEW})  # type: ignore[attr-defined]
                await cache.aupdate(*cache.asked, [ChatGeneration(message=message)])
                text = NEW
            else:
                text = str((await model.ainvoke(QUESTION)).content)
            print(f"{time.perf_counter() - began:.3f} {text}", flush=True)


def tell(processes: Sequence[subprocess.Popen[str]], what: str) -> list[tuple[float, str]]:
    """Tell processes something, all at once. Returns seconds and text of each."""
    for process in processes:
        assert process.stdin is not None
        print(what, file=process.stdin, flush=True)
    made = []
    for process in processes:
        assert process.stdout is not None
        seconds, _, text = process.stdout.readline().strip().partition(" ")
        if not seconds:
            sys.exit("demo: a process has ended")
        made.append((float(seconds), text))
    return made


def show(title: str, replies: Sequence[tuple[float, str]]) -> None:
    """Print what the processes have said."""
    print(f"\n{title}")
    for number, (seconds, text) in enumerate(replies, start=1):
        print(f"  process {number}  {seconds * 1000:7.1f} ms  {text}"[:80])


def demo() -> bool:
    """Run it, and print what happens. Returns whether all went as it should."""
    with redis_server() as redis, OpenAIServer(LATENCY) as server, contextlib.ExitStack() as stack:
        command = [sys.executable, __file__, redis, server.url]
        fleet = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(PROCESSES)
        ]
        for process in fleet:
            assert process.stdout is not None
            process.stdout.readline()
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


def main() -> None:
    """Run the demo or, started by it, one of the processes."""
    os.environ.update(LANGSMITH_TRACING="false", LANGCHAIN_TRACING_V2="false")
    if len(sys.argv) > 1:
        asyncio.run(worker(*sys.argv[1:]))
    elif not demo():
        sys.exit("demo: the processes did not share what they should")


if __name__ == "__main__":
    main()

"""A process that calls a model through a cache: `main`, with STORE LOG CALLERS SECONDS.

Says "ready", waits for a line, calls as many times at once as it is told, and prints how many
different answers it got and how many of them came from its own calls. Each call of the model adds
its process id to LOG and takes SECONDS; the answer says whose it is.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from llmemo import LLMCache
from support.scripted import Scripted, said


async def call(store: str, log: str, callers: int, seconds: float) -> None:
    def note() -> None:
        descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        os.close(descriptor)

    async def act(text: str) -> str:
        note()
        await asyncio.sleep(seconds)
        return f"{os.getpid()} says {text}"

    async with LLMCache(store, store_timeout=30) as cache:
        model = Scripted(act=act, cache=cache)
        os.write(1, b"ready\n")
        await asyncio.to_thread(sys.stdin.readline)
        answers = await asyncio.gather(*(model.ainvoke("hello") for _ in range(callers)))
        stats = cache.stats()
        told = {
            "answers": sorted({said(each) for each in answers}),
            "errors": stats.errors,
            "skipped": stats.skipped,
            "asked": len(model.asked),
        }
        os.write(1, json.dumps(told).encode() + b"\n")


def main() -> None:
    _, path, log_path, count, duration = sys.argv
    asyncio.run(call(path, log_path, int(count), float(duration)))

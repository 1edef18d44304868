"""Time of a report: a million entries in memory, and a file of many rows.

python -m benches.report_page [entries] [rows]
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path

from langchain_core.outputs import Generation
from typing_extensions import Self

from llmemo import LLMCache, options
from llmemo.stores import Record
from llmemo.stores.sqlite import SQLiteStore

TENANTS = 1_000


def fill_memory(cache: LLMCache, entries: int) -> None:
    answer = [Generation(text="As far as we know, yes.")]
    for tenant in range(TENANTS):
        with options(namespace=f"tenant-{tenant}"):
            for number in range(entries // TENANTS):
                cache.update(f"question {number}", "model", answer)


async def fill_file(store: SQLiteStore, rows: int) -> None:
    await store.open()
    for begin in range(0, rows, 10_000):
        await store.set(
            [
                Record(
                    number.to_bytes(32, "big"),
                    b"v" * 1_000,
                    (number % TENANTS).to_bytes(16, "big"),
                    bytes(16),
                    1_700_000_000.0,
                    None,
                )
                for number in range(begin, min(begin + 10_000, rows))
            ]
        )
    await store.close()


class Ticker:
    """The longest time between two turns of a thread that only sleeps: what it had to wait."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        last = time.perf_counter()
        while not self._stop.wait(0.001):
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def timed(cache: LLMCache, path: Path) -> str:
    with Ticker() as ticker:
        begin = time.perf_counter()
        cache.report(path)
        seconds = time.perf_counter() - begin
    size = path.stat().st_size // 1024
    return f"{seconds:.2f} s, {size} KiB; a thread waited {1e3 * ticker.longest:.0f} ms at most"


def main(entries: int = 1_000_000, rows: int = 200_000) -> None:
    import asyncio

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.html")
        with LLMCache(max_bytes=8 * 2**30) as cache:
            fill_memory(cache, entries)
            for number in range(64):
                with options(namespace="tenant-1"):
                    cache.lookup(f"another question {number}", "model")
            print(f"{entries:,} entries in memory: {timed(cache, path)}")
        store = SQLiteStore(Path(folder, "answers.db"))
        asyncio.run(fill_file(store, rows))
        with LLMCache(Path(folder, "answers.db")) as cache:
            print(f"{rows:,} rows in a file: {timed(cache, path)}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

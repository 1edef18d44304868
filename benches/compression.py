"""What compressing answers on their way to a store costs and saves, by size.

    python benches/compression.py

Prints the table of docs/decisions/compression.md, which has the border and the level chosen by it.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from pydoc_data import topics
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration

from llmemo import SQLiteStore
from llmemo._core import compress, decompress, encode
from llmemo.stores import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KB = 1024
SIZES = [KB // 2, KB, 2 * KB, 4 * KB, 8 * KB, 32 * KB, 128 * KB, KB**2]
LEVELS = (1, 3, 6)
ROUNDS = 9
BATCH = 64
KEY = bytes(32)

PROSE = "\n\n".join(topics.topics.values())
CODE = "\n\n".join(map(inspect.getsource, (argparse := __import__("argparse"), asyncio.tasks)))


def logprobs(size: int) -> dict[str, object]:
    """Probabilities of tokens, as OpenAI's API gives them."""
    words = itertools.cycle(PROSE.split())
    content: list[dict[str, object]] = []
    while size > 0:
        word = next(words)
        entry = {"token": word, "bytes": list(word.encode()), "logprob": -len(content) / 7}
        content.append({**entry, "top_logprobs": []})
        size -= 4 * len(word) + 60
    return {"content": content}


def answer(kind: str, size: int, start: int = 0) -> bytes:
    """The value of an answer of about `size` bytes, elsewhere in the text for each `start`."""
    text = {"prose": PROSE, "code": CODE}.get(kind, "Done.")
    while len(text) < start + size:
        text += text[::-1]
    metadata: dict[str, object] = {"model_name": "gpt-5-mini-2025-08-07", "finish_reason": "stop"}
    if kind == "logprobs":
        metadata["logprobs"] = logprobs(size)
    usage = {"input_tokens": 812, "output_tokens": 263, "total_tokens": 1075}
    calls = []
    if kind == "tool call":
        rows = [
            {"city": f"City {n}", "degrees": n * 7 % 40, "unit": "C"} for n in range(size // 60)
        ]
        calls = [{"name": "report", "args": {"rows": rows}, "id": "call_1"}]
    message = AIMessage(
        text[start : start + size] if kind in ("prose", "code") else text,
        id="lc_run--019ac5a3-2f0b-7d20-9c53-9b5a3c2f7e11-0",
        response_metadata=metadata,
        usage_metadata=usage,
        tool_calls=calls,
    )
    return encode([ChatGeneration(message=message)], KEY)


def microseconds(work: Callable[[], object], times: int) -> float:
    """Of one call: the median of several rounds."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(times):
            work()
        rounds.append((time.perf_counter() - start) / times * 1e6)
    return statistics.median(rounds)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for row in (head, ["---:"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")


def sizes_and_times() -> None:
    """How much smaller, at what price, at each level."""
    rows = []
    for size in SIZES:
        kinds = {kind: answer(kind, size) for kind in ("prose", "code", "tool call", "logprobs")}
        times = max(5, 2**21 // size)
        for level in LEVELS:
            small = {k: compress(v, level=level, least=0) for k, v in kinds.items()}
            shares = [f"{len(small[k]) / len(v):.0%}" for k, v in kinds.items()]
            value = kinds["prose"]
            down = microseconds(partial(compress, value, level=level, least=0), times)
            up = microseconds(partial(decompress, small["prose"]), times)
            rows.append([f"{len(value):,} B", str(level), *shares, f"{down:.1f}", f"{up:.1f}"])
    table(["value", "level", *kinds, "compress, µs", "restore, µs"], rows)


async def store_times(path: Path, values: Sequence[bytes]) -> tuple[float, float]:
    """Writing and reading a batch of rows, in µs for each row."""
    numbers = itertools.count()
    store = SQLiteStore(path)
    await store.open()
    writes, reads = [], []
    for _ in range(ROUNDS):
        keys = [json.dumps(next(numbers)).encode().rjust(32) for _ in values]
        records = [Record(k, v, b"", b"", 0.0, None) for k, v in zip(keys, values, strict=True)]
        start = time.perf_counter()
        await store.set(records)
        middle = time.perf_counter()
        await store.get(keys)
        writes.append((middle - start) / len(values) * 1e6)
        reads.append((time.perf_counter() - middle) / len(values) * 1e6)
    await store.close()
    return statistics.median(writes), statistics.median(reads)


def through_the_store() -> None:
    """What the store saves: compression itself included."""
    rows = []
    for size in SIZES:
        values = [answer("prose", size, start=n * 997) for n in range(BATCH)]
        row = [f"{len(values[0]):,} B"]
        for level in (None, *LEVELS):
            stored = values
            down = up = 0.0
            if level is not None:
                stored = [compress(value, level=level, least=0) for value in values]
                down = microseconds(partial(compress, values[0], level=level, least=0), 20)
                up = microseconds(partial(decompress, stored[0]), 20)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "c.db"
                write, read = asyncio.run(store_times(path, stored))
                disk = path.stat().st_size / ROUNDS / len(values)
            row += [f"{write + down:.0f} / {read + up:.0f} / {disk / KB:.1f}"]
        rows.append(row)
    print(f"\nWrite, µs / read, µs / file, KB, of one of {BATCH} rows of prose:\n")
    table(["value", "as it is", *(f"level {level}" for level in LEVELS)], rows)


if __name__ == "__main__":
    sizes_and_times()
    through_the_store()

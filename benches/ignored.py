"""What a hit costs whose request has an id of its own: `LLMCache(ignore=…)`.

    python benches/ignored.py

Memory does not find such a request by its text: the text is read again, and the entry is found by
its key. Both ways are timed in turns, with a text as ChatOpenAI's and a prompt of 1 KB.
"""

from __future__ import annotations

import json
import statistics
import time
import uuid
from typing import TYPE_CHECKING

from langchain_core.outputs import Generation

from llmemo import LLMCache

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOKUPS = 2_000
ROUNDS = 7
PROMPT = "x" * 1_000


def llm_string(request_id: str) -> str:
    """The text of a model with a request id among its headers."""
    arguments = {
        "default_headers": {"x-request-id": request_id, "x-team": "a"},
        "max_tokens": 100,
        "model_name": "some-model",
        "temperature": 0.5,
    }
    path = ["langchain", "chat_models", "openai", "ChatOpenAI"]
    head = {"id": path, "kwargs": arguments, "lc": 1, "type": "constructor"}
    return json.dumps(head, sort_keys=True) + "---[('stop', None)]"


def seconds(cache: LLMCache, texts: Sequence[str]) -> float:
    """How long hits take, one for each text."""
    start = time.perf_counter()
    for text in texts:
        if cache.lookup(PROMPT, text) is None:
            message = "that was no hit"
            raise AssertionError(message)
    return time.perf_counter() - start


def main() -> None:
    """Print the medians, and their ratio."""
    cache = LLMCache(ignore=("default_headers.x-request-id", "user"))
    same = [llm_string("0")] * LOOKUPS
    others = [llm_string(str(uuid.uuid4())) for _ in range(LOOKUPS)]
    cache.update(PROMPT, same[0], [Generation(text="y" * 500)])
    rounds = []
    for _ in range(ROUNDS):
        cache.lookup(PROMPT, same[0])
        rounds.append((seconds(cache, same), seconds(cache, others)))
    plain, ids = (statistics.median(it) / LOOKUPS * 1e6 for it in zip(*rounds, strict=True))
    print(f"the same text: {plain:.1f} µs; an id of its own: {ids:.1f} µs; {ids / plain:.1f} times")


if __name__ == "__main__":
    main()

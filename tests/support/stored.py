"""Requests and answers of `tests/vectors/store.db`, and the program that writes it.

    PYTHONPATH=<a checkout>/python python tests/support/stored.py

The file in the repository was written by the commit before the code was filed into rooms (f3720a9).
It is never written again: later versions have to read it. Its answers are encrypted for half of the
requests, by `KEY`.
"""

from __future__ import annotations

from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, Generation

HERE = Path(__file__).resolve().parents[1] / "vectors"
KEY = "a key for the tests"
MADE = 1_796_000_000.0
"""When the file was written, as Unix time in seconds."""

LLM = (
    '{"id": ["langchain", "chat_models", "openai", "ChatOpenAI"], "kwargs":'
    ' {"model_name": "gpt-4o", "temperature": 0.2}, "lc": 1,'
    ' "type": "constructor"}---[(\'stop\', None)]'
)

ANSWERS: dict[tuple[str, str, str], list[Generation]] = {
    ("", "2 + 2?", "[('model', 'm'), ('temperature', 0.0)]"): [Generation(text="4")],
    ("tenant", "2 + 2?", "[('model', 'm'), ('temperature', 0.0)]"): [Generation(text="four")],
    ("", dumps([SystemMessage("Be brief."), HumanMessage("Weather?")]), LLM): [
        ChatGeneration(
            message=AIMessage(
                "",
                id="msg_1",
                tool_calls=[{"name": "weather", "args": {"city": "Rome"}, "id": "call_1"}],
                usage_metadata={"input_tokens": 12, "output_tokens": 7, "total_tokens": 19},
                response_metadata={"finish_reason": "tool_calls", "model_name": "gpt-4o"},
            )
        )
    ],
    ("", dumps([HumanMessage("A long one.")]), LLM): [
        ChatGeneration(message=AIMessage("long, and compressed. " * 400, id="msg_2"))
    ],
    ("", dumps([HumanMessage("Values.")]), LLM): [
        ChatGeneration(
            message=AIMessage(
                "values",
                id="msg_3",
                additional_kwargs={
                    "day": date(2026, 11, 29),
                    "time": datetime(2026, 11, 29, 12, 30, tzinfo=timezone.utc),
                    "price": Decimal("1.20"),
                    "id": UUID(int=7),
                    "bytes": b"\x00\xff",
                    "set": {1, 2, 3},
                    "tuple": (1, "two", 3.0, None, True),
                },
            )
        )
    ],
}


def write(path: Path, key: str | None) -> None:
    """Write a store with all answers."""
    from llmemo import LLMCache, options

    with LLMCache(path, encryption_key=key, clock=lambda: MADE) as cache:
        for (namespace, prompt, llm_string), answer in ANSWERS.items():
            with options(namespace=namespace):
                cache.update(prompt, llm_string, answer)
        assert cache.stats().updates == len(ANSWERS), cache.stats()


if __name__ == "__main__":
    write(HERE / "store.db", None)
    write(HERE / "encrypted.db", KEY)

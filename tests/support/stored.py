"""Requests and answers of `tests/vectors/store.db`, and the program that writes it.

    PYTHONPATH=<a checkout>/python:tests python -m support.stored FOLDER

The files in the repository are never written again: later versions have to read them.

- `store.db` and `encrypted.db` (by `KEY`) were written by the commit before the code was filed into
  rooms (f3720a9). Their schema is version 3.
- `schema-1.db` and `schema-2.db` have the rows of `store.db`, in the tables that the commits
  37b0b12~1 and 37b0b12 made. What these commits themselves had written is not found any more, since
  keys have had another version since 91bd167.
- `schema-4.db` was written by the commit that added it, and has a certified semantic tier.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
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


def write_semantic(path: Path) -> None:
    """Add answers that serve similar questions, with a certificate."""
    from support.near import certify, keep, near_cache, wording

    with near_cache(path, clock=lambda: MADE) as cache:
        certify(cache)
        keep(cache, wording(0, "tides"))


def copy_to_schema(path: Path, source: Path, version: int) -> None:
    """Write the answers of a file to another one, whose tables are those of an older schema."""
    from llmemo.stores.sqlite.path_checks import APPLICATION_ID
    from llmemo.stores.sqlite.schema import MIGRATIONS

    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("ATTACH ? AS source", [str(source)])
        connection.execute("INSERT INTO entries SELECT * FROM source.entries")
        connection.commit()
        connection.execute("PRAGMA journal_mode = WAL")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write(folder / "store.db", None)
    write(folder / "encrypted.db", KEY)
    for older in (1, 2):
        copy_to_schema(folder / f"schema-{older}.db", HERE / "store.db", older)
    write(folder / "schema-4.db", None)
    write_semantic(folder / "schema-4.db")

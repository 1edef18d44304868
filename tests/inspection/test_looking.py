"""stats, ls and show say what a store holds, and nothing else; nothing is written for that."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import time
from datetime import date
from typing import TYPE_CHECKING

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import Generation
from support.commands import chat, filled, llmemo, state
from support.doubles import PYTHON

from llmemo import LLMCache, SQLiteStore, cached_embeddings, options
from llmemo._core import Recorder, encode
from llmemo.inspection.sqlite_view import ROWS_AT_ONCE, SQLiteView
from llmemo.stores import Record

if TYPE_CHECKING:
    from pathlib import Path

    from llmemo import Store

KEY = "a key for the tests"


def store(path: Path, *records: Record) -> None:
    """Write records to a file, by another program's hands."""
    import asyncio

    async def write(target: Store) -> None:
        await target.open()
        await target.set(records)
        await target.close()

    asyncio.run(write(SQLiteStore(path)))


def test_stats_count_what_there_is(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=30, namespaces=("", "tenant"))
    with LLMCache(path) as cache, options(namespace="short", ttl=0.001):
        cache.update("p", "m", chat("gone"))
        time.sleep(0.002)
    before = state(tmp_path)
    done = llmemo("stats", path, "--json")
    assert state(tmp_path) == before
    [found] = done.lines
    assert (found["entries"], found["expired"]) == (61, 1)
    assert [each["entries"] for each in found["namespaces"]] == [30, 30, 1]
    assert sum(each["value_bytes"] for each in found["namespaces"]) == found["value_bytes"]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        [size] = connection.execute("SELECT sum(length(value)) FROM entries").fetchone()
        oldest, newest = connection.execute(
            "SELECT min(created), max(created) FROM entries"
        ).fetchone()
    assert (found["value_bytes"], found["oldest"], found["newest"]) == (size, oldest, newest)
    assert found["file_bytes"] == path.stat().st_size
    assert found["kinds"] == {"answer": 61}
    text = llmemo("stats", path).out
    assert "61, 1 of them expired" in text
    assert "namespaces: 3" in text


def test_stats_of_more_rows_than_one_query_lists(tmp_path: Path) -> None:
    path, count = tmp_path / "a.db", 2 * ROWS_AT_ONCE + 1
    value = encode([Generation(text="x")], bytes(32))
    store(
        path,
        *(
            Record(number.to_bytes(32, "big"), value, b"n" * 16, b"l" * 16, float(number), None)
            for number in range(count)
        ),
    )
    [found] = llmemo("stats", path, "--json").lines
    assert (found["entries"], found["values_read"]) == (count, 1_000)
    # All but one are the answers to another key.
    assert sum(found["damaged"].values()) >= 999
    view = SQLiteView(path)
    keys = [one.key for some in view.entries() for one in some]
    view.close()
    assert len(keys) == len(set(keys)) == count


def test_kinds(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with LLMCache(path, encryption_key=None) as cache:
        cache.update("answer", "m", chat("x"))
        embeddings = cached_embeddings(
            DeterministicFakeEmbedding(size=8), store=cache, namespace="fake"
        )
        embeddings.embed_query("vector")
    recorder = Recorder(10_000)
    recorder.add(AIMessageChunk(content="a"))
    node = [Generation(text="", generation_info={"value": {"messages": ["x"]}})]
    rows = {b"s": (chat("a"), recorder.bytes()), b"n": (node, None)}
    store(
        path,
        *(
            Record(
                key * 32,
                encode(answer, key * 32, recording=recording),
                b"n" * 16,
                b"l" * 16,
                1.0,
                None,
            )
            for key, (answer, recording) in rows.items()
        ),
    )
    [found] = llmemo("stats", path, "--json").lines
    assert found["kinds"] == {"answer": 1, "vector": 1, "stream": 1, "node": 1}
    listed = {row["key"]: row["kind"] for row in llmemo("ls", path, "--json").lines}
    assert listed["73" * 32] == "stream"
    assert (
        "vector: 64 bytes of type 'd'"
        in llmemo("show", path, next(key for key, kind in listed.items() if kind == "vector")).out
    )
    assert llmemo("show", path, "73" * 8, "--json").lines[0]["recorded"] is True


def test_ls_lists_the_newest_first_and_what_is_asked_for(tmp_path: Path) -> None:
    path, now = tmp_path / "a.db", [1_700_000_000.0]
    with LLMCache(path, clock=lambda: now[0]) as cache:
        for number in range(60):
            now[0] += 86_400
            with options(namespace="even" if number % 2 == 0 else "odd"):
                cache.update(f"p{number}", "m", chat("x" * (1 + number)))
    rows = llmemo("ls", path, "--limit", "0", "--json").lines
    times = [row["created"] for row in rows]
    assert len(rows) == 60
    assert times == sorted(times, reverse=True)
    some = llmemo("ls", path, "--limit", "7", "--json")
    assert some.lines == rows[:7]
    assert some.err == "7 of 60 entries: --limit 0 lists all\n"
    even = llmemo("ls", path, "--namespace", "even", "--limit", "0", "--json").lines
    assert [row["created"] for row in even] == times[1::2]
    digest = even[0]["namespace"]
    assert llmemo("ls", path, "--namespace", digest, "--limit", "0", "--json").lines == even
    age = f"{int((time.time() - times[20]) // 86_400)}d"
    older = llmemo("ls", path, "--older-than", age, "--limit", "0", "--json").lines
    assert [row["created"] for row in older] == times[20:]
    assert llmemo("ls", path, "--expired").out == ""
    text = llmemo("ls", path, "--limit", "2").out.splitlines()
    assert text[0].split() == ["KEY", "NAMESPACE", "AGE", "EXPIRES", "SIZE", "KIND"]
    assert text[1].startswith(rows[0]["key"][:12])
    assert len(text) == 3


def test_show_prints_an_answer_in_clear(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    usage = {"input_tokens": 12, "output_tokens": 7, "total_tokens": 19}
    call = {"name": "weather", "args": {"city": "Rome", "day": "\x1b[31m"}, "id": "call_1"}
    with LLMCache(path) as cache:
        cache.update(
            "secret prompt", "m", chat("It rains.", tool_calls=[call], usage_metadata=usage)
        )
    [row] = llmemo("ls", path, "--json").lines
    text = llmemo("show", path, row["key"][:8]).out
    assert "It rains." in text
    assert 'tool call: weather({"city": "Rome", "day": "\\u001b[31m"})' in text
    assert '"input_tokens": 12' in text
    assert "\x1b" not in text
    assert "secret prompt" not in text
    [found] = llmemo("show", path, row["key"], "--json").lines
    assert found["prompt"] is None
    [generation] = found["generations"]
    assert generation["class"] == "langchain_core.outputs.ChatGeneration"
    message = generation["state"]["message"]["state"]
    assert message["tool_calls"][0]["args"]["city"] == "Rome"
    assert message["usage_metadata"] == usage


def test_show_prints_a_prompt_that_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    secret = "[('default_headers', {'Authorization': 'Bearer hunter2'}), ('model', 'm')]"
    with LLMCache(SQLiteStore(path, store_requests=True)) as cache, options(namespace="tenant"):
        cache.update("What is 2 + 2?", secret, chat("4"))
    [row] = llmemo("ls", path, "--json").lines
    done = llmemo("show", path, row["key"])
    assert "prompt:\nWhat is 2 + 2?\n" in done.out
    assert "('tenant')" in done.out
    found = llmemo("show", path, row["key"], "--json")
    assert found.lines[0]["prompt"] == "What is 2 + 2?"
    assert found.lines[0]["namespace_name"] == "tenant"
    # The description of the model may hold tokens.
    assert "hunter2" not in done.out + found.out


def test_an_encrypted_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.db"
    with LLMCache(SQLiteStore(path, store_requests=True), encryption_key=KEY) as cache:
        cache.update("What?", "m", chat("a secret answer"))
    monkeypatch.delenv("LLMEMO_ENCRYPTION_KEY", raising=False)
    [row] = llmemo("ls", path, "--json").lines
    assert row["kind"] == "(unknown_encryption_key)"
    shown = llmemo("show", path, row["key"])
    assert (shown.code, shown.out) == (1, "")
    assert "set LLMEMO_ENCRYPTION_KEY" in shown.err
    verified = llmemo("verify", path)
    assert verified.code == 0
    assert "not checked (unknown_encryption_key): 1" in verified.out
    assert llmemo("stats", path, "--json").lines[0]["encrypted"] == 1.0
    assert "warn  entries" in llmemo("doctor", path).out
    monkeypatch.setenv("LLMEMO_ENCRYPTION_KEY", f"another,{KEY}")
    text = llmemo("show", path, row["key"]).out
    assert "a secret answer" in text
    assert "What?" in text
    assert "encrypted" in text
    assert llmemo("verify", path, "--json").lines[0]["unread"] == {}
    monkeypatch.setenv("LLMEMO_ENCRYPTION_KEY", "another")
    assert llmemo("show", path, row["key"]).code == 1


HOSTILE = """
import sys
from pydantic import BaseModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from llmemo import LLMCache

class Weather(BaseModel):
    city: str
    degrees: float

with LLMCache(sys.argv[1]) as cache:
    message = AIMessage("x", additional_kwargs={"parsed": Weather(city="Rome", degrees=21.5)})
    cache.update("p", "m", [ChatGeneration(message=message)])
    assert cache.stats().updates == 1, cache.stats()
"""


@pytest.mark.slow
def test_show_needs_no_class_that_a_value_names(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    subprocess.run([*PYTHON, "-c", HOSTILE, path], check=True)
    [row] = llmemo("ls", path, "--json").lines
    assert row["kind"] == "answer"
    [found] = llmemo("show", path, row["key"], "--json").lines
    parsed = found["generations"][0]["state"]["message"]["state"]["additional_kwargs"]["parsed"]
    assert parsed["class"] == "__main__.Weather"
    assert parsed["state"][0] == {"city": "Rome", "degrees": 21.5}
    assert llmemo("verify", path).code == 0


def test_show_of_values_of_every_type(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    info = {
        "day": date(2026, 11, 30),
        "set": {1},
        "pairs": {1: "one"},
        "nan": float("nan"),
        "large": 2**70,
        "bytes": b"\0\xff",
        "surrogate": "\ud800",
    }
    with LLMCache(path) as cache:
        cache.update("p", "m", [Generation(text="t", generation_info=info)])
    [row] = llmemo("ls", path, "--json").lines
    [found] = llmemo("show", path, row["key"], "--json").lines
    assert found["generations"][0]["state"]["generation_info"] == {
        "day": {"class": "datetime.date", "state": [2026, 11, 30]},
        "set": {"class": "set", "state": [1]},
        "pairs": {"class": "dict", "state": [[1, "one"]]},
        "nan": "nan",
        "large": 2**70,
        "bytes": {"base64": "AP8="},
        "surrogate": "\ud800",
    }
    assert "\\ud800" in llmemo("show", path, row["key"]).out


def test_a_key_that_is_not_there_or_not_the_only_one(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    value = b"llmv"
    store(
        path,
        *(
            Record(b"\xab\xcd" + bytes([16 * number]) * 30, value, b"n" * 16, b"l" * 16, 1.0, None)
            for number in range(2)
        ),
    )
    done = llmemo("show", path, "abcd")
    assert (done.code, done.out) == (1, "")
    assert "several keys begin with abcd" in done.err
    assert "several keys begin with abcd" in llmemo("rm", path, "abcd", "--yes").err
    assert "no key begins with ffff" in llmemo("show", path, "ffff").err
    assert llmemo("show", path, "no key").code == 2
    # An odd number of digits.
    assert "not_a_value" in llmemo("show", path, "abcd0").err


def test_a_wal_without_its_services_is_read(tmp_path: Path) -> None:
    """Of processes that were killed: what is in the WAL counts, and nothing is written."""
    made, path = tmp_path / "made", tmp_path / "left" / "a.db"
    made.mkdir()
    path.parent.mkdir()
    with LLMCache(made / "a.db") as cache:
        cache.update("p", "m", chat("x"))
        for end in ("", "-wal"):
            (path.parent / f"a.db{end}").write_bytes((made / f"a.db{end}").read_bytes())
    before = state(path.parent)
    for command in ("stats", "ls", "verify", "doctor"):
        assert llmemo(command, path).code == 0
    assert llmemo("stats", path, "--json").lines[0]["entries"] == 1
    assert state(path.parent) == before


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is open is not replaced there")
def test_a_url_of_a_file(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=1)
    assert llmemo("stats", f"sqlite:///{path}", "--json").lines[0]["entries"] == 1


def test_one_is_no_plural(tmp_path: Path) -> None:
    path = filled(tmp_path / "a.db", entries=1)
    said = llmemo("stats", path).out
    assert "1 entry " in said
    assert "of 1 value read:" in said
    assert ": 1 entry checked\n" in llmemo("verify", path).out
    assert "read 1 of 1 entry" in llmemo("doctor", path).out
    assert "Remove 1 entry of" in llmemo("rm", path, "--all", tty=True).err
    assert llmemo("export", path).err.startswith("1 answer exported, ")
    assert llmemo("rm", path, "--all", "--yes").out == "removed 1 entry\n"

"""Bytes that are not the answer asked for are a miss: never a wrong answer, never an exception."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from support import TESTS, hostile, instances
from support import payloads as p
from support.exact import difference
from support.strategies import FACTOR, TEXTS

from llmemo import LLMCache, Store
from llmemo._core import Memory, ValueDamaged, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from llmemo.stores import Record

CANARY = "canary-7f3a"
KEY = p.KEY


def said(text: str) -> list[Generation]:
    """An answer with a bit of everything."""
    message = AIMessage(
        [{"type": "text", "text": text}, "é\ud800"],
        response_metadata={"model_name": "m", "logprobs": [-0.5, float("nan")], "big": 2**70},
        tool_calls=[{"name": "f", "args": {"a": (1, b"x")}, "id": "1"}],
        usage_metadata={"input_tokens": 3, "output_tokens": 300, "total_tokens": 303},
        x_extra=None,
    )
    return [ChatGeneration.model_construct(message=message, text=text), Generation(text=CANARY)]


SAMPLE = encode(said("hello"), KEY)


def refused(damaged: bytes) -> None:
    with pytest.raises(ValueDamaged):
        decode(damaged, KEY)


def test_every_flipped_bit_is_noticed() -> None:
    memory = Memory(10**6, fingerprint_secret=bytes(range(192)))
    assert difference(decode(SAMPLE, KEY), said("hello")) is None
    for bit in range(8 * len(SAMPLE)):
        damaged = bytearray(SAMPLE)
        damaged[bit // 8] ^= 1 << bit % 8
        refused(bytes(damaged))
        with pytest.raises(ValueDamaged):
            memory.put("p", "l", "", KEY, bytes(damaged))
    assert memory.lookup("p", "l", "") is None


def test_every_truncation_and_every_addition_is_noticed() -> None:
    for size in range(len(SAMPLE)):
        refused(SAMPLE[:size])
        refused(SAMPLE[len(SAMPLE) - size :])
        refused(SAMPLE[:size] + SAMPLE[size + 1 :])
        refused(SAMPLE[:size] + b"\0" + SAMPLE[size:])
    for addition in (b"\0", SAMPLE, SAMPLE[-8:], b"x" * 100_000):
        refused(SAMPLE + addition)
        refused(addition + SAMPLE)


def test_bursts_of_damage_are_noticed() -> None:
    rng = random.Random(5)
    for _ in range(round(3_000 * FACTOR)):
        at = rng.randrange(len(SAMPLE))
        size = rng.randrange(1, 64)
        burst = rng.choice([rng.randbytes(size), bytes(size)])
        damaged = (SAMPLE[:at] + burst + SAMPLE[at + len(burst) :])[: len(SAMPLE)]
        if damaged != SAMPLE:
            refused(damaged)


@pytest.mark.slow
def test_real_rows_survive_no_flipped_bit_and_no_truncation(tmp_path: Path) -> None:
    path, count = tmp_path / "c.db", 0
    with LLMCache(path, store_timeout=30) as cache:
        for kind in instances.KINDS:
            for it in (None, instances.MEMBERS, said("x"), {1: 2.5, "a": {b"b", ("c",)}}):
                info = {"it": kind(it)}
                cache.update(str(count), "l", [Generation(text="x", generation_info=info)])
                count += 1
        assert cache.stats().skipped == {}
    values, rng = list(rows(path).items()), random.Random(13)
    assert len(values) == count
    for turn in range(round(3_300 * FACTOR)):
        key, value = rng.choice(values)
        assert decode(value, key)
        damaged = bytearray(value)
        if turn % 11:
            damaged[rng.randrange(len(value))] ^= 1 << rng.randrange(8)
        else:
            del damaged[rng.randrange(len(value)) :]
        with pytest.raises(ValueDamaged):
            decode(bytes(damaged), key)


def test_what_never_was_a_value_is_no_value() -> None:
    for other in (b"", b"\0", b"llmv", b"\0" * 52, b'[{"lc": 1}]', b"SQLite format 3\0" * 9):
        refused(other)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory by RLIMIT_AS")
def test_hostile_payloads_are_damage_or_data_and_nothing_else() -> None:
    count = round(2_000 * FACTOR)
    command = [
        sys.executable,
        "-m",
        hostile.__name__,
        "1" if FACTOR <= 1 else str(random.random())[2:],
    ]
    done = subprocess.run(
        [*command, str(count)], capture_output=True, text=True, check=False, cwd=TESTS
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["other"] == [], command
    assert report["read"] + report["damaged"] >= count
    assert report["damaged"] > report["read"] > count / 20, "the payloads have lost their edge"
    # No import, no file opened, no code compiled: nothing that Python itself would report.
    assert (report["events"], report["imported"]) == ([], [])
    assert report["grown"] < 16 * 2**20
    assert report["slowest"] < 1.0, command


def test_what_looks_like_code_is_only_text() -> None:
    for lure in [*hostile.LURES, *TEXTS]:
        info = {lure: [lure, {"lc": 1, "type": "constructor", "id": [lure], "kwargs": {}}]}
        answer = [Generation(text="x", generation_info={"a": info})]
        assert difference(p.read(p.answer(p.generation({"a": info}))), answer) is None


# In a cache, over real rows.


def fill(path: Path, count: int) -> None:
    with LLMCache(path) as cache:
        for number in range(count):
            cache.update(str(number), "l", said(f"answer {number}"))
        assert (cache.stats().writes_unconfirmed, cache.stats().errors) == (0, {})


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def rows(path: Path) -> dict[bytes, bytes]:
    with opened(path) as connection:
        return dict(connection.execute("SELECT key, value FROM entries ORDER BY rowid"))


def rewrite(path: Path, values: dict[bytes, bytes]) -> None:
    with opened(path) as connection:
        pairs = [(value, key) for key, value in values.items()]
        connection.executemany("UPDATE entries SET value = ? WHERE key = ?", pairs)


def read_all(path: Path, count: int, **settings: Any) -> tuple[list[int], dict[str, int]]:
    """Which answers are hits, and the errors that were counted. A hit is the right answer."""
    with LLMCache(path, **settings) as cache:
        found = []
        for number in range(count):
            for turn in range(2):
                hit = cache.lookup(str(number), "l")
                if hit is None:
                    break  # what is damaged is gone the next time, or will be
                assert difference(hit, said(f"answer {number}")) is None
                if turn == 0:
                    found.append(number)
        assert cache.stats().bypassed == {}
        return found, cache.stats().errors


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"max_bytes": 0}], ids=["memory", "no memory"])
def test_damaged_rows_are_misses_and_the_others_hits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, Any]
) -> None:
    path, count, rng = tmp_path / "c.db", 300, random.Random(7)
    fill(path, count)
    values, hurt = rows(path), rng.sample(range(count), 100)
    assert difference(read_all(path, count, **settings), (list(range(count)), {})) is None
    for number in hurt:
        key = list(values)[number]
        value = bytearray(values[key])
        if number % 3:
            value[rng.randrange(len(value))] ^= 1 << rng.randrange(8)
        else:
            del value[rng.randrange(len(value)) :]
        values[key] = bytes(value)
    rewrite(path, values)
    with caplog.at_level(logging.DEBUG, "llmemo"):
        found, errors = read_all(path, count, **settings)
    assert found == sorted(set(range(count)) - set(hurt))
    reasons = {"not_a_value", "unknown_version", "checksum", "wrong_key", "malformed"}
    assert set(errors) <= {f"value_{reason}" for reason in reasons}
    assert sum(errors.values()) == len(hurt)
    assert 0 < len([line for line in caplog.records if line.name == "llmemo"]) <= len(errors)
    assert CANARY not in caplog.text


def test_swapped_rows_are_misses(tmp_path: Path) -> None:
    path, count = tmp_path / "c.db", 40
    fill(path, count)
    values = rows(path)
    names, contents = list(values), list(values.values())
    rewrite(path, dict(zip(names, [*contents[1:], contents[0]], strict=True)))
    assert read_all(path, count) == ([], {"value_wrong_key": count})
    assert rows(path) == {}
    fill(path, count)
    rewrite(path, dict(zip(names, [*contents[1:], contents[0]], strict=True)))
    with opened(path) as connection:
        # The first two keys change places: so the second is where its value is.
        spare = b"\0" * 32
        for old, new in ((names[0], spare), (names[1], names[0]), (spare, names[1])):
            connection.execute("UPDATE entries SET key = ? WHERE key = ?", (new, old))
    assert read_all(path, count)[0] == [1]


def test_another_version_is_a_miss(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    fill(path, 3)
    versions = {}
    for number, (key, value) in enumerate(rows(path).items()):
        versions[key] = p.sealed(value[44:-8], key, version=number)
    rewrite(path, versions)
    assert read_all(path, 3) == ([1], {"value_unknown_version": 2})


@pytest.mark.slow
def test_hostile_rows_do_not_reach_the_caller_as_exceptions(tmp_path: Path) -> None:
    path, count = tmp_path / "c.db", 150
    fill(path, count)
    rng = random.Random(11)
    rewrite(path, {key: p.sealed(rng.choice(hostile.COMMON)(rng), key) for key in rows(path)})
    with LLMCache(path) as cache:
        for number in range(count):
            for _ in range(2):
                hit = cache.lookup(str(number), "l")
                assert hit is None or type(hit) is list
        stats = cache.stats()
    unknown = {"unknown_word", "unknown_field", "unknown_class", "unknown_type", "unknown_zone"}
    reasons = unknown | {"malformed", "changed_class"}
    assert {"value_malformed"} < set(stats.errors) <= {f"value_{reason}" for reason in reasons}
    # The second lookup of a malformed row comes before it is removed, or after.
    assert stats.misses >= sum(stats.errors.values()) > count / 2
    assert stats.hits + stats.misses == 2 * count


class Confused(Store):
    """A store that answers with records of another request."""

    def __init__(self) -> None:
        self.records: dict[bytes, Record] = {}

    async def open(self) -> None:
        pass

    async def get(self, keys: Sequence[bytes]) -> Mapping[bytes, Record]:
        return {key: next(iter(self.records.values())) for key in keys}

    async def set(self, records: Sequence[Record]) -> None:
        self.records.update({record.key: record for record in records})

    async def delete(self, keys: Sequence[bytes] | None) -> int:
        return 0

    async def close(self) -> None:
        pass


def test_the_answer_to_another_request_is_a_miss_whatever_the_store_says() -> None:
    with LLMCache(Confused()) as cache:
        cache.update("one", "l", said("one"))
        assert cache.lookup("other", "l") is None
        assert cache.stats().errors == {"value_wrong_key": 1}

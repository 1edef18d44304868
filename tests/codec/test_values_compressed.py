"""Values in a store may be compressed: the same answers come back, and damage is a miss as ever."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from support.doubles import LIMIT, FakeStore
from support.exact import difference
from support.payloads import sealed
from support.strategies import FACTOR, answers, examples

from llmemo import LLMCache
from llmemo._core import ValueDamaged, compress, decode, decompress, encode

if TYPE_CHECKING:
    from pathlib import Path

KEY = bytes(range(32))
LEAST = 2048


def prose(size: int, seed: int = 0) -> str:
    """Text that can be compressed, but not without end."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(1, 9))) for _ in range(500)]
    return " ".join(rng.choices(words, k=size // 4))[:size]


def said(size: int, seed: int = 0) -> list[Generation]:
    return [ChatGeneration(message=AIMessage(prose(size, seed), response_metadata={"n": seed}))]


@pytest.mark.slow
@examples(50)
@given(answers, st.sampled_from([0, 1, LEAST]), st.sampled_from([1, 3, 19]))
def test_what_is_compressed_comes_back(answer: list[Generation], least: int, level: int) -> None:
    value = encode(answer, KEY)
    stored = compress(value, least=least, level=level)
    assert len(stored) <= len(value)
    assert decompress(stored) == value
    assert difference(decode(decompress(stored), KEY), answer) is None


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 1000, 4000, 100_000, 3_000_000])
def test_a_store_gets_large_answers_compressed_and_memory_the_plain_ones(size: int) -> None:
    store, plain = FakeStore(), len(encode(said(size), KEY))
    with LLMCache(store, admit=None, store_timeout=LIMIT) as cache:
        cache.update("p", "l", said(size))
        [record] = store.records.values()
        assert record.value[:4] == (b"llmv" if plain < LEAST else b"llmz")
        assert (len(record.value) < 0.7 * plain) == (plain >= LEAST)
        assert cache.stats().bytes > plain
    with LLMCache(store, store_timeout=LIMIT) as cache:
        for _ in range(2):
            assert cache.lookup("p", "l") == said(size)
        stats = cache.stats()
        assert (stats.store_hits, stats.memory_hits, stats.errors) == (1, 1, {})
        assert stats.bytes > plain


def test_what_would_not_become_smaller_or_too_much_so_is_stored_as_it_is() -> None:
    store = FakeStore()
    noise = random.Random(1).randbytes(10_000)
    answers_ = [[Generation(text="x", generation_info={"a": a})] for a in (noise, "a" * 10**6)]
    with LLMCache(store, max_bytes=0, store_timeout=LIMIT) as cache:
        for number, answer in enumerate(answers_):
            cache.update(str(number), "l", answer)
            assert cache.lookup(str(number), "l") == answer
    assert [record.value[:4] for record in store.records.values()] == [b"llmv"] * 2


def damaged(stored: bytes) -> str:
    """Why it is no answer; the test fails if it is a wrong one."""
    try:
        found = decode(decompress(stored), KEY)
    except ValueDamaged as damage:
        return str(damage)
    assert difference(found, said(3000)) is None
    return "none"


def test_flipped_bits_and_truncations_never_give_another_answer() -> None:
    stored = compress(encode(said(3000), KEY))
    assert stored[:4] == b"llmz"
    reasons = set()
    for bit in range(8 * len(stored)):
        flipped = bytearray(stored)
        flipped[bit // 8] ^= 1 << bit % 8
        reasons.add(damaged(bytes(flipped)))
    # "none": some bits of a Zstandard frame mean nothing.
    assert reasons == {"none", "not_a_value", "unknown_version", "compression", "checksum"}
    for size in range(len(stored)):
        assert damaged(stored[:size]) != "none"
    rng = random.Random(3)
    for _ in range(round(2000 * FACTOR)):
        at, burst = rng.randrange(len(stored)), rng.randbytes(rng.randrange(1, 40))
        changed = (stored[:at] + burst + stored[at + len(burst) :])[: len(stored)]
        damaged(changed)
    assert damaged(stored + b"x") != "none"
    assert damaged(stored + stored) != "none"


def test_the_answer_to_another_request_stays_one_when_compressed() -> None:
    stored = compress(encode(said(3000), b"k" * 32))
    assert damaged(stored) == "wrong_key"


def test_a_value_is_compressed_once() -> None:
    stored = compress(encode(said(3000), KEY))
    twice = b"llmz\1\0\0\0" + struct.pack("<I", len(stored)) + compress(stored, least=0)[12:]
    assert damaged(twice) in {"not_a_value", "compression"}


BOMBS = r"""
import resource, struct, sys
from llmemo import LLMCache
from llmemo._core import ValueDamaged, compress, decode, decompress

def bomb(claimed, frame):
    return b"llmz\1\0\0\0" + struct.pack("<I", claimed) + frame

# Frames made elsewhere, of 64 KB at the most, that would fill any memory.
frame = bytes.fromhex(sys.argv[1])
def grown(work):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024

def attempt():
    for part in (frame, frame[:9], frame + bytes(64 * 1024 - len(frame))):
        for claimed in (0, 1, 10**6, 8 * 2**20, 2**24, 2**26, 2**28, 2**31, 2**32 - 1):
            try:
                decode(decompress(bomb(claimed, part)), bytes(32))
            except ValueDamaged as damage:
                assert str(damage) in ("compression", "not_a_value"), damage
            else:
                raise SystemExit("a bomb was read")

attempt_size = grown(attempt)
assert attempt_size < 16 * 2**20, attempt_size
print("ok")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in KB there")
def test_a_bomb_is_a_miss_and_takes_no_memory() -> None:
    # What Zstandard makes of 64 MiB of one byte: a frame of raw and run-length blocks, by hand
    # (RFC 8878, 3.1.1): magic, single segment with 8 bytes of content size, blocks of 128 KiB.
    blocks = 512
    frame = b"\x28\xb5\x2f\xfd" + bytes([0xE0]) + struct.pack("<Q", blocks * 2**17)
    for number in range(blocks):
        header = (2**17 << 3) | (1 << 1) | (number == blocks - 1)
        frame += header.to_bytes(3, "little") + b"a"
    assert len(frame) < 4096
    command = [sys.executable, "-c", BOMBS, frame.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("ok", 0), done.stderr
    # It would be a good frame: within the ratio the same bytes are read.
    small = b"\x28\xb5\x2f\xfd" + bytes([0x20, 200]) + ((200 << 3) | 3).to_bytes(3, "little") + b"a"
    assert decompress(b"llmz\1\0\0\0" + struct.pack("<I", 200) + small) == b"a" * 200


def test_a_hostile_value_inside_is_damage_like_outside() -> None:
    for payload in (b"\x09\xff\xff\xff\xff", b"\0" * 5000, b"\x09\1\0\0\0" * 3000):
        value = sealed(payload, KEY)
        assert damaged(compress(value, least=0)) == "malformed"


def test_a_file_written_without_compression_is_read(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "c.db"
    with LLMCache(path) as cache:
        cache.update("p", "l", said(5000))
    with closing(sqlite3.connect(path)) as connection, connection:
        [(key, stored)] = connection.execute("SELECT key, value FROM entries").fetchall()
        assert stored[:4] == b"llmz"
        plain: Any = encode(said(5000), key)
        connection.execute("UPDATE entries SET value = ?", (plain,))
    with LLMCache(path) as cache:
        assert cache.lookup("p", "l") == said(5000)

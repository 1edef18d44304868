"""The index of vectors from Python: like a list, bounded, and safe to share between threads."""

from __future__ import annotations

import math
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.doubles import ROUNDS

from llmemo._core import VectorIndex, pack_question, pack_vector

TENANT, PARTITION = bytes(16), bytes(32)


def name(number: int) -> bytes:
    return number.to_bytes(32, "big")


def packed(values: object) -> bytes:
    vector = pack_vector(values)  # type: ignore[arg-type]
    assert vector is not None
    return vector


def codes(vector: bytes) -> list[int]:
    return np.frombuffer(vector, np.int8, offset=2).tolist()  # type: ignore[no-any-return]


def cosine(a: bytes, b: bytes) -> float:
    norms = [sum(code * code for code in codes(each)) for each in (a, b)]
    dot = sum(x * y for x, y in zip(codes(a), codes(b), strict=True))
    return dot / math.sqrt(norms[0] * norms[1])


NAMES = st.integers(0, 3).map(name)
KEYS = st.integers(0, 12).map(name)
DIRECTIONS = st.sampled_from((-1.0, 0.0, 0.5, 1.0))
VECTORS = st.lists(DIRECTIONS, min_size=3, max_size=4).filter(any).map(packed)


class Model(RuleBasedStateMachine):
    """An index without a bound that counts, beside a dict in order of age."""

    def __init__(self) -> None:
        super().__init__()
        self.index = VectorIndex(2**30)
        self.kept: dict[bytes, tuple[bytes, str, bytes]] = {}

    def of(self, partition: bytes) -> dict[bytes, tuple[str, bytes]]:
        """The newest first."""
        kept = reversed(self.kept.items())
        return {key: (text, it) for key, (where, text, it) in kept if where == partition}

    @rule(partition=NAMES, key=KEYS, question=st.text(max_size=5), vector=VECTORS)
    def add(self, partition: bytes, key: bytes, question: str, vector: bytes) -> None:
        fits = all(len(it) == len(vector) for _, it in self.of(partition).values())
        assert self.index.add(TENANT, partition, key, question, vector) is fits
        if fits:
            self.kept.pop(key, None)
            self.kept[key] = (partition, question, vector)

    @rule(
        partition=NAMES,
        keys=st.lists(KEYS, max_size=5, unique=True),
        question=st.text(max_size=5),
        vector=VECTORS,
        damaged=st.integers(0, 9),
    )
    def load(
        self, partition: bytes, keys: list[bytes], question: str, vector: bytes, damaged: int
    ) -> None:
        rows = [(key, pack_question(key, vector, question)) for key in keys]
        if damaged < len(rows):
            rows[damaged] = (keys[damaged], rows[damaged][1][:-1] + b"\xff")
        age = self.index.begin_load()
        lost = self.index.load(TENANT, partition, rows, age)
        assert lost == [damaged] * (damaged < len(rows))
        for at, key in reversed(list(enumerate(keys))):
            fits = all(len(it) == len(vector) for _, it in self.of(partition).values())
            if at != damaged and fits:
                self.kept.pop(key, None)
                self.kept[key] = (partition, question, vector)

    @rule(key=KEYS)
    def remove(self, key: bytes) -> None:
        assert self.index.remove(key) is (self.kept.pop(key, None) is not None)

    @rule()
    def clear(self) -> None:
        self.index.clear()
        self.kept.clear()

    @rule(
        partition=NAMES,
        vector=VECTORS,
        limit=st.integers(0, 9),
        least=st.sampled_from((-1.0, 0.0, 0.5, 1.0, 1.1, math.nan)),
    )
    def search(self, partition: bytes, vector: bytes, limit: int, least: float) -> None:
        near = [
            (key, question, score)
            for key, (question, it) in self.of(partition).items()
            if len(it) == len(vector) and (score := cosine(it, vector)) >= least
        ]
        near.sort(key=lambda it: -it[2])
        assert self.index.search(partition, vector, limit, least) == near[:limit]

    @invariant()
    def sizes_agree(self) -> None:
        assert self.index.vectors == len(self.kept)
        assert bool(self.index.bytes) is bool(self.kept)
        for number in range(4):
            assert self.index.size(name(number)) == len(self.of(name(number)))
        for number in range(13):
            assert (name(number) in self.index) is (name(number) in self.kept)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=25 * ROUNDS, stateful_step_count=30, deadline=None)


def test_the_largest_tenant_makes_room() -> None:
    index = VectorIndex(100_000)
    vector = packed([1.0] * 384)
    small = [name(number) for number in range(20)]
    assert all(index.add(TENANT, PARTITION, key, "q", vector) for key in small)
    for number in range(1_000, 2_000):
        # Each in a partition of its own, as in the middle of a conversation.
        assert index.add(b"t" * 16, name(number), name(number), "q" * (number % 90), vector)
        assert index.bytes <= 100_000
    assert index.size(PARTITION) == 20
    kept = index.vectors - 20
    assert 20 < kept < 100
    assert [number for number in range(1_000, 2_000) if name(number) in index] == list(
        range(2_000 - kept, 2_000)
    )


def test_a_bound_of_nothing_keeps_nothing() -> None:
    index = VectorIndex(0)
    assert index.add(TENANT, PARTITION, name(1), "q", packed([1.0])) is False
    assert (index.vectors, index.bytes) == (0, 0)


@pytest.mark.parametrize("vector", [b"", b"\x02\x00\x7f", b"\x01\x00\x00", b"\x01\x00\x80"])
def test_what_is_not_packed_changes_and_finds_nothing(vector: bytes) -> None:
    index = VectorIndex(2**20)
    index.add(TENANT, PARTITION, name(1), "q", packed([1.0]))
    assert index.add(TENANT, PARTITION, name(1), "other", vector) is False
    assert index.search(PARTITION, vector, 8, -1.0) == []
    assert index.search(PARTITION, packed([1.0]), 8, -1.0) == [(name(1), "q", 1.0)]


def test_names_have_their_lengths() -> None:
    index = VectorIndex(2**20)
    with pytest.raises(ValueError, match="length"):
        index.add(TENANT, b"short", name(1), "q", packed([1.0]))
    with pytest.raises(ValueError, match="length"):
        index.add(bytes(32), PARTITION, name(1), "q", packed([1.0]))
    with pytest.raises(ValueError, match="length"):
        index.remove(bytes(33))
    with pytest.raises(ValueError, match="surrogates"):
        index.add(TENANT, PARTITION, name(1), "a lone \ud800", packed([1.0]))
    assert index.vectors == 0


def test_a_load_over_the_bound_keeps_the_newest() -> None:
    index = VectorIndex(20_000)
    vector = packed([1.0] * 64)
    keys = [name(number) for number in range(100)]
    rows = [(key, pack_question(key, vector, "q")) for key in keys]
    age = index.begin_load()
    assert index.add(TENANT, name(1), name(900), "asked meanwhile", vector)
    assert index.load(TENANT, PARTITION, rows[:10], age) == []
    assert index.load(TENANT, PARTITION, rows[10:], age - 10) == []
    kept = index.size(PARTITION)
    assert 20 < kept < 80
    assert all((key in index) is (at < kept) for at, key in enumerate(keys))
    assert name(900) in index
    # Of equal ones the newest is found first.
    assert [key for key, *_ in index.search(PARTITION, vector, 3, 0.9)] == keys[:3]


def test_damaged_rows_are_told() -> None:
    index = VectorIndex(2**20)
    stored = pack_question(name(1), packed([1.0]), "q")
    rows = [(b"", stored), (name(1), b""), (name(2), stored), (name(1), stored), (name(1), b"llmz")]
    assert index.load(TENANT, PARTITION, rows, index.begin_load()) == [0, 1, 2, 4]
    assert index.search(PARTITION, packed([1.0]), 8, -1.0) == [(name(1), "q", 1.0)]
    with pytest.raises(TypeError):
        index.load(TENANT, PARTITION, [(name(1), "text")], 9)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="length"):
        index.load(b"", PARTITION, rows, 9)


def near_each_other(count: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Unit vectors that share a direction, as those of embeddings do."""
    made = np.random.default_rng(seed).normal(size=(count, 64)) + 0.3
    return made / np.linalg.norm(made, axis=1, keepdims=True)  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_large_partition_finds_what_is_near() -> None:
    index = VectorIndex(2**30)
    vectors = near_each_other(21_000, 1)
    for number, vector in enumerate(vectors):
        assert index.add(TENANT, PARTITION, name(number), str(number), packed(vector.tolist()))
    noise = np.random.default_rng(2).normal(size=vectors.shape) * 0.04
    for number in range(0, 21_000, 100):
        query = packed((vectors[number] + noise[number]).tolist())
        [(key, question, score)] = index.search(PARTITION, query, 1, 0.8)
        assert (key, question) == (name(number), str(number))
        assert score > 0.85


def test_threads_share_an_index() -> None:
    index = VectorIndex(2**30)
    vectors = [packed(vector.tolist()) for vector in near_each_other(1_200, 3)]
    # Above what is scanned at once with the GIL held.
    wide = [packed(codes(vector) * 40) for vector in vectors]
    for number, vector in enumerate(wide):
        index.add(TENANT, PARTITION, name(number), str(number), vector)
    stop = threading.Event()

    def change(seed: int) -> None:
        dice = random.Random(seed)
        while not stop.is_set():
            number = dice.randrange(600)
            if dice.random() < 0.5:
                index.remove(name(number))
            index.add(TENANT, PARTITION, name(number), str(number), wide[number])

    with ThreadPoolExecutor(2) as threads:
        changing = [threads.submit(change, seed) for seed in range(2)]
        try:
            for turn in range(150 * ROUNDS):
                number = 600 + turn % 600
                found = index.search(PARTITION, wide[number], 4, 0.0)
                assert found[0] == (name(number), str(number), 1.0)
                # Each with its own question and score, whatever happened meanwhile.
                for key, question, score in found:
                    other = int.from_bytes(key, "big")
                    assert question == str(other)
                    expected = cosine(vectors[other], vectors[number])
                    assert score == pytest.approx(expected, abs=1e-12)
        finally:
            stop.set()
        for each in changing:
            each.result()
    assert index.vectors == 1_200

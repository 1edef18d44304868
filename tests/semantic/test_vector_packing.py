"""Packed vectors, and questions as a store keeps them: what goes in comes out, or is refused."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemo._core import (
    ValueDamaged,
    ValueUnknown,
    VectorIndex,
    pack_question,
    pack_vector,
    unpack_question,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = bytes(range(32))
ELSEWHERE = bytes(32)
NUMBERS = st.floats(-1e300, 1e300)


def packed(*values: float) -> bytes:
    vector = pack_vector(values)
    assert vector is not None
    return vector


def score(a: bytes, b: bytes) -> float:
    index = VectorIndex(2**20)
    assert index.add(bytes(16), ELSEWHERE, KEY, "", a)
    [(_, _, score)] = index.search(ELSEWHERE, b, 1, -1.0)
    return score


def test_any_iterable_of_numbers_is_packed() -> None:
    numbers = [1.0, -2.0, 0.5]
    ways: list[Any] = [
        tuple(numbers),
        [1, -2, Fraction(1, 2)],
        iter(numbers),
        np.array(numbers),
        np.array(numbers, np.float32),
        np.array(numbers, np.float16) * 1e3,
    ]
    assert {pack_vector(way) for way in ways} == {pack_vector(numbers)} != {None}


@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.0, -0.0],
        [1.0, math.nan],
        [math.inf],
        [1.0, -math.inf],
        [1.0, 10**400],
        [1.0] * 65_536,
        np.array([], np.float32),
    ],
    ids=lambda values: f"{len(values)} of {str(values[-1:])[:20]}",
)
def test_what_has_no_direction_is_none(values: list[float]) -> None:
    assert pack_vector(values) is None


def test_an_endless_iterable_is_none() -> None:
    def ones() -> Iterator[float]:
        while True:
            yield 1.0

    assert pack_vector(ones()) is None


@pytest.mark.parametrize(
    "values", ["12", b"12", bytearray(b"12"), ["1"], [None], [[1.0]], [1j], 1.0, None]
)
def test_what_is_not_numbers_is_a_type_error(values: object) -> None:
    with pytest.raises(TypeError):
        pack_vector(values)  # type: ignore[arg-type]


def test_what_iterating_raises_is_raised() -> None:
    def broken() -> Iterator[float]:
        yield 1.0
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        pack_vector(broken())


@given(st.lists(NUMBERS, min_size=1, max_size=20), st.floats(1e-3, 1e3))
def test_packing_keeps_the_direction(values: list[float], scale: float) -> None:
    vector = pack_vector(values)
    if vector is None:
        assert not any(values)
        return
    largest = max(map(abs, values))
    codes = np.frombuffer(vector, np.int8, offset=2)
    assert np.abs(codes - np.array(values) / largest * 127).max() <= 0.5 + 1e-9
    assert score(vector, vector) == 1.0
    assert score(vector, packed(*(-value for value in values))) == -1.0
    again = packed(*(value / largest * scale for value in values))
    # A rounding of the product may tip what lies between two codes.
    assert np.abs(np.frombuffer(again, np.int8, offset=2).astype(int) - codes).max() <= 1


def test_a_score_is_the_cosine() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        a, b = random.normal(size=(2, 384))
        cosine = a @ b / math.sqrt((a @ a) * (b @ b))
        assert score(packed(*a), packed(*b)) == pytest.approx(cosine, abs=0.005)


@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=9),
    st.text(),
    st.binary(min_size=32, max_size=32),
)
def test_a_question_comes_back(values: list[float], question: str, key: bytes) -> None:
    vector = pack_vector([*values, 1.0])
    assert vector is not None
    stored = pack_question(key, vector, question)
    assert unpack_question(stored, key) == (vector, question)
    with pytest.raises(ValueDamaged, match="checksum"):
        unpack_question(stored, bytes([key[0] ^ 1]) + key[1:])


@given(st.data())
def test_a_changed_question_is_refused(data: st.DataObject) -> None:
    stored = pack_question(KEY, packed(1.0, 0.5), "How far?")
    at = data.draw(st.integers(0, len(stored) - 1))
    changed = bytes([stored[at] ^ data.draw(st.integers(1, 255))])
    with pytest.raises(ValueDamaged):
        unpack_question(stored[:at] + changed + stored[at + 1 :], KEY)
    with pytest.raises(ValueDamaged):
        unpack_question(stored[:at], KEY)


def test_a_newer_version_is_unknown() -> None:
    stored = pack_question(KEY, packed(1.0), "How far?")
    with pytest.raises(ValueUnknown, match="unknown_version"):
        unpack_question(stored[:4] + b"\x02" + stored[5:], KEY)


@pytest.mark.parametrize(
    ("key", "vector", "question", "reason"),
    [
        (KEY, b"", "q", "not a packed vector"),
        (KEY, b"\x02\x00\x7f", "q", "not a packed vector"),
        (KEY, b"\x01\x00\x00", "q", "not a packed vector"),
        (KEY, packed(1.0), "a lone \ud800", "surrogates"),
        (KEY[1:], packed(1.0), "q", "length"),
    ],
)
def test_what_cannot_be_stored_is_a_value_error(
    key: bytes, vector: bytes, question: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        pack_question(key, vector, question)

"""Vectors in the value format: what comes back is equal by type and bits, or is not kept."""

from __future__ import annotations

import math
import struct
from array import array
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from llmemo._core import decode, encode
from llmemo.codec import vectors
from llmemo.codec.vectors import generations_of, vector_of

KEY = bytes(range(32))


def there_and_back(vector: Any) -> list[float]:
    generations = generations_of(vector)
    assert generations is not None
    found = vector_of(decode(encode(generations, KEY), KEY))
    assert found is not None
    return found


def size(vector: Any) -> int:
    generations = generations_of(vector)
    assert generations is not None
    assert generations[0].generation_info is not None
    (raw,) = generations[0].generation_info.values()
    return len(raw)


def bits(numbers: list[float]) -> list[bytes]:
    return [struct.pack("<d", number) for number in numbers]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1))
def test_float32_takes_four_bytes_and_is_exact(vector: list[float]) -> None:
    assert bits(there_and_back(vector)) == bits(vector)
    assert size(vector) == 4 * len(vector)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_any_float_is_exact(vector: list[float]) -> None:
    assert bits(there_and_back(vector)) == bits(vector)


def test_one_number_that_is_no_float32_makes_all_float64() -> None:
    vector = [0.5, 0.1, -0.0, 5e-324, 1.7976931348623157e308]
    assert bits(there_and_back(vector)) == bits(vector)
    assert size(vector) == 8 * len(vector)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_ints_stay_ints(vector: list[int]) -> None:
    found = there_and_back(vector)
    assert found == vector
    assert {type(number) for number in found} == {int}


@pytest.mark.parametrize(
    ("most", "width"), [(127, 1), (128, 2), (2**15 - 1, 2), (2**15, 4), (2**31 - 1, 4), (2**31, 8)]
)
def test_ints_take_the_shortest_form(most: int, width: int) -> None:
    assert size([0, most, 1]) == 3 * width


@pytest.mark.parametrize(
    "vector",
    [
        (0.5, 0.25),
        [0, 0.5, 1],
        [np.float32(0.1), np.float32(0.5)],
        [np.float64(0.1)],
        np.array([0.1, 0.2], dtype="f4"),
        np.array([0.1, 0.2], dtype="f8"),
        np.array([0.1, 0.2], dtype="f2"),
        np.array([-3, 7], dtype="i1"),
        array("f", [0.1, 0.2]),
        [Fraction(1, 4), 2],
    ],
    ids=repr,
)
def test_other_numbers_come_back_as_plain_ones(vector: Any) -> None:
    found = there_and_back(vector)
    assert found == list(vector)
    assert {type(number) for number in found} <= {float, int}


@pytest.mark.parametrize(
    "vector",
    [
        [],
        (),
        [math.nan],
        [0.5, math.inf],
        [0.5, -math.inf],
        ["0.5"],
        [None, 0.5],
        [True],
        [0.5, False],
        [[0.5]],
        np.array([[0.5]]),
        np.array(0.5),
        np.array([np.nan]),
        [2**63],
        [10**400, 0.5],
        [2**53 + 1, 0.5],
        [Fraction(1, 3)],
        [1j],
        "text",
        b"bytes",
        {0.5},
        {0.5: 1},
        None,
        7,
        0.5,
    ],
    ids=repr,
)
def test_what_is_no_vector_is_refused(vector: Any) -> None:
    assert generations_of(vector) is None


@pytest.mark.parametrize(
    "generations",
    [
        [Generation(text="x")],
        [Generation(text="", generation_info={})],
        [Generation(text="", generation_info={"f": b""})],
        [Generation(text="", generation_info={"f": b"123"})],
        [Generation(text="", generation_info={"f": "1234"})],
        [Generation(text="", generation_info={"u": b"1234"})],
        [Generation(text="", generation_info={"l": b"12345678"})],
        [Generation(text="", generation_info={"f": b"1234", "d": b"12345678"})],
        [Generation(text="", generation_info={"f": b"1234"})] * 2,
        [ChatGeneration(message=AIMessage("x"), generation_info={"finish_reason": "stop"})],
    ],
)
def test_another_answer_is_no_vector(generations: list[Generation]) -> None:
    assert vector_of(generations) is None


def test_bytes_are_little_endian_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    generations = generations_of([1.0, 2.0])
    assert generations is not None
    assert generations[0].generation_info == {"f": struct.pack("<2f", 1.0, 2.0)}
    # As a machine of the other order sees it: what it writes, it reads.
    monkeypatch.setattr(vectors, "IS_SWAPPED", True)
    swapped = generations_of([1.0, 2.0])
    assert swapped is not None
    assert swapped[0].generation_info == {"f": struct.pack(">2f", 1.0, 2.0)}
    assert vector_of(swapped) == [1.0, 2.0]

"""Embedding vectors in the value format: one generation, whose info holds the numbers as bytes.

    [Generation(text="", generation_info={code: numbers})]

`code` is the type of all numbers, as `array` names it: float32 if each of them is one exactly, or
else float64; of whole numbers the shortest ints. So what comes back is equal to what was stored.
"""

from __future__ import annotations

import math
import sys
from array import array
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import Generation

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTHS = {"f": 4, "d": 8, "b": 1, "h": 2, "i": 4, "q": 8}
"""Bytes of a number, by code: little-endian."""

INTS = "bhiq"
"""Codes of ints, the shortest first."""

IS_SWAPPED = sys.byteorder == "big"


def generations_of(vector: Any) -> list[Generation] | None:
    """A vector as an answer; None if it is none: empty, or with anything but finite numbers."""
    try:
        numbers = _numbers(vector)
        packed = None if numbers is None else _packed(numbers)
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        return None  # of a provider's own types
    if packed is None:
        return None
    if IS_SWAPPED:
        packed.byteswap()
    return [Generation(text="", generation_info={packed.typecode: packed.tobytes()})]


def vector_of(generations: Sequence[Generation]) -> list[float] | None:
    """A new list of the numbers that `generations_of` was given; None if it is another answer."""
    info = generations[0].generation_info
    if info is None or len(info) != 1 or len(generations) != 1:
        return None
    ((code, raw),) = info.items()
    if type(raw) is not bytes or not raw or len(raw) % WIDTHS.get(code, len(raw) + 1):
        return None
    numbers: array[Any] = array(code, raw)
    if IS_SWAPPED:
        numbers.byteswap()
    return numbers.tolist()


def _numbers(vector: Any) -> list[float] | list[int] | None:
    """The numbers as plain floats or plain ints; None if there are none, or others as well."""
    if not isinstance(vector, (list, tuple)):
        vector = vector.tolist()  # numpy's, say
        if not isinstance(vector, list):
            return None
    kinds = set(map(type, vector))
    if not kinds or bool in kinds:
        return None
    if kinds == {float}:
        return vector if isinstance(vector, list) else list(vector)
    if all(issubclass(kind, Integral) for kind in kinds):
        return [int(number) for number in vector]
    if not all(issubclass(kind, Real) for kind in kinds):
        return None
    floats = [float(number) for number in vector]
    is_same = all(number == was for number, was in zip(floats, vector, strict=True))
    return floats if is_same else None


def _packed(numbers: list[float] | list[int]) -> array[Any] | None:
    if isinstance(numbers[0], int):
        return _packed_ints(numbers)
    narrow = array("f", numbers)
    packed = narrow if narrow.tolist() == numbers else array("d", numbers)
    return packed if all(map(math.isfinite, numbers)) else None


def _packed_ints(numbers: Sequence[Any]) -> array[Any] | None:
    for code in INTS:
        try:
            return array(code, numbers)
        except OverflowError:
            continue
    return None

"""Dicts that recur are decoded from the last one of their shape, and none the worse for it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.messages.base import TextAccessor
from langchain_core.outputs import ChatGeneration, Generation
from support import payloads as p
from support.exact import difference, mutable_parts, vandalise
from support.strategies import examples

from llmemo._core import ValueDamaged, decode, encode

KEY = bytes(range(32))
numbers = itertools.count()


def tripped(info: dict[Any, Any]) -> Any:
    """What comes back."""
    answer = [Generation(text="t", generation_info={"info": info})]
    found = decode(encode(answer, KEY), KEY)[0].generation_info
    assert found is not None
    return found["info"]


def place() -> str:
    """A key that no dict had before, so that no test learns of another's dicts."""
    return f"place {next(numbers)}"


KEYS = st.sampled_from(["model", "id", "name", "k", "a key that is no word", "k" * 41, 1, None])
LEAVES = st.sampled_from(
    [None, True, False, 0, 1, 1.0, 0.0, -0.0, "", "1", "text", "x" * 60, 2**70, b"1", b"x" * 60]
)
LEAVES |= st.sampled_from([TextAccessor("text"), "\ud800", float("nan"), float("inf"), (), (1,)])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=6,
)


@pytest.mark.slow
def test_dicts_of_few_shapes_come_back_one_after_the_other() -> None:
    @examples(60)
    @given(st.lists(st.dictionaries(KEYS, VALUES, max_size=5), min_size=2, max_size=12))
    def check(dicts: list[dict[Any, Any]]) -> None:
        for _ in range(2):
            returned = [(info, tripped(info)) for info in dicts]
            for info, found in returned:
                assert difference(found, info) is None
            for (_, one), (_, other) in itertools.combinations(returned, 2):
                shared = {id(it) for it in mutable_parts(one)}
                assert not shared & {id(it) for it in mutable_parts(other)}

    check()


ALIKE = [True, 1, 1.0, "1", b"1", 0, False, 0.0, -0.0, None, "", b"", [], {}, (), [1], (1,), {1: 1}]


@pytest.mark.parametrize("length", [1, 2, 5, 16, 17])
def test_values_that_are_alike_are_told_apart(length: int) -> None:
    name = place()
    for value in ALIKE * 3:
        info = {f"{name} {at}": value for at in range(length)}
        assert difference(tripped(info), info) is None
        info |= {f"{name} {length - 1}": next(numbers)}
        assert difference(tripped(info), info) is None


def test_other_orders_other_lengths_and_other_keys_are_other_dicts() -> None:
    name = place()
    keys = [f"{name}{letter}" for letter in "abcd"]
    shapes = [order for size in range(1, 5) for order in itertools.permutations(keys, size)]
    for shape in shapes + shapes[::-1] + [each for each in shapes for _ in range(3)]:
        found = tripped(dict.fromkeys(shape, 1))
        assert list(found) == list(shape)
        assert set(found.values()) == {1}


def test_what_is_done_to_a_dict_does_not_reach_the_next_of_its_shape() -> None:
    info = {place(): 1, "list": [1], "dict": {"a": {"b": 1}}, "id": "x"}
    for _ in range(5):
        found = tripped(info)
        assert difference(found, info) is None
        assert vandalise(found) == 4


def test_dicts_within_dicts_of_the_same_shape() -> None:
    name = place()
    info: dict[str, Any] = {name: 1, "k": 0}
    for depth in range(50):
        info = {name: info, "k": depth}
        for _ in range(3):
            assert difference(tripped(info), info) is None


def test_the_text_of_an_answer_is_no_part_of_a_shape() -> None:
    name = place()
    for number in range(6):
        text = f"text {number}"
        accessor = AIMessage(text).text
        answer = [
            ChatGeneration(
                message=AIMessage(text, response_metadata={name: "m", "said": text, "t": accessor}),
                generation_info={name: "m", "said": text, "t": accessor},
            )
        ]
        assert difference(decode(encode(answer, KEY), KEY), answer) is None


def wrapped(tree: bytes, depth: int) -> bytes:
    """A tree that deep inside an answer, in lists."""
    return p.answer(p.generation(p.counted(p.LIST, 1) * (depth - 2) + tree))


def test_the_deepest_dict_has_no_values_whatever_was_learned() -> None:
    name = place()
    tree = p.token({name: 1, "k": "v"})
    for _ in range(4):
        p.read(wrapped(tree, 199))
    for _ in range(4):
        with pytest.raises(ValueDamaged, match="malformed"):
            p.read(wrapped(tree, 200))


def test_a_key_that_is_said_twice_is_the_last_one_each_time() -> None:
    name = place()
    tree = p.counted(p.DICT, 2) + p.token(name) + p.token(1) + p.token(name) + p.token(2)
    for _ in range(4):
        (generation,) = p.read(p.answer(p.generation(tree)))
        assert generation.generation_info == {name: 2}

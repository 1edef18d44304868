"""The value format as other versions, other programs and other hands may have written it."""

from __future__ import annotations

import copy
import itertools
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages.base import TextAccessor
from langchain_core.outputs import ChatGeneration, Generation
from support import payloads as p
from support.exact import difference, mutable_parts, vandalise
from support.strategies import FLOATS, INTS, TEXTS, examples, json_values

from llmemo._core import Memory, ValueDamaged, ValueUnknown, decode

if TYPE_CHECKING:
    from pydantic import BaseModel

EMPTY_DICT, EMPTY_LIST = p.counted(p.DICT, 0), p.counted(p.LIST, 0)

every_class = pytest.mark.parametrize(
    "kind", p.CLASSES.values(), ids=[kind.__name__ for kind in p.CLASSES.values()]
)


def stored(name: str) -> tuple[object, object]:
    """A value for a field, as (bytes or what `token` takes, the Python value)."""
    if name == "message":
        made = {field: stored(field)[1] for field in AIMessage.model_fields}
        message = p.thing(AIMessage, made.items(), mask=1, extra={})
        return message, AIMessage.model_construct({"content"}, **made)
    value = [{"of": name}, 2**70] if name != "text" else "some text"
    return value, value


def fields_of(kind: type[BaseModel]) -> list[tuple[object, object]]:
    return [(name, stored(name)[0]) for name in kind.model_fields]


def read_one(kind: type[BaseModel], fields: list[tuple[object, object]], **rest: Any) -> Any:
    """The object that the decoder makes; a message inside of a generation."""
    written = p.thing(kind, fields, **rest)
    if p.NUMBERS[kind] < 16:
        return p.read(p.answer(written))[0]
    chat = [("text", ""), ("generation_info", None), ("type", "ChatGeneration")]
    return p.read(p.answer(p.thing(ChatGeneration, [*chat, ("message", written)])))[0].message


def same_state(one: BaseModel, fields: dict[str, object], names: set[str]) -> None:
    assert difference(dict(one.__dict__), fields) is None
    assert difference(one.__pydantic_fields_set__, names) is None
    assert one.__pydantic_private__ is None


# What the description says.


def test_the_writer_of_these_tests_speaks_the_format() -> None:
    values: list[Any] = [*INTS, *FLOATS, *TEXTS, None, True, False, {"a": (1, [2.5])}, {1: {}}]
    values += [[10**4000], {(1, "x"): []}]
    for value in values:
        read = p.read(p.answer(p.generation(value)))
        assert difference(read[0].generation_info, value) is None
        assert type(read[0]) is Generation


@examples(60)
@given(json_values)
def test_any_tree_reads_as_written(value: object) -> None:
    assert difference(p.read(p.answer(p.generation([value])))[0].generation_info, [value]) is None


def test_integers_in_another_spelling() -> None:
    for number in INTS:
        spelled = p.read(p.answer(p.generation(p.big_integer(number))))[0].generation_info
        assert difference(spelled, number) is None
    for spelling in (b"\x80\x00", b"\x80\x80\x80\x80\x00"):
        assert p.read(p.answer(p.generation(bytes([p.INT]) + spelling)))[0].generation_info == 0
    assert p.read(p.answer(p.generation(p.sized(p.BIG_INT, b""))))[0].generation_info == 0


def test_text_and_its_repetition() -> None:
    for text in TEXTS:
        accessor = bytes([p.TEXT]) + p.token(text)
        info = bytes([p.SAME_TEXT])
        read = p.read(p.answer(p.generation(info, accessor), p.generation(info, "other")))
        assert difference(read[0].text, TextAccessor(text)) is None
        assert difference([read[0].generation_info, read[1].generation_info], [text] * 2) is None
    with pytest.raises(ValueDamaged):
        p.read(p.answer(p.generation(bytes([p.SAME_TEXT]))))
    inner: object
    for inner in (None, 1, [], b"\x0d\x0d\x00"):
        with pytest.raises(ValueDamaged):
            p.read(p.answer(p.generation(None, bytes([p.TEXT]) + p.token(inner))))


def test_words_are_what_they_say_and_shared_by_nobody_who_could_change_them() -> None:
    words = p.words()
    assert len(words) > 60
    assert {"", "content", "text", "message", "generation_info", "tool_calls"} <= set(words)
    assert all(type(word) is str for word in words)


def test_an_unknown_version_and_a_wrong_key_are_told_from_damage() -> None:
    value = p.sealed(p.answer(p.generation()))
    assert decode(value, p.KEY)[0].text == "x"
    for version in (0, 2, 255):
        with pytest.raises(ValueUnknown, match=r"^unknown_version$"):
            decode(p.sealed(p.answer(p.generation()), version=version), p.KEY)
    memory = Memory(10**6, fingerprint_secret=bytes(range(192)))
    for at, bit in itertools.product(range(32), range(8)):
        other = bytearray(p.KEY)
        other[at] ^= 1 << bit
        with pytest.raises(ValueDamaged, match=r"^wrong_key$"):
            decode(value, bytes(other))
        with pytest.raises(ValueDamaged, match=r"^wrong_key$"):
            memory.put("p", "l", "", bytes(other), value)
    assert memory.lookup("p", "l", "") is None


# Fields of another langchain-core.


@every_class
def test_fields_in_the_order_of_the_class_by_word_and_by_name(kind: type[BaseModel]) -> None:
    words = p.words()
    fields = fields_of(kind)
    expected = {str(name): stored(str(name))[1] for name, _ in fields}
    mask = 0b101
    chosen = {name for at, name in enumerate(expected) if mask >> at & 1}
    spelled = [(words.get(str(name), name), value) for name, value in fields]
    mixed = [pair[at % 2] for at, pair in enumerate(zip(fields, spelled, strict=True))]
    for written in (fields, spelled, mixed, mixed[:1] + spelled[1:], spelled[:-1] + fields[-1:]):
        one = read_one(kind, written, mask=mask, extra={"e": 1})
        assert type(one) is kind
        same_state(one, expected, chosen)
        assert one.__pydantic_extra__ == {"e": 1}


@every_class
def test_fields_in_a_foreign_order(kind: type[BaseModel]) -> None:
    words, fields, rng = p.words(), fields_of(kind), random.Random(1)
    for turn in range(40):
        order = fields[::-1] if turn == 0 else rng.sample(fields, len(fields))
        mask = rng.getrandbits(len(fields))
        expected = {str(name): stored(str(name))[1] for name, _ in order}
        chosen = {name for at, name in enumerate(expected) if mask >> at & 1}
        written = [(words.get(str(name), name), value) for name, value in order]
        one = read_one(kind, written, mask=mask, others=["x", *list(chosen)[:1]])
        same_state(one, expected, chosen | {"x"})


@every_class
def test_a_field_that_the_value_lacks_gets_the_default_of_the_class(kind: type[BaseModel]) -> None:
    for name, info in kind.model_fields.items():
        written = [pair for pair in fields_of(kind) if pair[0] != name]
        mask = (1 << len(written)) - 1
        if info.is_required():
            with pytest.raises(ValueDamaged):
                read_one(kind, written, mask=mask)
            continue
        default = copy.deepcopy(info.get_default(call_default_factory=True))
        one, other = read_one(kind, written, mask=mask), read_one(kind, written, mask=mask)
        assert difference(one.__dict__[name], default) is None
        assert difference(one.__pydantic_fields_set__, {str(pair[0]) for pair in written}) is None
        shared = {id(part) for part in mutable_parts(one)}
        assert not shared & {id(part) for part in mutable_parts(other)}, f"{name} is shared"
        vandalise(one)
        later = read_one(kind, written, mask=mask)
        assert difference(later, other) is None
        assert difference(info.get_default(call_default_factory=True), default) is None


@every_class
def test_with_only_what_is_required(kind: type[BaseModel]) -> None:
    written = [pair for pair in fields_of(kind) if kind.model_fields[str(pair[0])].is_required()]
    one = read_one(kind, written, extra={})
    assert set(one.__dict__) == set(kind.model_fields)
    assert one.__pydantic_fields_set__ == set()
    for name, info in kind.model_fields.items():
        if not info.is_required():
            expected = info.get_default(call_default_factory=True)
            assert difference(one.__dict__[name], expected) is None


@every_class
def test_a_field_that_the_class_does_not_know_is_damage(kind: type[BaseModel]) -> None:
    fields = fields_of(kind)
    for at in range(len(fields) + 1):
        for name in ("unheard_of", "", "__class__", "__dict__", "\ud800", None, 1, ["x"]):
            for written in ([*fields[:at], (name, 1), *fields[at:]], [*fields[:at], (name, 1)]):
                with pytest.raises(ValueDamaged):
                    read_one(kind, written)
    for at in range(len(fields)):
        with pytest.raises(ValueDamaged):
            read_one(kind, [*fields[:at], ("unheard_of", 1), *fields[at + 1 :]])


@every_class
def test_a_field_that_comes_twice_never_leaves_a_torn_object(kind: type[BaseModel]) -> None:
    fields = fields_of(kind)
    for at in range(len(fields)):
        for written in ([*fields, fields[at]], [fields[at], *fields], [fields[at]] * len(fields)):
            try:
                one = read_one(kind, written)
            except ValueDamaged:
                continue
            assert set(one.__dict__) == set(kind.model_fields)


def test_numbers_without_a_class_and_generations_out_of_place_are_damage() -> None:
    for number in set(range(256)) - set(p.CLASSES):
        with pytest.raises(ValueDamaged):
            p.read(p.answer(p.thing(number, [("text", "x")])))
        with pytest.raises(ValueDamaged):
            p.read(p.answer(p.generation(p.thing(number, [("text", "x")]))))
    message = p.thing(ToolMessage, fields_of(ToolMessage))
    for payload in (p.answer(message), p.answer(p.answer(p.generation())), p.generation()):
        with pytest.raises(ValueDamaged):
            p.read(payload)
    for payload in (
        p.answer(),
        EMPTY_DICT,
        p.token("x"),
        b"",
        p.NONE,
        p.answer(p.generation()) * 2,
    ):
        with pytest.raises(ValueDamaged):
            p.read(payload)


def test_what_follows_the_fields_has_to_be_there() -> None:
    head = p.counted(p.OBJECT, 1) + b"\0" + p.token("text") + p.token("x")
    good = head + p.integer(1) + p.NONE + EMPTY_LIST
    assert p.read(p.answer(good))[0].text == "x"
    for bad in (
        head,
        head + p.integer(1),
        head + p.integer(1) + p.NONE,
        head + p.NONE + p.NONE + EMPTY_LIST,  # no mask
        head + p.token(1.0) + p.NONE + EMPTY_LIST,
        head + p.integer(1) + p.NONE + EMPTY_DICT,
        head + p.integer(1) + p.NONE + p.token([[]]),  # a set cannot hold a list
        head + p.integer(1) + p.NONE + p.counted(p.LIST, 2) + p.NONE,
    ):
        with pytest.raises(ValueDamaged):
            p.read(p.answer(bad))

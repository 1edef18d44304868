"""Values as plain data: the same that `decode` reads, without a class, whatever the bytes are."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from support import payloads as p
from support.strategies import examples, generations

from llmemo._core import ValueDamaged, ValueUnknown, decode, encode, take_apart

KEY = p.KEY


class Part(dict[str, Any]):
    """What stands for an object."""


def made(name: str, state: Any) -> Part:
    return Part(name=name, state=state)


def apart(payload: bytes) -> list[Any]:
    return take_apart(p.sealed(payload), KEY, made)


def test_an_answer_of_a_chat_model() -> None:
    call = {"name": "f", "args": {"a": 1}, "id": "1", "type": "tool_call"}
    value = encode([ChatGeneration(message=AIMessage("hello", tool_calls=[call]))], KEY)
    [generation] = take_apart(value, KEY, made)
    assert generation["name"] == "langchain_core.outputs.ChatGeneration"
    message = generation["state"]["message"]
    assert generation["state"]["text"] == "hello"
    assert message["name"] == "langchain_core.messages.AIMessage"
    assert message["state"]["content"] == "hello"
    assert message["state"]["tool_calls"] == [call]


@given(generations())
@examples(60)
def test_whatever_can_be_stored_can_be_taken_apart(generation: Generation) -> None:
    value = encode([generation], KEY)
    [taken] = take_apart(value, KEY, made)
    assert taken["name"].rpartition(".")[2] == type(generation).__name__


def test_the_bytes_have_to_be_those_of_the_key() -> None:
    value = encode([Generation(text="x")], KEY)
    with pytest.raises(ValueDamaged, match="wrong_key"):
        take_apart(value, bytes(32), made)
    with pytest.raises(ValueDamaged, match="checksum"):
        take_apart(value[:-1] + bytes([value[-1] ^ 1]), KEY, made)
    with pytest.raises(ValueUnknown, match="unknown_version"):
        take_apart(p.sealed(b"", version=9), KEY, made)


def test_damaged_payloads_are_refused_as_decode_refuses_them() -> None:
    """What decode reads, this reads; and neither raises anything else."""
    dice = random.Random(7)
    info = {"a": [1, 2.5, None, True, {"b": (b"x", 2**70)}], "set": {1, 2}, "c": {3: "\ud800"}}
    plain = encode([Generation(text="hello", generation_info=info)], KEY)[44:-8]
    chat = encode([ChatGeneration(message=AIMessage("hello"))], KEY)[44:-8]
    read = 0
    for _ in range(4_000):
        payload = bytearray(dice.choice((plain, chat)))
        for _ in range(dice.randrange(1, 3)):
            payload[dice.randrange(len(payload))] = dice.randrange(256)
        if dice.random() < 0.2:
            del payload[dice.randrange(len(payload)) :]
        try:
            decode(p.sealed(bytes(payload)), KEY)
        except ValueDamaged:
            try:
                apart(bytes(payload))
            except ValueDamaged:
                continue
        else:
            read += 1
            apart(bytes(payload))
    assert read > 100


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        p.token([]),
        p.token("x"),
        p.token([1]) + b"\0",
        p.counted(p.LIST, 1) + bytes([p.TEXT, p.TEXT, p.STR]),
        p.counted(p.LIST, 1) + bytes([p.TEXT]) * 100_000,
        p.counted(p.LIST, 1) + bytes([p.SAME_TEXT]),
        p.counted(p.LIST, 1) + bytes([p.INSTANCE, 0]) + p.NONE,
        b"".join(p.counted(p.LIST, 1) for _ in range(202)) + p.NONE,
        p.counted(p.LIST, 1) + p.sized(p.STR, b"\xff"),
        p.counted(p.LIST, 1) + p.sized(p.STR_SURROGATES, b"\xff"),
    ],
)
def test_what_breaks_the_rules(payload: bytes) -> None:
    with pytest.raises(ValueDamaged, match="malformed"):
        apart(payload)


def test_what_is_newer_is_unknown() -> None:
    for payload, reason in (
        (
            p.answer(
                p.thing(Generation, [], mask=0).replace(b"\x0c\0\0\0\0\0", b"\x0c\0\0\0\0\x7f")
            ),
            "unknown_class",
        ),
        (p.answer(bytes([p.PLAIN, 99]) + p.token(())), "unknown_type"),
        (p.answer(bytes([0xFF])), "unknown_word"),
    ):
        with pytest.raises(ValueUnknown, match=reason):
            apart(payload)


def test_what_make_raises_is_raised() -> None:
    def broken(name: str, state: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        take_apart(encode([Generation(text="x")], KEY), KEY, broken)

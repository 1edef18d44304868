"""Sealed questions: open for their own key alone, and for nothing but questions."""

from __future__ import annotations

import random

import pytest

from llmemo._core import ValueDamaged
from llmemo.codec.envelope import Envelope

KEY, OTHER = b"k" * 32, b"o" * 32
PACKED = b"\x01" + bytes(range(200)) + b"what was asked"


def envelope(key: bytes | list[bytes] | None) -> Envelope:
    return Envelope(key, is_needed=True)


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMEMO_ENCRYPTION_KEY", raising=False)


def refusal(one: Envelope, stored: bytes, key: bytes = KEY) -> str:
    with pytest.raises(ValueDamaged) as caught:
        one.open_question(stored, key)
    return str(caught.value)


def test_without_a_key_it_is_stored_as_it_is() -> None:
    one = envelope(None)
    assert one.seal_question(PACKED, KEY) == PACKED
    assert one.open_question(PACKED, KEY) == PACKED


def test_with_a_key_it_comes_back_and_shows_nothing() -> None:
    one = envelope(b"a" * 32)
    stored = one.seal_question(PACKED, KEY)
    assert one.open_question(stored, KEY) == PACKED
    assert stored[:4] == b"llme"
    assert b"what was asked" not in stored
    assert envelope([b"b" * 32, b"a" * 32]).open_question(stored, KEY) == PACKED


def test_it_is_of_no_use_to_another_key_or_in_another_place() -> None:
    one = envelope(b"a" * 32)
    stored = one.seal_question(PACKED, KEY)
    assert refusal(one, stored, OTHER) == "not_authentic"
    assert refusal(one, one.seal_request(PACKED, KEY)) == "not_authentic"
    assert refusal(one, one.seal(PACKED, KEY)) == "not_authentic"
    assert one.open_request(stored, KEY) is None
    with pytest.raises(ValueDamaged, match="not_authentic"):
        one.open(stored, KEY)


def test_what_is_not_encrypted_is_refused_where_there_is_a_key_and_the_reverse() -> None:
    assert refusal(envelope(b"a" * 32), PACKED) == "not_a_value"
    stored = envelope(b"a" * 32).seal_question(PACKED, KEY)
    assert refusal(envelope(None), stored) == "unknown_encryption_key"
    assert refusal(envelope(b"b" * 32), stored) == "unknown_encryption_key"


def test_damage_anywhere_is_found() -> None:
    one, dice = envelope(b"a" * 32), random.Random(1)
    stored = one.seal_question(PACKED, KEY)
    for at in range(len(stored)):
        damaged = bytearray(stored)
        damaged[at] ^= 1 << dice.randrange(8)
        refusal(one, bytes(damaged))
        refusal(one, stored[:at])

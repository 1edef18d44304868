"""Objects in a prompt: those that print all that they hold have a key, and the others have none."""

from __future__ import annotations

import datetime as dt
import json
import random
import zoneinfo
from array import array
from collections import deque
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.outputs import Generation
from pydantic import BaseModel, SecretStr
from support import oracle
from support.strategies import examples, hard_texts

from llmemo._core import Memory, RequestBypassed
from llmemo.keys.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo import LLMCache

MEMORY = Memory(2**20, fingerprint_secret=bytes(range(7, 199)))
LLM = "[('_type', 'fake'), ('stop', None)]"


def asked(value: Any) -> str:
    """What a chat model asks a cache for, with a value in a message."""
    return dumps([HumanMessage([{"type": "x", "value": value}])])


def key(prompt: str, **seen: Any) -> bytes:
    """The key, by core and oracle."""
    found = MEMORY.key(Request(prompt, LLM, **seen), "")
    assert found == oracle.key(prompt, LLM, "", **seen)
    return found


def reason(prompt: str) -> tuple[str, str | None]:
    """Why there is no key, by core and oracle."""
    with pytest.raises(RequestBypassed) as bypass:
        MEMORY.key(Request(prompt, LLM), "")
    with pytest.raises(oracle.Bypass) as other:
        oracle.key(prompt, LLM, "")
    assert bypass.value.args == other.value.args
    name, parameter = bypass.value.args
    return name, parameter


zones = st.none() | st.just(dt.timezone.utc)
zones |= st.builds(
    dt.timezone, st.timedeltas(-dt.timedelta(hours=23), dt.timedelta(hours=23)), hard_texts
)
paths = st.text(st.characters(exclude_characters="\0"), max_size=9)
hashable = st.one_of(
    st.binary(max_size=9),
    st.complex_numbers(),
    st.builds(range, st.integers(), st.integers(), st.sampled_from([-2, 1, 3])),
    st.just(...),
    st.dates(),
    st.times(timezones=zones),
    st.builds(
        lambda at, fold: at.replace(fold=fold),
        st.datetimes(timezones=zones),
        st.sampled_from([0, 1]),
    ),
    st.timedeltas(),
    zones.filter(bool),
    st.decimals().filter(lambda number: not number.is_snan()),
    st.fractions(),
    st.uuids(),
    paths.map(PurePosixPath),
    paths.map(PureWindowsPath),
    paths.map(Path),
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | hard_texts
members = st.recursive(
    plain | hashable,
    lambda inner: st.tuples(inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
values: st.SearchStrategy[Any] = st.one_of(
    hashable, st.binary().map(bytearray), st.sets(members), st.frozensets(members)
)


@pytest.mark.slow
@examples(250)
@given(values, values)
def test_a_value_that_prints_all_that_it_holds_has_a_key(one: Any, other: Any) -> None:
    assert key(asked(one)) == key(asked(one))
    assume((type(one), repr(one)) != (type(other), repr(other)))
    is_set = isinstance(one, (set, frozenset)) and type(one) is type(other)
    if not (is_set and sorted(map(repr, one)) == sorted(map(repr, other))):
        assert key(asked(one)) != key(asked(other))


@pytest.mark.slow
@examples(200)
@given(st.lists(members, max_size=6), st.integers())
def test_the_order_of_a_set_does_not_count(of: list[Any], seed: int) -> None:
    def printed(order: list[Any]) -> str:
        made = json.loads(asked(set(of)))
        shown = made[0]["kwargs"]["content"][0]["value"]
        assert shown["id"] == ["builtins", "set"]
        shown["repr"] = f"{{{', '.join(map(repr, order))}}}" if order else "set()"
        return json.dumps(made)

    order = list(set(of))
    other = random.Random(seed).sample(order, len(order))
    assert key(printed(order)) == key(printed(other)) == key(asked(set(of)))


class Color(Enum):
    RED = 1


class Size(IntEnum):
    BIG = 1


class Point(NamedTuple):
    x: int


class Shown:
    """Prints whatever it is given."""

    def __init__(self, shown: str) -> None:
        self.shown = shown

    def __repr__(self) -> str:
        return self.shown


class Local(dt.tzinfo):
    def utcoffset(self, at: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)

    def dst(self, at: dt.datetime | None) -> None:
        return None

    def tzname(self, at: dt.datetime | None) -> str:
        return "local"

    def __repr__(self) -> str:
        return "local()"


class Answer(BaseModel):
    x: int = 1


class Bytes(bytes):
    """Has more than it prints."""


UNKNOWN = [
    *(Color.RED, {Color.RED}, {Size.BIG}, {Point(1)}, Answer(), len, Answer, Shown),
    *(array("d", [1.0]), deque([1]), Bytes(b"x"), {Bytes}, dt.datetime),
    *(Shown("b'x'"), Shown("{1}"), {Shown("T(1)")}, {1: Shown("T(1)")}),
    zoneinfo.ZoneInfo("UTC"),
    dt.datetime(2026, 1, 2, tzinfo=zoneinfo.ZoneInfo("UTC")),
    dt.datetime(2026, 1, 2, tzinfo=Local()),
    dt.time(1, tzinfo=Local()),
]


@pytest.mark.parametrize("value", UNKNOWN, ids=repr)
def test_a_value_that_need_not_print_all_has_none(value: Any) -> None:
    assert reason(asked(value)) == ("unknown_repr", "messages")
    # Somebody has seen it, and says what it holds.
    assert key(asked(value), objects=True, supplement=b"a") != key(
        asked(value), objects=True, supplement=b"b"
    )


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("array([0, 1, ..., 8, 9])", "truncated"),
        ("│ … │", "truncated"),
        ("<T at 0x7f12>", "address"),
        ("<T ... at 0x7f12>", "address"),
        ("T(1)", "unknown_repr"),
        ("{1, <f at 0x7f12>}", "address"),
        ("{1, T(...)}", "truncated"),
    ],
)
def test_the_reason_is_told_by_what_is_printed(shown: str, expected: str) -> None:
    value = Shown(shown)
    assert reason(asked(value)) == (expected, "messages")
    assert reason(asked({"a": [Decimal(1), value]})) == (expected, "messages")
    result = ToolMessage("x", tool_call_id="1", additional_kwargs={"a": value})
    assert reason(dumps([result])) == (expected, "messages")
    # Whatever the application keeps for itself is never sent.
    key(dumps([ToolMessage("x", tool_call_id="1", artifact=value)]))


def test_a_message_of_ones_own_hides_no_object() -> None:
    class Note(HumanMessage):
        """Sends itself in a way of its own."""

    def of(value: Any) -> str:
        return dumps([Note(content=[{"type": "x", "value": value}])])

    assert reason(of(Shown("T(...)"))) == ("truncated", "messages")
    assert reason(of(Shown("T(1)"))) == ("unknown_repr", "messages")
    assert key(of(b"x ... at 0x7f")) != key(of(b"y"))
    assert key(of(Shown("T(1)")), objects=True) != key(of(b"x"), objects=True)


def test_objects_that_were_seen_have_one_key_in_every_process() -> None:
    one, other = (asked([Shown(f"<T at 0x{at}>"), SecretStr("x")]) for at in (1, 2))
    assert one != other
    assert key(one, objects=True) == key(other, objects=True)
    assert key(one, objects=True) != key(asked([b"x", SecretStr("x")]), objects=True)


def test_shortened_values_never_share_an_answer(make_cache: Callable[..., LLMCache]) -> None:
    cache = make_cache()
    for number in range(3):
        sound = Shown("array([0., 0., 0., ..., 0., 0., 0.])")
        assert cache.lookup(asked(sound), LLM) is None
        cache.update(asked(sound), LLM, [Generation(text=str(number))])
    assert cache.stats().bypassed == {"truncated": 6}
    cache.update(asked(b"0"), LLM, [Generation(text="whole")])
    assert cache.lookup(asked(b"0"), LLM) == [Generation(text="whole")]


def test_a_model_that_says_too_little_goes_past_the_cache(
    make_cache: Callable[..., LLMCache], caplog: pytest.LogCaptureFixture
) -> None:
    cache, thin = make_cache(), "[('_type', 'chat-ollama'), ('stop', None)]"
    cache.update("p", thin, [Generation(text="llama")])
    assert cache.lookup("p", thin) is None
    assert cache.stats().bypassed == {"thin_text": 2}
    [line] = [line for line in caplog.records if line.name == "llmemo"]
    assert "'_type' holds a model that lists too few of its settings" in line.getMessage()

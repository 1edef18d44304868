"""What cannot come back as it went in is not stored, but counted, and said once."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import io
import ipaddress
import logging
import pathlib
import random
import re
import struct
import types
import uuid
import zoneinfo
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.messages.base import TextAccessor
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import BaseModel, HttpUrl, SecretStr
from support.doubles import Clock
from support.exact import difference, is_instance, mutable_parts
from support.strategies import answers, examples

from llmemo._core import ValueRefused, decode, encode
from llmemo.telemetry.stats import LOG_INTERVAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo import LLMCache

    MakeCache = Callable[..., LLMCache]
    Place = Callable[[Any], list[Generation]]

KEY = bytes(range(32))
CANARY = "canary-7f3a"


class WithFinalizer(BaseModel):
    """An instance that no constructor made must not run this."""

    x: str = CANARY

    def __del__(self) -> None:
        pass


@dataclasses.dataclass
class DataDict(dict[str, str]):
    """A dict has state that is no attribute's."""

    x: str = CANARY


@dataclasses.dataclass
class DataInt(int):
    x: str = CANARY


@dataclasses.dataclass
class DataError(ValueError):
    x: str = CANARY


@dataclasses.dataclass
class DataRandom(random.Random):
    """So has this, in C, though a program might have made its class."""

    x: str = CANARY


Wide = dataclasses.make_dataclass("Wide", [f"x{n}" for n in range(65)], slots=True)


class Plain:
    """A class of no known kind."""

    x = CANARY


class Permission(enum.Flag):
    """Makes combinations in a way of its own."""

    READ = 1
    WRITE = 2

    @classmethod
    def _missing_(cls, value: object) -> Any:
        return super()._missing_(value)


# A file of a zone without a name, of one offset.
TZIF = b"TZif2" + bytes(15 + 6 * 4) + b"TZif2" + bytes(15)
TZIF += struct.pack(">6l", 0, 0, 0, 0, 1, 4) + bytes(6) + b"UTC\0" + b"\nUTC0\n"


class Zone(datetime.tzinfo):
    def utcoffset(self, when: object) -> datetime.timedelta:
        return datetime.timedelta(0)

    def dst(self, when: object) -> None:
        return None

    def tzname(self, when: object) -> str:
        return CANARY


class Date(datetime.date):
    pass


class Moment(datetime.datetime):
    pass


class Money(decimal.Decimal):
    pass


class Identity(uuid.UUID):
    pass


class Dict(dict[str, str]):
    pass


class List(list[str]):
    pass


class Str(str):
    __slots__ = ()


class Int(int):
    pass


class Float(float):
    pass


class Bytes(bytes):
    pass


class Tuple(tuple[str]):
    __slots__ = ()


class Accessor(TextAccessor):
    __slots__ = ()


class Pair(NamedTuple):
    one: str


class Liar:
    """Says that it is a str, wherever it is asked."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return str


UNLISTED: list[Any] = [
    object(),
    collections.OrderedDict(a=CANARY),
    collections.defaultdict(list, a=CANARY),
    collections.Counter(CANARY),
    collections.deque([CANARY]),
    types.MappingProxyType({"a": CANARY}),
    types.SimpleNamespace(a=CANARY),
    *(Dict(a=CANARY), List([CANARY]), Str(CANARY), Int(1), Float(0.5), Bytes(b"x"), Tuple("x")),
    *(Accessor(CANARY), Pair(CANARY), Liar(), bytearray(b"x"), memoryview(b"x")),
    array.array("b", b"x"),
    *(1j, range(3), slice(1), ..., NotImplemented, len, lambda: CANARY, Str, Str.upper, re),
    (item for item in CANARY),
    *(re.compile(CANARY), pathlib.PurePosixPath(CANARY), ValueError(CANARY), SecretStr(CANARY)),
    *(
        WithFinalizer(),
        DataDict(),
        DataInt(),
        DataError(),
        DataRandom(),
        Wide(*range(65)),
        Plain(),
        Zone(),
    ),
    Permission.READ | Permission.WRITE,
    *(Date(2026, 1, 1), Moment(2026, 1, 1), Money("0.1"), Identity(int=1)),
    *(HttpUrl("http://x.y"), ipaddress.IPv4Address("127.0.0.1"), fractions.Fraction(1, 2)),
    zoneinfo.ZoneInfo.from_file(io.BytesIO(TZIF)),
]


def chat(message: AIMessage | ToolMessage) -> list[Generation]:
    return [ChatGeneration.model_construct(message=message, text=CANARY)]


def construct(**fields: Any) -> AIMessage:
    return AIMessage.model_construct(**{"content": CANARY, **fields})


def with_set_name(it: Any) -> list[Generation]:
    message = AIMessage(CANARY)
    message.__pydantic_fields_set__.add(it)
    return chat(message)


PLACES: dict[str, Place] = {
    "text": lambda it: [Generation.model_construct(text=it)],
    "generation_info": lambda it: [Generation.model_construct(text=CANARY, generation_info=it)],
    "in generation_info": lambda it: [Generation(text=CANARY, generation_info={"a": it})],
    "second generation": lambda it: [Generation(text=""), *chat(construct(id=it))],
    "message": chat,
    "content": lambda it: chat(construct(content=it)),
    "block": lambda it: chat(construct(content=["a", {"type": "text", "text": it}])),
    "tool call": lambda it: chat(construct(tool_calls=[{"name": "f", "args": {"a": it}}])),
    "usage": lambda it: chat(construct(usage_metadata={"input_tokens": it})),
    "extra": lambda it: chat(AIMessage(CANARY, a=it)),
    "artifact": lambda it: chat(ToolMessage(CANARY, tool_call_id="1", artifact=(it,))),
    "deep": lambda it: chat(construct(response_metadata={"a": [({"b": [[(it,)]]},)]})),
}
HASHABLE_PLACES: dict[str, Place] = {
    "key": lambda it: chat(construct(additional_kwargs={it: 1})),
    "in a key": lambda it: chat(construct(additional_kwargs={("a", (it,)): 1})),
    "name of a set field": with_set_name,
}


def type_name(it: object) -> str:
    kind = type(it)
    where = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"{where}{kind.__qualname__}"


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_an_unlisted_type_is_refused_by_name_in_every_place(place: Place) -> None:
    assert decode(encode(place("x"), KEY), KEY) if place is not chat else True
    for it in UNLISTED:
        with pytest.raises(ValueRefused) as refusal:
            encode(place(it), KEY)
        assert refusal.value.args == ("unsupported_type", type_name(it))


@pytest.mark.parametrize("place", HASHABLE_PLACES.values(), ids=HASHABLE_PLACES.keys())
def test_an_unlisted_type_is_refused_as_a_key(place: Place) -> None:
    assert difference(decode(encode(place("x"), KEY), KEY), place("x")) is None
    for it in UNLISTED:
        try:
            answer = place(it)
        except TypeError:
            continue  # Not hashable.
        with pytest.raises(ValueRefused) as refusal:
            encode(answer, KEY)
        assert refusal.value.args == ("unsupported_type", type_name(it))


@pytest.mark.slow
@examples(150)
@given(answers, st.sampled_from(UNLISTED), st.data())
def test_an_unlisted_type_is_refused_wherever_it_is_planted(
    answer: list[Generation], it: Any, data: st.DataObject
) -> None:
    inner = [part for item in answer for part in mutable_parts(item)]
    part = data.draw(st.sampled_from([part for part in inner if not is_instance(part)]))
    try:
        if isinstance(part, dict):
            part[data.draw(st.sampled_from([*part, "new"]))] = it
        elif isinstance(part, list):
            part.insert(data.draw(st.integers(0, len(part))), it)
        elif isinstance(part, set):
            part.add(it)
    except TypeError:
        return  # Not hashable.
    with pytest.raises(ValueRefused):
        encode(answer, KEY)


def test_a_refusal_is_said_by_type_once_a_minute_without_content(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, clock = make_cache(), Clock()
    time = types.SimpleNamespace(monotonic=clock)
    monkeypatch.setattr("llmemo.telemetry.stats.time", time)
    with caplog.at_level(logging.DEBUG, "llmemo"):
        for it in UNLISTED:
            clock.now += LOG_INTERVAL
            caplog.clear()
            for place in ("deep", "in generation_info", "content"):
                cache.update(CANARY, CANARY, PLACES[place](it))
            (line,) = [record.getMessage() for record in caplog.records if record.name == "llmemo"]
            assert f"(unsupported_type: {type_name(it)})" in line
            assert CANARY not in caplog.text
    assert cache.stats().skipped == {"unsupported_type": 3 * len(UNLISTED)}
    assert (cache.stats().updates, cache.stats().entries, cache.stats().errors) == (0, 0, {})
    assert cache.lookup(CANARY, CANARY) is None
    assert make_cache().lookup(CANARY, CANARY) is None


# Not a list of generations.

NOT_ANSWERS: list[Any] = [None, [], (), "", "text", b"x", 1, {}, {"a": 1}, {1, 2}, range(2)]
NOT_ANSWERS += [[1], ["a"], [None], [AIMessage("x")], [[Generation(text="x")]], Generation(text="")]
NOT_ANSWERS += [[Generation(text="x"), 1], [Generation(text="x"), AIMessage("x")], object(), list]
NOT_ANSWERS += [{Generation: 1}, collections.deque([Generation(text="x")]), [{"text": "x"}]]


def test_what_is_no_list_of_generations_is_counted(make_cache: MakeCache) -> None:
    cache = make_cache()
    for number, it in enumerate(NOT_ANSWERS):
        with pytest.raises(ValueRefused, match="not_generations"):
            encode(it, KEY)
        cache.update("p", "l", it)
        assert cache.stats().skipped == {"not_generations": number + 1}
        assert cache.lookup("p", "l") is None
    assert (cache.stats().updates, cache.stats().errors) == (0, {})


def test_a_generator_is_refused_and_not_consumed(make_cache: MakeCache) -> None:
    cache = make_cache()
    source: Any = (Generation(text=text) for text in "ab")
    cache.update("p", "l", source)
    assert cache.stats().skipped == {"not_generations": 1}
    assert [generation.text for generation in source] == ["a", "b"]


class Hostile:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(CANARY)


def test_an_object_that_raises_is_refused_like_any_other(make_cache: MakeCache) -> None:
    cache = make_cache()
    cache.update("p", "l", [Hostile()])  # type: ignore[list-item]
    assert cache.stats().errors == {}
    assert sum(cache.stats().skipped.values()) == 1

"""Answers that are too deep, endless or half broken; a decoder that is interrupted by itself."""

from __future__ import annotations

import bisect
import collections
import copy
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.base import TextAccessor
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation
from support import TESTS
from support import payloads as p
from support.exact import difference

from llmemo._core import ValueDamaged, ValueRefused, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    from llmemo import LLMCache

    MakeCache = Callable[..., LLMCache]

KEY = bytes(range(32))


def trip(answer: list[Generation]) -> list[Generation] | None:
    """What comes back, or None if the answer is refused."""
    try:
        value = encode(answer, KEY)
    except ValueRefused:
        return None
    return decode(value, KEY)


# Depth.


def in_content(it: Any) -> AIMessage:
    message = AIMessage("")
    message.__dict__["content"] = it
    return message


WRAPS: dict[str, Callable[[Any], Any]] = {
    "list": lambda it: [it],
    "tuple": lambda it: (it,),
    "dict": lambda it: {"a": it},
    "message": in_content,
    "extra": lambda it: AIMessage("", a=it),
    "generation": lambda it: Generation.model_construct(text="", generation_info=it),
}


def nested(wrap: Callable[[Any], Any], leaf: Any, depth: int) -> Any:
    for _ in range(depth):
        leaf = wrap(leaf)
    return leaf


def check_border(wrap: Callable[[Any], Any], leaf: Any) -> None:
    """What is stored, to the last level, comes back; what is deeper is refused."""

    def answer(depth: int) -> list[Generation]:
        return [Generation.model_construct(text="", generation_info=nested(wrap, leaf, depth))]

    def is_stored(depth: int) -> bool:
        try:
            return bool(encode(answer(depth), KEY))
        except ValueRefused as refusal:
            assert str(refusal) == "too_deep"  # noqa: PT017 (either outcome is right)
            return False

    border = bisect.bisect_left(range(250), True, key=lambda depth: not is_stored(depth))
    assert 60 < border < 210
    for depth in (0, 1, border - 2, border - 1, border, border + 1):
        assert is_stored(depth) == (depth < border)
        if depth < border:
            assert difference(trip(answer(depth)), answer(depth)) is None


@pytest.mark.slow
@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS.keys())
@pytest.mark.parametrize("leaf", ["x", "", None, {}, 2**70, AIMessage("x")], ids=ascii)
def test_what_is_stored_at_the_border_of_depth_comes_back(
    wrap: Callable[[Any], Any], leaf: Any
) -> None:
    check_border(wrap, leaf)


@pytest.mark.parametrize("leaf", [TextAccessor("x"), TextAccessor("\ud800")], ids=ascii)
def test_an_accessor_at_the_border_of_depth_comes_back(leaf: Any) -> None:
    check_border(WRAPS["list"], leaf)


def cyclic() -> list[Any]:
    """One list, tuple, dict and message each that contains itself, directly or not."""
    items: list[Any] = []
    items.append(items)
    twice: list[Any] = []
    twice += [twice, twice, 1]
    mapping: dict[str, Any] = {}
    mapping["a"] = {"b": [mapping]}
    message = AIMessage("x")
    message.additional_kwargs["a"] = (message,)
    return [items, twice, (items,), mapping, message]


@pytest.mark.slow
def test_what_has_no_end_is_refused(make_cache: MakeCache) -> None:
    cache, endless = make_cache(), cyclic()
    endless += [nested(wrap, "x", 100_000) for wrap in (WRAPS["list"], WRAPS["dict"])]
    endless += [nested(WRAPS[name], "x", 300) for name in ("tuple", "message", "generation")]
    for number, it in enumerate(endless):
        with pytest.raises(ValueRefused, match=r"^too_deep$"):
            encode([Generation.model_construct(text="x", generation_info=it)], KEY)
        cache.update("p", "l", [Generation.model_construct(text=it)])
        assert cache.stats().skipped == {"too_deep": number + 1}
    assert cache.stats().errors == {}
    assert cache.lookup("p", "l") is None


def test_what_is_wide_or_shared_is_no_cycle() -> None:
    shared = [{"a": 1}]
    info = {"a": shared, "b": (shared, shared), "c": [shared] * 10_000, "d": [0] * 100_000}
    answer = [Generation(text="x", generation_info=info)]
    assert difference(trip(answer), answer) is None


# Broken objects: refused, or back as they were.


def wreck(change: Callable[[Any], object], kind: type[BaseModel] = AIMessage) -> BaseModel:
    made: Any = AIMessage("x") if kind is AIMessage else Generation(text="x")
    change(made)
    return made  # type: ignore[no-any-return]


def put(name: str, value: object) -> Callable[[Any], object]:
    return lambda it: object.__setattr__(it, name, value)


class Str(str):
    __slots__ = ()


WRECKS: dict[str, Callable[[Any], object]] = {
    "unknown attribute": lambda it: it.__dict__.update(unknown=1),
    "many attributes": lambda it: it.__dict__.update({str(n): n for n in range(70)}),
    "attribute named by a number": lambda it: it.__dict__.update({1: 1}),
    "attribute named by a subclass": lambda it: it.__dict__.update({Str("unknown"): 1}),
    "attributes in another dict": lambda it: put("__dict__", collections.OrderedDict(it.__dict__))(
        it
    ),
    "private attributes": put("__pydantic_private__", {"_a": 1}),
    "no private attributes": put("__pydantic_private__", {}),
    "extra of another kind": put("__pydantic_extra__", ["a"]),
    "extra in another dict": put("__pydantic_extra__", collections.OrderedDict(a=1)),
    "no extra": put("__pydantic_extra__", None),
    "extra by number": put("__pydantic_extra__", {1: 1}),
    "set of another kind": put("__pydantic_fields_set__", frozenset({"content"})),
    "set as a list": put("__pydantic_fields_set__", ["content"]),
    "set of numbers": put("__pydantic_fields_set__", {1, 1.5, None, (2, "a"), "content"}),
    "set of strangers": put("__pydantic_fields_set__", {f"x{n}" for n in range(100)}),
    "no set": lambda it: object.__delattr__(it, "__pydantic_fields_set__"),
    "no extra at all": lambda it: object.__delattr__(it, "__pydantic_extra__"),
    "no private at all": lambda it: object.__delattr__(it, "__pydantic_private__"),
}


@pytest.mark.parametrize("kind", [AIMessage, Generation])
@pytest.mark.parametrize("change", WRECKS.values(), ids=WRECKS.keys())
def test_a_broken_object_is_refused_or_comes_back_as_broken(
    change: Callable[[Any], object], kind: type[BaseModel]
) -> None:
    broken = wreck(change, kind)
    answer = [Generation.model_construct(text="x", generation_info=[broken])]
    returned = trip(answer)
    if returned is not None:
        assert difference(returned, answer) is None


@pytest.mark.parametrize("name", AIMessage.model_fields)
def test_an_object_without_a_field_is_refused_or_comes_back_without(name: str) -> None:
    answer: list[Generation] = [ChatGeneration(message=AIMessage("x"))]
    del answer[0].message.__dict__[name]  # type: ignore[attr-defined]
    returned = trip(answer)
    if returned is not None:
        assert difference(returned, answer) is None


def test_objects_that_were_never_initialised() -> None:
    for kind in p.CLASSES.values():
        empty = kind.__new__(kind)
        with pytest.raises(ValueRefused):
            encode([Generation.model_construct(text="x", generation_info=empty)], KEY)


def test_chunks_that_were_added_and_copies_come_back() -> None:
    # Their types differ between the versions of langchain-core.
    pieces: Any = [{"name": "f", "args": '{"a"', "id": "1", "index": 1}]
    usage: Any = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    chunk = ChatGenerationChunk(
        message=AIMessageChunk(
            content=[{"type": "text", "text": "a", "index": 0}],
            tool_call_chunks=pieces,
            usage_metadata=usage,
        )
    )
    total = chunk + chunk + chunk
    for made in (total, copy.copy(total), copy.deepcopy(total), total.model_copy(deep=True)):
        assert difference(trip([made]), [made]) is None


# Code that runs in the middle of a decode: the garbage collector's callbacks may be anybody's, and
# may ask the cache something themselves, or let another thread do so.

REENTRANT = """
import faulthandler, gc, sys
faulthandler.dump_traceback_later(8, exit=True)
from support import payloads as p
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from llmemo._core import ValueDamaged, decode, encode

fields = ("name", "id", "response_metadata", "usage_metadata")
values = []
for mask in range(16):
    message = AIMessage("x")
    message.__pydantic_fields_set__.update(f for at, f in enumerate(fields) if mask >> at & 1)
    generation = ChatGeneration(message=message, generation_info={str(mask): "short"})
    values.append(encode([generation], p.KEY))
    values.append(p.sealed(p.answer(p.generation(p.sized(p.STR, bytes([255, mask]))))))

def read_all():
    for value in values:
        try:
            decode(value, p.KEY)
        except ValueDamaged:
            pass

def in_between(phase, info):
    global calls, busy
    if not busy:
        busy, calls = True, calls + 1
        read_all()
        busy = False

calls, busy = 0, False
gc.callbacks.append(in_between)
gc.set_threshold(1)
for _ in range(20):
    read_all()
assert calls > 20, calls
print("through")
"""


def test_a_decode_in_the_middle_of_a_decode_does_not_hang() -> None:
    command = [sys.executable, "-c", REENTRANT]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("through\n", 0), done.stderr


def test_a_value_is_not_changed_by_reading_it() -> None:
    value = encode([ChatGeneration(message=AIMessage("x", response_metadata={"a": [1]}))], KEY)
    before = bytes(bytearray(value))
    for _ in range(100):
        decode(value, KEY)
    assert value == before
    with pytest.raises(ValueDamaged):
        decode(value, bytes(32))

"""What comes back is what went in, by type and bits."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest
from hypothesis import given
from langchain_core import messages
from langchain_core.messages import AIMessage
from langchain_core.messages.base import TextAccessor
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation
from support.exact import difference, mutable_parts, vandalise
from support.strategies import (
    BLOCKS,
    BYTES,
    CHUNKS,
    FLOATS,
    INTS,
    MESSAGES,
    NANS,
    TEXTS,
    answers,
    examples,
    float_of,
    fresh_messages,
)

from llmemo._core import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import BaseMessage

    from llmemo import LLMCache

    MakeCache = Callable[..., LLMCache]

KEY = bytes(range(32))
NAN = float("nan")


def after_a_trip(answer: list[Generation]) -> list[Generation]:
    return decode(encode(answer, KEY), KEY)


def extra(**fields: object) -> AIMessage:
    """A message with attributes that its class does not have."""
    return AIMessage("x", **fields)


# The measure itself.


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0),
        (float_of(NANS[0]), float_of(NANS[1])),
        (float_of(NANS[0]), float_of(NANS[2])),
        (1, True),
        (1, 1.0),
        (2**64, 2**64 + 1),
        ("x", TextAccessor("x")),
        (TextAccessor("x"), TextAccessor("y")),
        ("é", "e\u0301"),
        (b"x", "x"),
        ([1], (1,)),
        ([1], [1, 2]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1: "a"}, {True: "a"}),
        ({0.0: "a"}, {-0.0: "a"}),
        ({"a": [0.0]}, {"a": [-0.0]}),
        ({1}, {True}),
        (AIMessage("x"), AIMessage("x", name=None)),
        (extra(a=1, b=2), extra(b=2, a=1)),
        (AIMessage("x"), AIMessage("x", usage_metadata=None)),
        (Generation(text="x"), Generation.model_construct(text=TextAccessor("x"))),
        (AIMessage(["a", {"b": 1}]), AIMessage(["a", {"b": 1.0}])),
    ],
)
def test_the_comparer_sees_what_equality_overlooks(one: object, other: object) -> None:
    assert difference(one, copy.deepcopy(one)) is None
    assert difference(one, other) is not None
    assert difference([[one]], [[other]]) is not None


def test_the_comparer_sees_the_order_of_fields_and_private_state() -> None:
    one, other = AIMessage("x"), AIMessage("x")
    object.__setattr__(other, "__dict__", dict(reversed(list(other.__dict__.items()))))
    assert one == other
    assert difference(one, other)
    other = AIMessage("x")
    object.__setattr__(other, "__pydantic_private__", {})
    assert difference(one, other)


def test_the_vandal_leaves_nothing_as_it_was() -> None:
    answer = [ChatGeneration(message=extra(a={"b": [({"c": 1},)]}, response_metadata={"d": []}))]
    before = copy.deepcopy(answer)
    # The list, 2 objects with a dict and a set each, 1 dict of extras, 4 containers of the
    # message, and what is in them: {"b"}, [], {"c"}, [].
    assert vandalise(answer) == 16
    assert difference(answer, before)
    parts = {id(part) for part in mutable_parts(answer)}
    assert not parts & {id(part) for part in mutable_parts(before)}


# Round trips.


@pytest.mark.slow
@examples(700)
@given(answers)
def test_an_answer_comes_back_by_type_and_bits(answer: list[Generation]) -> None:
    before = copy.deepcopy(answer)
    assert difference(answer, before) is None
    assert difference(after_a_trip(answer), before) is None
    assert difference(answer, before) is None, "encoding changed what it was given"


@pytest.mark.slow
@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_message_class_comes_back(kind: type[BaseMessage]) -> None:
    @examples(15)
    @given(fresh_messages((kind,)))
    def check(message: BaseMessage) -> None:
        assert type(message) is kind
        make: Any = ChatGenerationChunk if kind in CHUNKS else ChatGeneration
        answer = [make(message=message)]
        returned = after_a_trip(answer)
        assert difference(returned, answer) is None
        assert type(returned[0]) is make

    check()


def test_every_class_of_message_and_every_type_of_block_is_tried() -> None:
    kinds = {kind for kind in vars(messages).values() if isinstance(kind, type)}
    kinds = {kind for kind in kinds if issubclass(kind, messages.BaseMessage)}
    assert kinds - {messages.BaseMessage, messages.BaseMessageChunk} == set(MESSAGES)
    blocks = get_args(messages.content.ContentBlock)
    types = {name for block in blocks for name in get_args(get_type_hints(block)["type"])}
    assert len(types) > 10
    assert types <= set(BLOCKS)


LEAVES: list[Any] = [None, True, False, *FLOATS, *INTS, *TEXTS, *BYTES, (), [], {}, ((),)]
LEAVES += [TextAccessor(text) for text in TEXTS]
LEAVES += [10**4000, -(10**4000), "x" * 70_000, "é" * 70_000, b"x" * 70_000, "x" * 255 + "\ud800"]
LEAVES += [{"": {"": [[]]}}, {(1, ("a",)): {None: {b"": {NAN: {NAN: 1}}}}}, {0: 0, 0.5: 1, "0": 2}]


@pytest.mark.parametrize(
    "place",
    [
        lambda it: Generation(text="x", generation_info={"it": it}),
        lambda it: Generation.model_construct(text=it),
        lambda it: Generation.model_construct(text="x", generation_info=it),
        lambda it: ChatGeneration(message=AIMessage("x", response_metadata={"it": it})),
        lambda it: ChatGeneration(message=AIMessage("x", additional_kwargs={"it": [it, (it,)]})),
        lambda it: ChatGeneration(message=extra(it=it)),
        lambda it: ChatGeneration.model_construct(message=it, text=TextAccessor("x")),
        lambda it: ChatGeneration.model_construct(
            message=AIMessage.model_construct(content=it, tool_calls=it), text=it
        ),
        lambda it: Generation.model_construct(text="x", generation_info=[it] * 3),
    ],
)
def test_every_hard_value_in_every_place(place: Callable[[Any], Generation]) -> None:
    for leaf in LEAVES:
        answer = [place(leaf)]
        assert difference(after_a_trip(answer), answer) is None, f"{leaf!r:.60}"


def test_keys_of_every_hashable_kind_keep_their_order_and_type() -> None:
    def check(leaf: Any) -> None:
        answer = [Generation.model_construct(text="", generation_info={leaf: 1, "z": 2, "a": 3})]
        assert difference(after_a_trip(answer), answer) is None, f"{leaf!r:.60}"

    for leaf in LEAVES:
        if not isinstance(leaf, (list, dict)):
            check(leaf)


@pytest.mark.parametrize("length", range(30))
def test_strings_that_differ_in_one_character(length: int) -> None:
    # Short strings are shared between answers: one must never be taken for another.
    usual = "a" * length
    texts = [usual, *(f"{usual[:at]}b{usual[at + 1 :]}" for at in range(length)), f"{usual}\0"]
    answer = [Generation(text="", generation_info={"texts": texts * 2})]
    assert after_a_trip(answer) == answer


@pytest.mark.slow
def test_text_that_repeats_the_generations_text() -> None:
    # The format writes a content that equals the text once: every way to be nearly equal.
    for text, content in itertools.product(TEXTS, repeat=2):
        for kind in (str, TextAccessor):
            message = AIMessage.model_construct(content=content, response_metadata={text: content})
            answer: list[Generation] = [
                ChatGeneration.model_construct(text=kind(text), message=message),
                Generation.model_construct(text=content, generation_info={"a": text}),
                ChatGeneration.model_construct(text=TextAccessor(content), message=message),
            ]
            assert difference(after_a_trip(answer), answer) is None, (text, content)


def has_store(request: pytest.FixtureRequest) -> bool:
    kind: str = request.node.callspec.params["make_cache"]
    return kind != "memory"


@pytest.mark.slow
def test_an_answer_through_a_cache(make_cache: MakeCache, request: pytest.FixtureRequest) -> None:
    cache, numbers = make_cache(fresh_ids=False, admit=None), itertools.count()

    @examples(100)
    @given(answers)
    def check(answer: list[Generation]) -> None:
        prompt = str(next(numbers))
        cache.update(prompt, "l", answer)
        for _ in range(2):
            assert difference(cache.lookup(prompt, "l"), answer) is None
        # Another cache: from the store the first time, from what it kept of that the second.
        if has_store(request):
            for _ in range(2):
                assert difference(other.lookup(prompt, "l"), answer) is None

    other = make_cache(fresh_ids=False, admit=None)
    check()
    stats = cache.stats()
    assert (stats.skipped, stats.errors, stats.bypassed) == ({}, {}, {})
    assert stats.updates == stats.hits / 2 > 0


def test_an_answer_larger_than_memory_comes_from_the_store(
    make_cache: MakeCache, request: pytest.FixtureRequest
) -> None:
    cache = make_cache(max_bytes=50_000)
    small = [ChatGeneration(message=AIMessage("small"))]
    large = [ChatGeneration(message=AIMessage("é" * 40_000, response_metadata={"a": b"x" * 9}))]
    cache.update("small", "l", small)
    cache.update("large", "l", large)
    assert difference(cache.lookup("small", "l"), small) is None
    hit = cache.lookup("large", "l")
    if has_store(request):
        assert difference(hit, large) is None
        assert cache.stats().skipped == {}
    else:
        assert (hit, cache.stats().skipped) == (None, {"too_large": 1})

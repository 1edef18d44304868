"""Hypothesis strategies: what a model may answer, with the hard cases that answers do hold.

`examples` sets how many are tried: `LLMEMO_EXAMPLES=100 pytest` tries a hundred times as many, and
other ones on each run; without it the same ones are tried each time.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from langchain_core import messages as lc
from langchain_core.messages.base import TextAccessor
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk

from support import instances
from support.content_blocks import content_blocks

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from pydantic import BaseModel

    Fields = dict[str, st.SearchStrategy[Any]]

FACTOR = float(os.environ.get("LLMEMO_EXAMPLES", "1"))


def examples(count: int) -> settings:
    """Settings for a test of `count` examples, times LLMEMO_EXAMPLES."""
    return settings(
        max_examples=max(1, round(count * FACTOR)),
        deadline=None,
        derandomize=FACTOR <= 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


# Values.


def float_of(bits: int) -> float:
    """The float of these 64 bits; NaNs keep their sign and payload."""
    number: float = struct.unpack("<d", bits.to_bytes(8, "little"))[0]
    return number


NANS = [0x7FF8 << 48, 0xFFF8 << 48, 0x7FF8_0000_0000_0123, 2**64 - 1, 0x7FF0_0000_0000_0001]
"""Quiet ones and, last, a signalling one, by their bits."""
FLOATS = [0.0, -0.0, 1.0, 0.1, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf")]
FLOATS += map(float_of, NANS)
_BORDERS = [6, 7, 8, 13, 14, 20, 31, 32, 53, 55, 56, 62, 63, 64, 70, 127, 128, 1000]
INTS = [sign * (2**bits + step) for bits in _BORDERS for step in (-1, 0, 1) for sign in (1, -1)]
TEXTS = [
    "",
    "\0",
    "text",  # a word of the format's table
    "content",
    "x" * 24,
    "x" * 25,
    "x" * 26,
    "x" * 127,
    "x" * 128,
    "é",
    "e\u0301",
    "naïve 🦀 \u202e\ufeff",
    "\ud800",
    "\udfff tail",
    "\ud83d\ude00",  # a crab in two halves, which must not be joined
    "a\nb\tc\\ \"d' {{ 7*7 }} %s {0}",
    '{"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {}}',
]
BYTES = [b"", b"\0", b"\xff\xfe", b"text", bytes(range(256))]

hard_texts = st.sampled_from(TEXTS) | st.text(st.characters(), max_size=12)
"""Any str that Python can hold, lone surrogates too."""
plain_texts = st.sampled_from(["", "Hello!", "é", "🦀", "x" * 300]) | st.text(max_size=12)
"""Any str that Pydantic lets pass."""
accessors = hard_texts.map(TextAccessor)
ints = st.sampled_from(INTS) | st.integers()
floats = st.sampled_from(FLOATS) | st.integers(0, 2**64 - 1).map(float_of)
byte_strings = st.sampled_from(BYTES) | st.binary(max_size=12)
leaves = st.one_of(
    *(st.none(), st.booleans(), ints, floats, hard_texts, hard_texts, byte_strings, accessors),
    instances.plain,
)
_frozen = st.builds(instances.Frozen, st.tuples(leaves))
hashable = st.one_of(leaves, leaves, st.tuples(leaves, leaves), st.frozensets(leaves), _frozen)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(hard_texts, inner, max_size=3),
        st.dictionaries(hashable, inner, max_size=2),
        st.sets(hashable, max_size=3),
        instances.instances(inner),
    )


values = st.recursive(leaves, _containers, max_leaves=8)
"""What JSON can say, and what Python has besides: tuples, bytes, NaNs, dates, sets, objects."""

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), ints, floats, hard_texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hard_texts, inner, max_size=3),
    max_leaves=5,
)

# `tool_calls` among them would be parsed by LangChain; everything else is kept as it is.
_names = st.sampled_from(
    ["model_name", "finish_reason", "logprobs", "token_usage", "id", "x-request-id", "refusal"]
)
metadata = st.dictionaries(_names | st.text(max_size=8).map("x{}".format), values, max_size=3)

# Messages.

BLOCKS = content_blocks(plain_texts, ints, metadata, values)
_blocks = st.one_of(
    plain_texts, *(rest.map({"type": kind}.__or__) for kind, rest in BLOCKS.items())
)
contents = plain_texts | st.lists(_blocks, max_size=4)

_maybe_id = st.none() | st.sampled_from(["lc_run--1", "run-2", "chatcmpl-3"]) | plain_texts


def _tool_calls(args: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = {"name": plain_texts, "args": args, "id": _maybe_id}
    call = st.fixed_dictionaries(fields, optional={"type": st.just("tool_call")})
    return st.lists(call, max_size=2)


invalid_tool_calls = st.fixed_dictionaries(
    {"name": plain_texts, "args": plain_texts, "id": _maybe_id, "error": st.none() | plain_texts}
)
tool_call_chunks = st.fixed_dictionaries(
    {
        "name": st.none() | plain_texts,
        "args": st.sampled_from(["", '{"a', '{"a": 1}', None]),
        "id": _maybe_id,
        "index": st.none() | st.integers(0, 3),
    }
)
_count = st.integers(0, 2**66)
usages = st.fixed_dictionaries(
    {"input_tokens": _count, "output_tokens": _count, "total_tokens": _count},
    optional={
        "input_token_details": st.fixed_dictionaries({}, optional={"cache_read": _count}),
        "output_token_details": st.fixed_dictionaries({"reasoning": _count, "audio": _count}),
    },
)

_COMMON: Fields = {
    "additional_kwargs": metadata,
    "response_metadata": metadata,
    "name": plain_texts,
    "id": _maybe_id,
    "x_extra": values,
    "x extra in words": values,
}
_AI: Fields = {
    "tool_calls": _tool_calls(metadata),
    "invalid_tool_calls": st.lists(invalid_tool_calls, max_size=2),
    "usage_metadata": st.none() | usages,
}
_AI_CHUNK: Fields = {
    **_AI,
    # The constructor makes chunks of calls, through JSON.
    "tool_calls": _tool_calls(st.dictionaries(plain_texts, json_values, max_size=2)),
    "tool_call_chunks": st.lists(tool_call_chunks, max_size=2),
    "chunk_position": st.sampled_from([None, "last"]),
}
_TOOL: Fields = {"artifact": values, "status": st.sampled_from(["success", "error"])}
_CONTENT: Fields = {"content": contents}

MESSAGES: dict[type[BaseMessage], tuple[Fields, Fields]] = {
    lc.AIMessage: (_CONTENT, _AI),
    lc.AIMessageChunk: (_CONTENT, _AI_CHUNK),
    lc.HumanMessage: (_CONTENT, {}),
    lc.HumanMessageChunk: (_CONTENT, {}),
    lc.SystemMessage: (_CONTENT, {}),
    lc.SystemMessageChunk: (_CONTENT, {}),
    lc.ToolMessage: ({**_CONTENT, "tool_call_id": plain_texts}, _TOOL),
    lc.ToolMessageChunk: ({**_CONTENT, "tool_call_id": plain_texts}, _TOOL),
    lc.FunctionMessage: ({**_CONTENT, "name": plain_texts}, {}),
    lc.FunctionMessageChunk: ({**_CONTENT, "name": plain_texts}, {}),
    lc.ChatMessage: ({**_CONTENT, "role": plain_texts}, {}),
    lc.ChatMessageChunk: ({**_CONTENT, "role": plain_texts}, {}),
    lc.RemoveMessage: ({"id": plain_texts}, {}),
}
"""Each message class, with the fields that it needs and those that only it takes."""

CHUNKS = tuple(kind for kind in MESSAGES if issubclass(kind, lc.BaseMessageChunk))


GENERATIONS = [Generation, GenerationChunk, ChatGeneration, ChatGenerationChunk]
GENERATIONS += [instances.Scored, instances.ScoredChat]


def _reorder(draw: st.DrawFn, model: BaseModel) -> None:
    items = draw(st.permutations(list(model.__dict__.items())))
    object.__setattr__(model, "__dict__", dict(items))


@st.composite
def fresh_messages(
    draw: st.DrawFn, kinds: tuple[type[BaseMessage], ...] = tuple(MESSAGES)
) -> BaseMessage:
    """A message of one of these classes, as its constructor makes it."""
    kind = draw(st.sampled_from(kinds))
    required, optional = MESSAGES[kind]
    optional = {k: v for k, v in {**_COMMON, **optional}.items() if k not in required}
    return kind(**draw(st.fixed_dictionaries(required, optional=optional)))


def _treated(draw: st.DrawFn, message: BaseMessage, depth: int = 0) -> BaseMessage:
    """The message, or what code might have made of it: nothing validates an assignment."""
    treatment = draw(st.integers(0, 11))
    if treatment == 0:
        message.__dict__["content"] = draw(values)
    elif treatment == 1:
        message.__dict__["content"] = draw(hard_texts | accessors)
    elif treatment == 2:
        _reorder(draw, message)
    elif treatment == 3 and "usage_metadata" in message.__dict__:
        # What LangChain does to each hit.
        message = message.model_copy(update={"usage_metadata": {"total_cost": 0}})
    elif treatment == 4:
        chosen = draw(st.sets(st.sampled_from([*message.__dict__, "x_unknown", ""])))
        message.__pydantic_fields_set__.clear()
        message.__pydantic_fields_set__.update(chosen)
    elif treatment == 5 and depth == 0:
        inner = [_treated(draw, other, 1) for other in draw(st.lists(fresh_messages(), max_size=2))]
        message.additional_kwargs["history"] = draw(st.sampled_from([inner, tuple(inner)]))
    elif treatment == 6:
        message.__dict__.update({"additional_kwargs": None, "response_metadata": None})
    return message


@st.composite
def messages(draw: st.DrawFn) -> BaseMessage:
    """A message of any class, as its constructor makes it or as code left it."""
    return _treated(draw, draw(fresh_messages()))


@st.composite
def generations(draw: st.DrawFn) -> Generation:
    """A generation of any class, with any message that it takes."""
    info = draw(st.none() | metadata)
    kind: Any = draw(st.sampled_from(GENERATIONS))
    if issubclass(kind, ChatGeneration):
        every = CHUNKS if kind is ChatGenerationChunk else tuple(MESSAGES)
        # Most answers are the model's.
        kinds = draw(st.sampled_from([(every[0],), every]))
        made = kind(message=draw(fresh_messages(kinds)), generation_info=info)
        made.__dict__["message"] = _treated(draw, made.message)
        if kind is instances.ScoredChat:
            made.__dict__["message"] = instances.Reply(content="x", confidence=draw(values))
    else:
        made = kind(text=draw(plain_texts), generation_info=info)
    treatment = draw(st.integers(0, 5))
    if treatment == 0:
        made.__dict__["text"] = draw(hard_texts | accessors)
    elif treatment == 1:
        made.__dict__["generation_info"] = draw(st.dictionaries(hashable, values, max_size=3))
    elif treatment == 2:
        _reorder(draw, made)
    return made  # type: ignore[no-any-return]


answers = st.lists(generations(), min_size=1, max_size=4)
"""What `update` is given."""

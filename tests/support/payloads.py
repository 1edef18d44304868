"""An independent writer of the value format, from its description in rust/codec/format.rs.

Nothing here calls the library's own writer: `sealed(message)` are the bytes that the description
says a value has, and what the decoder makes of them is what the tests are about.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import xxhash
from langchain_core import messages as lc
from langchain_core import outputs

from llmemo._core import ValueDamaged, decode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

KEY = bytes(range(100, 132))
VERSION = 1

CLASSES: dict[int, type[BaseModel]] = {
    0: outputs.Generation,
    1: outputs.GenerationChunk,
    2: outputs.ChatGeneration,
    3: outputs.ChatGenerationChunk,
    16: lc.AIMessage,
    17: lc.AIMessageChunk,
    18: lc.HumanMessage,
    19: lc.HumanMessageChunk,
    20: lc.SystemMessage,
    21: lc.SystemMessageChunk,
    22: lc.ToolMessage,
    23: lc.ToolMessageChunk,
    24: lc.FunctionMessage,
    25: lc.FunctionMessageChunk,
    26: lc.ChatMessage,
    27: lc.ChatMessageChunk,
    28: lc.RemoveMessage,
}
"""Numbers that stored values use; they never change."""
NUMBERS = {kind: number for number, kind in CLASSES.items()}

NONE, FALSE, TRUE = b"\0", b"\1", b"\2"
INT, BIG_INT, FLOAT, STR, STR_SURROGATES, BYTES = 3, 4, 5, 6, 7, 8
LIST, TUPLE, DICT, OBJECT, TEXT, SAME_TEXT = 9, 10, 11, 12, 13, 14
SET, FROZENSET, PLAIN, CLASS, INSTANCE = 15, 16, 17, 18, 19
WORD = 0x80

# The envelope.


def sealed(payload: bytes, key: bytes = KEY, *, version: int = VERSION) -> bytes:
    """A whole value around a payload: header and checksum are right, whatever is inside."""
    header = b"llmv" + bytes([version, 0, 0, 0]) + struct.pack("<I", len(payload)) + key
    body = header + payload
    return body + struct.pack("<Q", xxhash.xxh3_64_intdigest(body))


# Tokens.


def counted(tag: int, count: int) -> bytes:
    return struct.pack("<BI", tag, count)


def sized(tag: int, content: bytes) -> bytes:
    return counted(tag, len(content)) + content


def integer(number: int) -> bytes:
    """A zigzag varint."""
    rest = (number << 1 ^ number >> 63) & (2**64 - 1)
    out = bytearray([INT])
    while rest >= 0x80:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes(out + bytes([rest]))


def big_integer(number: int) -> bytes:
    size = number.bit_length() // 8 + 1
    return sized(BIG_INT, number.to_bytes(size, "little", signed=True))


def token(value: object) -> bytes:
    """The tokens of a plain value; bytes stand for themselves, tokens already."""
    if isinstance(value, bytes):
        return value
    if value is None or isinstance(value, bool):
        return {None: NONE, False: FALSE, True: TRUE}[value]
    if isinstance(value, int):
        return integer(value) if -(2**63) <= value < 2**63 else big_integer(value)
    if isinstance(value, float):
        return bytes([FLOAT]) + struct.pack("<d", value)
    if isinstance(value, str):
        try:
            return sized(STR, value.encode())
        except UnicodeEncodeError:
            return sized(STR_SURROGATES, value.encode("utf-8", "surrogatepass"))
    if isinstance(value, (list, tuple)):
        tag = LIST if isinstance(value, list) else TUPLE
        return counted(tag, len(value)) + b"".join(map(token, value))
    assert isinstance(value, dict)
    return counted(DICT, len(value)) + b"".join(token(k) + token(v) for k, v in value.items())


def thing(
    kind: type[BaseModel] | int,
    fields: Iterable[tuple[object, object]],
    *,
    mask: int = 0,
    extra: object = None,
    others: list[str] | bytes = b"\x09\0\0\0\0",
) -> bytes:
    """An object: its fields (names and values), which of them were set, and what it has besides."""
    pairs = list(fields)
    number = kind if isinstance(kind, int) else NUMBERS[kind]
    body = b"".join(token(name) + token(value) for name, value in pairs)
    head = counted(OBJECT, len(pairs)) + bytes([number])
    return head + body + integer(mask) + token(extra) + token(others)


def plain(kind: int, *parts: object) -> bytes:
    """A date or the like, of its parts."""
    return bytes([PLAIN, kind]) + token(parts)


def instance(kind: int, name: tuple[object, object, bytes], state: object) -> bytes:
    """An instance of a class that is named here, by its module, qualified name and digest."""
    module, qualname, digest = name
    head = token(module) + token(qualname) + sized(BYTES, digest)
    return bytes([CLASS, kind]) + head + token(state)


def another(number: int, state: object) -> bytes:
    """An instance of the class that was named as the n-th."""
    return bytes([INSTANCE, number]) + token(state)


def generation(info: object = None, text: object = "x") -> bytes:
    """A Generation around a value."""
    fields = [("text", text), ("generation_info", info), ("type", "Generation")]
    return thing(outputs.Generation, fields, mask=3)


def answer(*generations: bytes) -> bytes:
    """A payload: a list of generations."""
    return counted(LIST, len(generations)) + b"".join(generations)


def read(payload: bytes) -> list[Any]:
    """What the library makes of a payload."""
    return decode(sealed(payload), KEY)


def words() -> dict[str, bytes]:
    """The one-byte tokens of frequent words, found by asking for each."""
    found = {}
    for number in range(128):
        token_ = bytes([WORD | number])
        try:
            found[read(answer(generation(token_)))[0].generation_info] = token_
        except ValueDamaged:
            continue
    return found

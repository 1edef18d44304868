"""A supplement as JSON, and back: its bytes are entries in the encoding of docs/keys.md."""

from __future__ import annotations

import base64
import math
from typing import Any

from llmemo._core import entries

Json = Any
"""What `json.loads` returns."""

NONE, FALSE, TRUE, INT, FLOAT, STR, BYTES = 1, 2, 3, 4, 5, 7, 8
LIST, DICT = 12, 14
CONSTANTS = {NONE: None, FALSE: False, TRUE: True}
LEAVES = frozenset({INT, FLOAT, 6, STR, BYTES, 9, 10, 11, 17})
CONTAINERS = frozenset({LIST, 13, DICT, 15, 16, 18})

PLACES = {3: "class", 4: "field", 5: "client", 6: "option", 7: "object"}
"""What an entry is about."""

MARK = "$"
"""Begins the name of a tag that JSON has no type for: `{"$13": […]}` is a tuple."""


class UnreadableError(ValueError):
    """Bytes, or JSON, that are no supplement."""


def to_json(supplement: bytes) -> list[list[Json]]:
    """Each entry as place, name and value.

    Raises:
        UnreadableError: The bytes are of another form.
    """
    found = []
    for entry in entries(supplement):
        name, at = _read(entry.whole, 1)
        value, at = _read(entry.whole, at)
        if at != len(entry.whole) or entry.place not in PLACES:
            raise UnreadableError
        found.append([PLACES[entry.place], name, value])
    return found


def from_json(parts: list[list[Json]]) -> bytes:
    """The supplement of these entries.

    Raises:
        UnreadableError: They are of another form.
    """
    places = {name: place for place, name in PLACES.items()}
    try:
        return b"".join(
            bytes([places[place]]) + _written(name) + _written(value)
            for place, name, value in parts
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableError from error


def _read(data: bytes, at: int) -> tuple[Json, int]:
    """The value that begins there, and where it ends."""
    tag, at = _byte(data, at), at + 1
    if tag in CONSTANTS:
        return CONSTANTS[tag], at
    if tag in LEAVES:
        size, at = _length(data, at)
        if at + size > len(data):
            raise UnreadableError
        return _leaf(tag, data[at : at + size]), at + size
    if tag not in CONTAINERS:
        raise UnreadableError
    members = []
    while _byte(data, at):
        member, at = _read(data, at)
        members.append(member)
    return _container(tag, members), at + 1


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise UnreadableError
    return data[at]


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A LEB128."""
    size = shift = 0
    while True:
        byte, at = _byte(data, at), at + 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return size, at


def _leaf(tag: int, data: bytes) -> Json:
    if tag == BYTES:
        return {f"{MARK}{tag}": base64.b64encode(data).decode()}
    text = data.decode("utf-8", "surrogatepass")
    if tag == STR:
        return text
    number = _number(tag, text)
    return {f"{MARK}{tag}": text} if number is None else number


def _number(tag: int, text: str) -> float | None:
    """The number that is written as this text, where JSON writes it in the same way."""
    kind = {INT: int, FLOAT: float}.get(tag)
    try:
        number = None if kind is None else kind(text)
    except ValueError:
        return None
    is_same = number is not None and math.isfinite(number) and repr(number) == text
    return number if is_same else None


def _container(tag: int, members: list[Json]) -> Json:
    if tag == LIST:
        return members
    names = members[::2]
    is_plain = all(isinstance(name, str) and not name.startswith(MARK) for name in names)
    if tag == DICT and is_plain and len(set(names)) == len(names) == len(members) / 2:
        return dict(zip(names, members[1::2], strict=True))
    return {f"{MARK}{tag}": members}


def _written(value: Json) -> bytes:
    if isinstance(value, str):
        return _sized(STR, value.encode("utf-8", "surrogatepass"))
    if isinstance(value, list):
        return _closed(LIST, value)
    if isinstance(value, dict):
        return _written_dict(value)
    constant = next((tag for tag, it in CONSTANTS.items() if value is it), None)
    if constant is not None:
        return bytes([constant])
    if not isinstance(value, int | float):
        raise UnreadableError
    return _sized(INT if isinstance(value, int) else FLOAT, repr(value).encode())


def _written_dict(value: dict[str, Json]) -> bytes:
    name = next(iter(value), "")
    if len(value) != 1 or not name.startswith(MARK):
        return _closed(DICT, [each for pair in value.items() for each in pair])
    tag, inner = int(name.removeprefix(MARK)), value[name]
    if tag in CONTAINERS:
        return _closed(tag, inner)
    if tag not in LEAVES:
        raise UnreadableError
    text: str = inner
    data = base64.b64decode(text) if tag == BYTES else text.encode("utf-8", "surrogatepass")
    return _sized(tag, data)


def _sized(tag: int, data: bytes) -> bytes:
    size, length = len(data), bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([tag, *length, size]) + data


def _closed(tag: int, members: list[Json]) -> bytes:
    return bytes([tag]) + b"".join(map(_written, members)) + b"\0"

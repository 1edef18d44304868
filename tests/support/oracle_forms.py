"""An independent reader of docs/keys.md: the encoding, and JSON.

It shares no code with the core and works in another way: the core scans bytes and writes the
canonical form as it goes, this builds a tree, and then decides. `oracle.py` has the rest.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEPTH_MAX = 256


class Bypass(Exception):  # noqa: N818 (it is the core's word)
    """The request must go past the cache: reason, parameter."""


class FormError(Exception):
    """The text is of no form that has a canonical one."""


class DepthError(Exception):
    """More containers inside each other than are read."""


# The encoding.

END, NONE, FALSE, TRUE = b"\0", b"\1", b"\2", b"\3"
INT, FLOAT, NUMBER, STR, BYTES, SECRET_STR, SECRET_BYTES, CLASS = range(4, 12)
OBJECT = 17
LIST, TUPLE, DICT, SET, FROZENSET = (bytes([tag]) for tag in range(12, 17))
CONSTANTS = {None: NONE, False: FALSE, True: TRUE}


def data_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def leaf(tag: int, content: str | bytes) -> bytes:
    content = data_of(content) if isinstance(content, str) else content
    digits, length = [], len(content)
    while length > 127:
        digits.append(length % 128 + 128)
        length //= 128
    return bytes([tag, *digits, length]) + content


def container(tag: bytes, members: Iterable[bytes]) -> bytes:
    return tag + b"".join(members) + END


class Number(NamedTuple):
    """A number of JSON, as it is written."""

    lexeme: str


class Pairs(list[tuple[str, Any]]):
    """An object of JSON, with the order and the repetitions of its keys."""


def encoded(node: Any) -> bytes:
    """The encoding of what `Json` reads."""
    if isinstance(node, bytes):
        return node
    if isinstance(node, Number):
        return leaf(NUMBER, node.lexeme)
    if isinstance(node, str):
        return leaf(STR, node)
    if not isinstance(node, list):
        return CONSTANTS[node]
    # Loops, not generators: each level of the tree is one level of Python's stack.
    members = []
    for member in node:
        if isinstance(node, Pairs):
            members.append(leaf(STR, member[0]))
        members.append(encoded(member[1] if isinstance(node, Pairs) else member))
    return container(DICT if isinstance(node, Pairs) else LIST, members)


# JSON.

_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|NaN|-?Infinity")
_WORD = re.compile(r"[0-9A-Za-z.+-]*")
_SPACE = re.compile(r"[ \t\n\r]*")
_WORDS = {"null": None, "true": True, "false": False}


class Json:
    """Reads JSON from a position in a text, whatever may come after it."""

    def __init__(self, text: str, depth_max: int = DEPTH_MAX) -> None:
        self.text, self.at, self.depth_max = text, 0, depth_max

    def space(self) -> None:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]

    def eat(self, token: str) -> bool:
        self.space()
        return self.eat_at_once(token)

    def eat_at_once(self, token: str) -> bool:
        found = self.text.startswith(token, self.at)
        self.at += len(token) if found else 0
        return found

    def need(self, token: str) -> None:
        if not self.eat(token):
            raise FormError

    def string(self) -> str:
        self.space()
        found = _STRING.match(self.text, self.at)
        if found is None:
            raise FormError
        self.at = found.end()
        text: str = json.loads(found[0])
        return text

    def name(self) -> str:
        name = self.string()
        self.need(":")
        return name

    def members(self, read: Callable[[str], None]) -> None:
        """An object; `read` is told each key, and has to read its value."""
        self.need("{")
        if self.eat("}"):
            return
        read(self.name())
        while self.eat(","):
            read(self.name())
        self.need("}")

    def value(self, depth: int = 0) -> Any:
        self.space()
        opening = self.text[self.at : self.at + 1]
        if opening not in ("{", "[", '"'):
            word = _WORD.match(self.text, self.at)[0]  # type: ignore[index]
            self.at += len(word)
            if word in _WORDS:
                return _WORDS[word]
            if not _NUMBER.fullmatch(word):
                raise FormError
            return Number(word)
        if opening == '"':
            return self.string()
        self.at += 1
        is_object = opening == "{"
        end, found = ("}", Pairs()) if is_object else ("]", [])
        if self.eat(end):
            return found
        if depth == self.depth_max:
            raise DepthError
        while True:
            name = self.name() if is_object else ""
            value = self.value(depth + 1)
            found.append((name, value) if is_object else value)
            if not self.eat(","):
                self.need(end)
                return found


def height(node: Any) -> int:
    """How many containers are inside each other, not counting an innermost empty one."""
    members = [value for _, value in node] if isinstance(node, Pairs) else node
    if not isinstance(node, list) or not members:
        return 0
    return 1 + max(map(height, members))


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]")


def has_address(text: str) -> bool:
    return _ADDRESS.search(text) is not None

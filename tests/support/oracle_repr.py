"""An independent reader of docs/keys.md: literals, as Python's `repr` prints them.

It shares no code with the core; see also `oracle.py`.
"""

from __future__ import annotations

import re

from support.oracle_forms import (
    BYTES,
    CLASS,
    DEPTH_MAX,
    DICT,
    FALSE,
    FLOAT,
    FROZENSET,
    INT,
    LIST,
    NONE,
    OBJECT,
    SECRET_BYTES,
    SECRET_STR,
    SET,
    STR,
    TRUE,
    TUPLE,
    DepthError,
    FormError,
    container,
    data_of,
    has_address,
    leaf,
)

SETS_MAX = 16

_LEXEME = re.compile(r"[0-9A-Za-z.+_-]*")
_INT = re.compile(r"0|-?[1-9][0-9]*")
_FLOAT = re.compile(r"nan|-?inf|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:e[+-][0-9]+)?|e[+-][0-9]+)")
_QUOTED = re.compile(r"(SecretStr\(|SecretBytes\(b|b|)(['\"])")
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
_DIGITS = {k: re.compile(f"[0-9a-fA-F]{{{n}}}") for k, n in (("x", 2), ("u", 4), ("U", 8))}
_PLAIN = {
    (quote, is_bytes): re.compile(rf"[^{quote}\\\0-\x1f\x7f{more}]*")
    for quote in "'\""
    for is_bytes, more in ((False, ""), (True, "\x80-\U0010ffff"))
}


_NUMBER = r"-?(?:nan|inf|[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)"
_TEXT = r"""b?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_NAMES = (
    "bytearray|range|Decimal|Fraction|UUID|(?:Pure)?(?:Posix|Windows)Path"
    r"|datetime\.(?:date|time|datetime|timedelta|timezone)"
)
_WORDS = r"Ellipsis|datetime\.timezone\.utc"


def _call(inner: str) -> str:
    argument = f"(?:[a-z]+=)?(?:{_TEXT}|{_NUMBER}{inner})"
    return f"{_WORDS}|(?:{_NAMES})\\({argument}(?:, {argument})*\\)"


# Calls in the arguments of calls, and in theirs.
_CONSTRUCTED = re.compile(
    rf"\({_NUMBER}(?:\+|(?=-)){_NUMBER}j\)|{_NUMBER}j|{_call('|' + _call('|' + _call('')))}",
    re.DOTALL,
)


class LiteralError(Exception):
    """A leaf that is no literal; its position."""


class Repr:
    """Reads literals, as `repr` prints them, from a position in a text."""

    def __init__(self, text: str, at: int, *, constructors: bool = False) -> None:
        self.text, self.at, self.last = text, at, at
        self.classes: list[str] = []
        self.constructors = constructors

    def eat(self, token: str) -> bool:
        found = self.text.startswith(token, self.at)
        self.at += len(token) if found else 0
        return found

    def follows(self, token: str) -> bool:
        return self.text.startswith(token, self.at)

    def need(self, token: str) -> None:
        if not self.eat(token):
            raise self.failure()

    def failure(self) -> Exception:
        """A text that ends too early is of no form; one that goes on otherwise has a bad leaf."""
        return LiteralError(self.last) if self.at < len(self.text) else FormError()

    def value(self, depth: int = 0) -> tuple[bytes, int]:
        """The encoding of a value, and how many sets are inside each other in it."""
        self.last = self.at
        called = _CONSTRUCTED.match(self.text, self.at) if self.constructors else None
        if called:
            self.at = called.end()
            return leaf(OBJECT, called[0]), 0
        for token, empty in _EMPTY.items():
            if self.eat(token):
                return container(empty, []), 0
        for token in ("[", "(", "{", "frozenset({"):
            if self.eat(token):
                if depth == DEPTH_MAX:
                    raise DepthError
                return self.members(token, depth + 1)
        return self.leaf(), 0

    def members(self, opening: str, depth: int) -> tuple[bytes, int]:
        first, sets = self.value(depth)
        found = [first]
        if opening == "{" and self.eat(": "):
            opening = "dict"
            value, inner = self.value(depth)
            found, sets = [first + value], max(sets, inner)
        while self.eat(", "):
            member, inner = self.value(depth)
            sets = max(sets, inner)
            if opening == "dict":
                self.need(": ")
                value, inner = self.value(depth)
                member, sets = member + value, max(sets, inner)
            found.append(member)
        one_tuple = opening == "(" and len(found) == 1
        self.need(
            ",)" if one_tuple else {"[": "]", "(": ")", "frozenset({": "})"}.get(opening, "}")
        )
        if opening in ("{", "frozenset({"):
            sets += 1
            if sets > SETS_MAX:
                raise DepthError
            found.sort()
        tags = {"[": LIST, "(": TUPLE, "dict": DICT, "{": SET, "frozenset({": FROZENSET}
        return container(tags[opening], found), sets

    def leaf(self) -> bytes:
        for token, constant in (("None", NONE), ("False", FALSE), ("True", TRUE)):
            if self.eat(token):
                return constant
        quoted = _QUOTED.match(self.text, self.at)
        if quoted:
            self.at += len(quoted[1])
            content = self.quoted(is_bytes=quoted[1].endswith("b"))
            if len(quoted[1]) > 1:
                self.need(")")
            tags = {"": STR, "b": BYTES, "SecretStr(": SECRET_STR, "SecretBytes(b": SECRET_BYTES}
            return leaf(tags[quoted[1]], content)
        if self.eat("<class '"):
            name, quote, _ = self.text[self.at :].partition("'")
            if not quote:
                raise FormError
            self.at += len(name)
            self.classes.append(name)
            self.need("'>")
            return leaf(CLASS, name)
        lexeme = _LEXEME.match(self.text, self.at)[0]  # type: ignore[index]
        self.at += len(lexeme)
        if _INT.fullmatch(lexeme):
            return leaf(INT, lexeme)
        if _FLOAT.fullmatch(lexeme):
            return leaf(FLOAT, lexeme)
        raise LiteralError(self.last) if lexeme else self.failure()

    def name(self) -> str:
        if not (self.follows("'") or self.follows('"')):
            raise FormError
        try:
            return self.quoted(is_bytes=False).decode("utf-8", "surrogatepass")
        except LiteralError as failure:
            raise FormError from failure

    def quoted(self, *, is_bytes: bool) -> bytes:
        quote, out = self.text[self.at], []
        self.at += 1
        plain = _PLAIN[quote, is_bytes]
        while True:
            run = plain.match(self.text, self.at)[0]  # type: ignore[index]
            out.append(data_of(run))
            self.at += len(run)
            if self.at == len(self.text):
                raise FormError
            if self.eat(quote):
                return b"".join(out)
            self.need("\\")
            out.append(self.escape(is_bytes=is_bytes))

    def escape(self, *, is_bytes: bool) -> bytes:
        kind = self.text[self.at : self.at + 1]
        self.at += 1
        if kind in _ESCAPES:
            return data_of(_ESCAPES[kind])
        digits = _DIGITS[kind].match(self.text, self.at) if kind in _DIGITS else None
        if digits is None or (is_bytes and kind != "x"):
            raise self.failure()
        self.at += len(digits[0])
        number = int(digits[0], 16)
        if number > 0x10FFFF:
            raise self.failure()
        return bytes([number]) if is_bytes else data_of(chr(number))


_EMPTY = {"[]": LIST, "()": TUPLE, "{}": DICT, "set()": SET, "frozenset()": FROZENSET}


def leaf_end(text: str) -> int | None:
    """Where the leaf at the start of a text ends, if it does."""
    depth, quote = 0, ""
    for at, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{<":
            depth += 1
        elif character in ")]}>," and depth == 0:
            return at
        elif character in ")]}>":
            depth -= 1
    return None


def diagnosis(text: str) -> str:
    """What is wrong with the leaf at the start of a text."""
    return reason_of(text[: leaf_end(text)])


def reason_of(text: str) -> str:
    """Why a text that is no literal cannot stand for an object."""
    if has_address(text):
        return "address"
    return "truncated" if "..." in text or "…" in text else "unknown_repr"


def complete(text: str) -> bytes | None:
    """The encoding of an object's `repr` that says everything; None for one that need not."""
    reader = Repr(text, 0, constructors=True)
    try:
        form, _ = reader.value()
    except (LiteralError, FormError, DepthError):
        return None
    is_kind = form[:1] in (bytes([BYTES]), SET, FROZENSET, bytes([OBJECT]))
    return form if is_kind and reader.at == len(text) and not reader.classes else None

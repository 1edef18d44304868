"""Every text that a command prints goes through here, to stdout or to stderr.

A text may hold anything: answers are of models, names and messages of files that others made. So
what a terminal would obey is escaped, and passwords of URLs are left out.
"""

from __future__ import annotations

import re
import sys

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import TextIO

CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""What a terminal would obey, or could not show."""

BREAKS = re.compile(r"[\t\n\u2028\u2029]")
"""What would end a line, or shift it, besides."""

EXAMPLE = r"(?!\[user:password@\])"
"""A placeholder in messages of llmemo: it is no password."""

USERINFO = re.compile(rf"([A-Za-z][A-Za-z0-9+.-]+://){EXAMPLE}[^\s/?#@]+(?=@)")
"""User and password of a URL that is as it should be (RFC 3986, 3.2.1)."""

NEARLY = re.compile(
    r"(?si)(\b(?:(?:redis|valkey)s?(?:\+sentinel)?:|[a-z][a-z0-9+.-]+:/)/*)"
    + EXAMPLE
    + r"[^/].*(?=@)"
)
"""The same of any, such as one whose password has a slash or a space: rather too much."""

HIDDEN = r"\1***"


def escaped(text: str) -> str:
    """A text of several lines, maybe of a model: it keeps its line breaks."""
    return CONTROL.sub(_code, USERINFO.sub(HIDDEN, text))


def line(text: str) -> str:
    """A part of a line, such as a file's name: no line can be forged by it."""
    return BREAKS.sub(_code, escaped(text))


def message(text: str) -> str:
    """What is said of arguments, which may be URLs in the wrong place, or no quite right ones."""
    return escaped(NEARLY.sub(HIDDEN, text))


def write(text: str) -> None:
    """Write a safe text to stdout.

    Raises:
        OSError: It is closed, or takes no more.
    """
    if sys.stdout is None:
        msg = "stdout is closed"
        raise OSError(msg)
    _write(sys.stdout, text)


def complain(text: str) -> None:
    """Write a message to stderr. Never raises: a command does its work without it, too."""
    if sys.stderr is None:
        return
    try:
        _write(sys.stderr, message(text))
        sys.stderr.flush()
    except (OSError, ValueError):
        discard(sys.stderr)


def discard(stream: TextIO | None) -> None:
    """Have the interpreter flush into nothing at its end: the reader has left."""
    import os  # noqa: PLC0415 (seldom needed)

    if stream is None:
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, stream.fileno())
    except (OSError, ValueError):  # one that is no file
        pass
    finally:
        os.close(nothing)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        # A terminal, or a file, of an encoding that lacks some.
        encoding = stream.encoding
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def _code(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

"""What a command prints: text for people, or with `--json` one JSON object a line."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""What a terminal would obey, or could not show. Answers are of models, and may hold anything."""


class Output:
    """Prints to stdout, and notes to stderr."""

    def __init__(self, *, is_json: bool) -> None:
        """`is_json`: print objects, and no text."""
        self.is_json = is_json

    def text(self, text: str = "") -> None:
        """Print a line, or several, for people. Nothing with `--json`."""
        if not self.is_json:
            _write(CONTROL.sub(_escaped, text))

    def object(self, value: dict[str, Any]) -> None:
        """Print an object, for programs. Nothing without `--json`."""
        if self.is_json:
            _write(json.dumps(value))

    def note(self, text: str) -> None:
        """Print a line to stderr, whatever is printed otherwise."""
        sys.stderr.write(CONTROL.sub(_escaped, text) + "\n")


def _write(text: str) -> None:
    try:
        sys.stdout.write(text + "\n")
    except UnicodeEncodeError:
        # A terminal, or a file, of an encoding that lacks some.
        encoding = sys.stdout.encoding
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

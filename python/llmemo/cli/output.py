"""What a command prints: text for people, or with `--json` one JSON object a line."""

from __future__ import annotations

import json
from typing import Any

from llmemo.cli import terminal


class Output:
    """Prints to stdout, and notes to stderr."""

    def __init__(self, *, is_json: bool) -> None:
        """`is_json`: print objects, and no text."""
        self.is_json = is_json

    def text(self, text: str = "") -> None:
        """Print a line, or several, for people. Nothing with `--json`."""
        if not self.is_json:
            terminal.write(f"{terminal.escaped(text)}\n")

    def object(self, value: dict[str, Any]) -> None:
        """Print an object, for programs. Nothing without `--json`."""
        if self.is_json:
            terminal.write(json.dumps(value) + "\n")

    def note(self, text: str) -> None:
        """Print a line to stderr, whatever is printed otherwise."""
        terminal.complain(f"{text}\n")

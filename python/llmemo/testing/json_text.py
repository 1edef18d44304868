"""JSON as a cassette has it."""

from __future__ import annotations

import json
from typing import Any


def written(value: Any) -> str:
    """JSON in one line, readable in any language; lone surrogates are escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "".join(f"\\u{ord(it):04x}" if "\ud800" <= it <= "\udfff" else it for it in text)

"""The text by which the memory tier knows a model and a call.

It is the `llm_string`, where that says everything. Otherwise:

    llm_string MARK schemas MARK supplement
"""

from __future__ import annotations

import json
import secrets
from typing import NamedTuple

MARK = f"\0{secrets.token_hex(16)}"
"""A separator that no text of a user's can hold: random in each process."""


TEXT = "t"
"""Ends the mark of a request whose prompt is a completion model's, but looks like messages."""


class MemoryName(NamedTuple):
    """The parts of a name."""

    llm_string: str
    schemas: dict[str, bytes] | None
    """Digests of the classes that the `llm_string` names, if it names any."""
    supplement: str
    """Stands for what the model says beside its text; empty if that is empty."""


def suffix_of(supplement: str) -> str:
    """The end of a name without schemas."""
    return f"{MARK}{MARK}{supplement}" if supplement else ""


def memory_name(llm_string: str, schemas: dict[str, bytes] | None, supplement: str) -> str:
    """Write a name."""
    if schemas is None:
        return llm_string + suffix_of(supplement)
    digests = json.dumps(sorted((name, digest.hex()) for name, digest in schemas.items()))
    return f"{llm_string}{MARK}{digests}{MARK}{supplement}"


def parsed_name(text: str) -> MemoryName:
    """Read a name that `memory_name` wrote."""
    llm_string, _, rest = text.partition(MARK)
    digests, _, supplement = rest.partition(MARK)
    schemas = None
    if digests:
        schemas = {name: bytes.fromhex(digest) for name, digest in json.loads(digests)}
    return MemoryName(llm_string, schemas, supplement)

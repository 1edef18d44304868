"""The lines of an export: how each is written, and what it holds (docs/export.md).

    header      what this is, and how keys and values were made
    state …     what similar questions have proved, by name
    answer …    one a line
    end         how many there were of each, and the sum of their checksums

Each line is JSON, and ends with a checksum of all before it. Bytes are base64, digests hexadecimal.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo._core import Memory, __version__

if TYPE_CHECKING:
    from llmemo.stores.records import Record

FORMAT = "llmemo-export"
VERSION = 1
"""A reader takes this one and those before it."""

NAMESPACES_MAX = 64
"""Labels of namespaces that a header lists, at most."""

SUM_BYTES = 8
SUM = b',"sum":"'
"""Begins the end of a line."""


class Kinds(NamedTuple):
    """How the keys and values of some answers were made, as far as they tell."""

    namespaces: frozenset[bytes] = frozenset()
    """Labels of namespaces. With another `secret`, each namespace has another one."""
    encrypted: frozenset[bool] = frozenset()
    """Whether values are encrypted: both, where some are."""

    @property
    def uses_secret(self) -> bool | None:
        """False if keys are made without a `secret`. None if that cannot be told."""
        return False if DEFAULT_NAMESPACE in self.namespaces else None


def line_of(kind: str, **fields: Any) -> bytes:
    """A line, with its checksum and its end."""
    text = json.dumps({"kind": kind, **fields}, separators=(",", ":"))
    return closed(text.encode("ascii"))


def closed(text: bytes) -> bytes:
    """Complete a line: a JSON object gets its checksum."""
    body = text[:-1]
    return b"".join((body, SUM, sum_of(body), b'"}\n'))


def sum_of(body: bytes) -> bytes:
    """The checksum of a line up to it: BLAKE2b, hexadecimal."""
    return hashlib.blake2b(body, digest_size=SUM_BYTES).hexdigest().encode()


def header_line(kinds: Kinds, *, schema: int | None, now: float) -> bytes:
    """The first line.

    Args:
        kinds: Of the first answers.
        schema: Version of the SQLite schema; None for another store.
        now: Unix time in seconds.
    """
    return line_of(
        "header",
        format=FORMAT,
        version=VERSION,
        llmemo=__version__,
        schema=schema,
        secret=kinds.uses_secret,
        namespaces=[label.hex() for label in sorted(kinds.namespaces)[:NAMESPACES_MAX]],
        encrypted=sorted(kinds.encrypted),
        created=now,
    )


def state_line(name: bytes, state: bytes) -> bytes:
    """The line of a state: see `VectorStore.state`."""
    return line_of("state", name=text_of(name), state=text_of(state))


def answer_line(record: Record) -> bytes:
    """The line of an answer: everything that a store keeps of it."""
    fields: dict[str, Any] = {
        "key": record.key.hex(),
        "namespace": record.namespace.hex(),
        "llm": record.llm.hex(),
        "created": record.created,
        "expires": record.expires,
        "outline": text_of(record.outline),
    }
    if record.request is not None:
        fields["request"] = text_of(record.request)
    if record.question is not None:
        partition, sealed = record.question
        fields["question"] = {"partition": partition.hex(), "sealed": text_of(sealed)}
    return line_of("answer", **fields, value=text_of(record.value))


def end_line(answers: int, states: int, sums: int) -> bytes:
    """The last line: without it, the file was cut off. `sums`: of the checksums of all others."""
    return line_of("end", answers=answers, states=states, sums=sums_of(sums))


def number_of(line: bytes) -> int:
    """The checksum of a line that is whole."""
    return int(line.rstrip(b"\r\n")[-2 - 2 * SUM_BYTES : -2], 16)


def sums_of(total: int) -> str:
    """A sum of checksums, as the last line has it."""
    return f"{total % 2 ** (8 * SUM_BYTES):0{2 * SUM_BYTES}x}"


def text_of(data: bytes) -> str:
    """Bytes in base64."""
    return b64encode(data).decode("ascii")


DEFAULT_NAMESPACE = Memory(1, fingerprint_secret=bytes(192)).label("")
"""The label of the empty namespace, where there is no `secret`."""

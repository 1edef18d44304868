"""A record as one Redis string: its times, labels and key with a checksum, then the value.

    bytes  0 to  3    "llr1": this format
    bytes  4 to 11    when it expires: Unix time in seconds, infinity for never (double, big-endian)
    bytes 12 to 19    when it was made: the same
    bytes 20 to 35    digest of its namespace
    bytes 36 to 51    digest of its model description
    bytes 52 to 83    key
    bytes 84 to 91    BLAKE2b-64 of all before
    bytes 92 …        value, which has a checksum and the key of its own

Scripts read the fields by their places. A reply that belongs to another request has another key.
"""

from __future__ import annotations

import hashlib
import math
import struct

from llmemo.stores.records import Record

MAGIC = b"llr1"
_HEAD = struct.Struct(">4sdd16s16s32s")
SUM_BYTES = 8
SUM_AT = _HEAD.size
VALUE_AT = SUM_AT + SUM_BYTES

DAMAGED = b"damaged frame:"
"""Begins the value of a record that cannot be read: no value begins like that."""


def packed(record: Record) -> bytes:
    """The bytes that are stored."""
    key, value, namespace, llm, created, expires = record[:6]
    if value.startswith(DAMAGED):
        return value[len(DAMAGED) :]
    head = _HEAD.pack(MAGIC, math.inf if expires is None else expires, created, namespace, llm, key)
    return b"".join((head, _sum(head), value))


def unpacked(key: bytes, stored: bytes) -> Record | None:
    """The record that is stored under this key; None if it is that of another key.

    A damaged one comes with a value that no process can read. So it is counted and removed like any
    other damaged value.
    """
    head = stored[: _HEAD.size]
    if len(stored) < VALUE_AT or stored[_HEAD.size : VALUE_AT] != _sum(head):
        return damaged(key, stored)
    magic, expires, created, namespace, llm, own_key = _HEAD.unpack(head)
    if own_key != key:
        return None
    if magic != MAGIC:
        return damaged(key, stored)
    ends = None if expires == math.inf else expires
    return Record(key, stored[VALUE_AT:], namespace, llm, created, ends)


def damaged(key: bytes, stored: object) -> Record:
    """A record that no process can read, to be removed."""
    value = stored if isinstance(stored, bytes) else b""
    return Record(key, DAMAGED + value, b"", b"", 0.0, None)


def _sum(head: bytes) -> bytes:
    return hashlib.blake2b(head, digest_size=SUM_BYTES).digest()

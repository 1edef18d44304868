"""Whether a WAL holds anything: read as SQLite recovers it, and without SQLite.

SQLite removes a WAL without a commit when it closes the database, even one that it opened to read.
So readers look first. A WAL may be opened by hand: SQLite has no locks on it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

# Of sqlite.org/fileformat.html, 4.1 and 4.2.
HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
MAGIC, VERSION = 0x377F0682, 3_007_000
PAGE_SIZES = {2**power for power in range(9, 17)}
SUMMED = 8
"""Bytes of a frame's header that its checksum covers."""

MASK = 2**32 - 1


def has_commit(path: Path) -> bool:
    """Whether there is a whole transaction in the WAL of this path.

    What is no file counts as one: SQLite is to say what it makes of it.

    Raises:
        OSError: It cannot be read.
    """
    if not path.is_file():
        return path.exists()
    with path.open("rb") as file:
        return _has_commit(file)


def is_lost(path: Path) -> bool:
    """Whether a WAL has no index and frames, but no transaction: what was in it cannot be read."""
    try:
        if path.with_name(path.name.removesuffix("-wal") + "-shm").exists():
            # A process may be about to write the first one.
            return False
        return path.stat().st_size > HEADER_BYTES and not has_commit(path)
    except FileNotFoundError:
        return False


def _has_commit(file: BinaryIO) -> bool:
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return False
    magic, version, page_size, _, salt, *expected = struct.unpack(">4IQ2I", header)
    if magic & ~1 != MAGIC or version != VERSION or page_size not in PAGE_SIZES:
        return False
    order = ">" if magic & 1 else "<"
    sums = _summed(header[: SUMMED * 3], (0, 0), order)
    if sums != tuple(expected):
        return False
    while True:
        frame = file.read(FRAME_HEADER_BYTES + page_size)
        if len(frame) < FRAME_HEADER_BYTES + page_size:
            return False
        number, size, own_salt, *expected = struct.unpack_from(">2IQ2I", frame)
        sums = _summed(frame[:SUMMED], sums, order)
        sums = _summed(frame[FRAME_HEADER_BYTES:], sums, order)
        if own_salt != salt or not number or sums != tuple(expected):
            return False
        if size:
            # The last frame of a transaction tells the size of the database.
            return True


def _summed(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    """The running checksum of a WAL, of 32-bit words in this order of bytes."""
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & MASK
        second = (second + other + first) & MASK
    return first, second

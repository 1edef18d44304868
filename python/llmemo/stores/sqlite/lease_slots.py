"""Leases in the lock file beside a database: a table of slots, read and written in place.

A lease need not survive what an answer survives: one that is lost costs a model call. So it is no
row of the database, whose write lock all processes wait for, but 64 bytes of a file.

    bytes 64 to 71      changed whenever a lease ends: what waiters look at
    bytes 4,096 …       4,096 groups of four slots; a hash of a key's CRC-32 gives its group
    slot                key, fence, end (Unix time), failures in a row, CRC-32 of these

A group is changed under an "open file description" lock of one byte far behind the end (Linux;
fcntl(2)), held for microseconds. Where a system has no such locks, two processes may both get a
lease in the same microsecond; the one whose fence was overwritten stores nothing.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
import sys
import zlib
from typing import TYPE_CHECKING, NamedTuple

from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.lease_store import Grant, LeaseState

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform == "win32":

    def _pread(file: int, size: int, offset: int) -> bytes:
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, size)

    def _pwrite(file: int, data: bytes, offset: int) -> int:
        os.lseek(file, offset, os.SEEK_SET)
        return os.write(file, data)

else:
    import fcntl
    from os import pread as _pread
    from os import pwrite as _pwrite

MOVED_AT = 64
"""Where the mark is that changes with each end of a lease."""
MARK_BYTES = 8

SLOTS_AT = 4_096
GROUPS = 4_096
SLOTS_PER_GROUP = 4
"""A fifth lease of a group is refused. Of 1,000 that are held at a time, one in 10,000 is."""

_SLOT = struct.Struct("<32sQdI")
_SUM = struct.Struct("<I")
SLOT_BYTES = 64
GROUP_BYTES = SLOTS_PER_GROUP * SLOT_BYTES
_PADDING = bytes(SLOT_BYTES - _SLOT.size - _SUM.size)
EMPTY = bytes(SLOT_BYTES)

LOCKS_AT = 1 << 40
"""The byte whose lock is the first group's."""

ATTEMPTS = 20
"""Attempts at a group that another process has locked, which takes microseconds; but for one that
waits for the GIL, or was stopped."""


class SlotsBusyError(StoreUnavailableError):
    """Another process is changing the slots of a group."""

    def __init__(self) -> None:
        """There is nothing to say of it."""
        super().__init__("another process has locked a lease")


class Slot(NamedTuple):
    """One lease, as the file has it."""

    key: bytes
    fence: int
    expires: float
    """Unix time in seconds."""
    failures: int


class LeaseSlots:
    """The slots of one lock file, which its owner opens and closes."""

    def __init__(self, file: int) -> None:
        """`file`: a descriptor, open for reading and writing."""
        self._file = file

    def acquire(self, key: bytes, expires: float, now: float) -> Grant | LeaseState | None:
        """Take the lease of a key until `expires`, or say who has it; None if there is no room."""
        with self._group(key) as slots:
            place = _place(slots, key)
            old = None if place is None else slots[place]
            if old is not None and old.expires > now:
                return LeaseState(old.expires, old.failures)
            if place is None:
                place = _free(slots, now)
            if place is None:
                return None
            failures = 0 if old is None else old.failures
            new = Slot(key, secrets.randbits(63), expires, failures)
            self._write(key, place, new)
            return Grant(new.fence, failures)

    def find(self, key: bytes) -> Slot | None:
        """The slot of a key, if it has one."""
        return next((slot for slot in self._read(key) if slot and slot.key == key), None)

    def renew(self, key: bytes, fence: int, expires: float) -> bool:
        """Move the end of a lease. Returns False if it is lost."""
        with self._group(key) as slots:
            place = _place(slots, key, fence)
            slot = None if place is None else slots[place]
            if place is None or slot is None:
                return False
            self._write(key, place, slot._replace(expires=expires))
            return True

    def end(self, key: bytes, fence: int, failures: int, now: float) -> None:
        """End a lease, if it is not lost, and add to the failures before it: N, or none at all."""
        with self._group(key) as slots:
            place = _place(slots, key, fence)
            slot = None if place is None else slots[place]
            if place is None or slot is None:
                return
            total = slot.failures + failures
            ended = slot._replace(expires=now, failures=total) if total else None
            self._write(key, place, ended)
            _pwrite(self._file, secrets.token_bytes(MARK_BYTES), MOVED_AT)

    def forget(self, key: bytes, fence: int) -> None:
        """End a lease whose answer was stored, with all failures before it."""
        with self._group(key) as slots:
            place = _place(slots, key, fence)
            if place is not None:
                self._write(key, place, None)

    def mark(self) -> bytes:
        """Changes whenever a lease has ended without an answer."""
        return _pread(self._file, MARK_BYTES, MOVED_AT)

    def _read(self, key: bytes) -> list[Slot | None]:
        return self._read_group(_number(key))

    def _read_group(self, number: int) -> list[Slot | None]:
        data = _pread(self._file, GROUP_BYTES, _start(number)).ljust(GROUP_BYTES, b"\0")
        return [_unpacked(data[at : at + SLOT_BYTES]) for at in range(0, GROUP_BYTES, SLOT_BYTES)]

    def _write(self, key: bytes, place: int, slot: Slot | None) -> None:
        data = EMPTY
        if slot is not None:
            packed = _SLOT.pack(*slot)
            data = packed + _SUM.pack(zlib.crc32(packed)) + _PADDING
        _pwrite(self._file, data, _start(_number(key)) + place * SLOT_BYTES)

    @contextlib.contextmanager
    def _group(self, key: bytes) -> Iterator[list[Slot | None]]:
        """The slots of a key's group, which no other process changes meanwhile.

        Raises:
            SlotsBusyError: Another process is changing them.
        """
        number = _number(key)
        if not any(self._lock(number, is_on=True) for _ in range(ATTEMPTS)):
            raise SlotsBusyError
        try:
            yield self._read(key)
        finally:
            self._lock(number, is_on=False)

    def _lock(self, number: int, *, is_on: bool) -> bool:
        """Take or release the lock of a group. Returns False if another process has it."""
        try:
            kind = fcntl.F_WRLCK if is_on else fcntl.F_UNLCK
            asked = struct.pack("hhqqi", kind, os.SEEK_SET, LOCKS_AT + number, 1, 0)
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, asked)
        except BlockingIOError:
            return False
        except (NameError, AttributeError, OSError):
            pass  # there are none
        return True


def _number(key: bytes) -> int:
    # Knuth's multiplicative hash, since keys that differ in one byte alone may not be spread by the
    # low bits of their CRC ("The Art of Computer Programming", volume 3, 6.4).
    return (zlib.crc32(key) * 0x9E3779B1 & 0xFFFFFFFF) * GROUPS >> 32


def _start(group: int) -> int:
    return SLOTS_AT + group * GROUP_BYTES


def _unpacked(data: bytes) -> Slot | None:
    """A slot; None if it is empty, or was written by halves."""
    packed, rest = data[: _SLOT.size], data[_SLOT.size :]
    if data == EMPTY or _SUM.unpack_from(rest)[0] != zlib.crc32(packed):
        return None
    return Slot(*_SLOT.unpack(packed))


def _place(slots: list[Slot | None], key: bytes, fence: int | None = None) -> int | None:
    """Where the lease of a key is: of this fence, if one is given."""
    for place, slot in enumerate(slots):
        if slot is not None and slot.key == key:
            return place if fence is None or slot.fence == fence else None
    return None


def _free(slots: list[Slot | None], now: float) -> int | None:
    """An empty place, or that of the lease which ended first."""
    ends = [(0.0 if slot is None else slot.expires, place) for place, slot in enumerate(slots)]
    end, place = min(ends)
    return place if end <= now else None

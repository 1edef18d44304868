"""Leases in the lock file beside a database: a table of slots, read and written in place.

A lease need not survive what an answer survives: one that is lost costs a model call. So it is no
row of the database, whose write lock all processes wait for, but 64 bytes of a file.

    bytes 64 to 71      changed whenever a lease ends: what waiters look at
    bytes 72 to 79      made with the first lease: tells the file from another, or an emptied one
    bytes 4,096 …       4,096 groups of four slots; a hash of a key's CRC-32 gives its group
    slot                key, fence, end (Unix time), failures in a row, CRC-32 of these

A group is changed under an "open file description" lock of one byte far behind the end (Linux;
fcntl(2)), held for microseconds. Where a system has no such locks, two processes may both get a
lease in the same microsecond; the one whose fence was overwritten stores nothing.
"""

from __future__ import annotations

import os
import secrets
import struct
import sys
import zlib
from typing import TYPE_CHECKING, NamedTuple

from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.lease_store import Grant, LeaseState

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND: int | None = None
"""That takes or releases such a lock at once; None where there are none."""
WRITE_LOCK = NO_LOCK = 0

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

    COMMAND = getattr(fcntl, "F_OFD_SETLK", None)
    WRITE_LOCK, NO_LOCK = fcntl.F_WRLCK, fcntl.F_UNLCK

MARK_AT = 64
"""Where the mark is that changes with each end of a lease."""
MARK_BYTES = 8

BIRTH_AT = 72
"""Where the mark is that another file, or an emptied one, does not have."""

SLOTS_AT = 4_096
GROUPS = 4_096
SLOTS_PER_GROUP = 4
"""A fifth lease of a group is refused. Of 1,000 that are held at a time, one in 10,000 is."""

_SLOT = struct.Struct("<32sQdI")
_SUM = struct.Struct("<I")
_FLOCK = struct.Struct("hhqqi")
"""`struct flock` of Linux: type, whence, start, length, process."""
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
        """Take the lease of a key until `expires`, or say who has it; None if there is no room.

        Raises:
            SlotsBusyError: As all that changes a lease; see there.
        """
        group = _group_of(key)
        self._lock(group)
        try:
            data, place, old = self._look(group, key)
            if old is not None and old.expires > now:
                return LeaseState(old.expires, old.failures)
            if place is None:
                place = _free_place(data, now)
            if place is None:
                return None
            new = Slot(key, secrets.randbits(63), expires, 0 if old is None else old.failures)
            self._write(group, place, new)
            return Grant(new.fence, new.failures)
        finally:
            self._unlock(group)

    def find(self, key: bytes) -> Slot | None:
        """The slot of a key, if it has one."""
        _, _, slot = self._look(_group_of(key), key)
        return slot

    def renew(self, key: bytes, fence: int, expires: float) -> bool:
        """Move the end of a lease. Returns False if it is lost."""
        return self._change(key, fence, lambda slot: slot._replace(expires=expires))

    def end(self, key: bytes, fence: int, failures: int, now: float) -> None:
        """End a lease, if it is not lost, and add to the failures before it: N, or none at all."""

        def ended(slot: Slot) -> Slot | None:
            total = slot.failures + failures
            return slot._replace(expires=now, failures=total) if total else None

        if self._change(key, fence, ended):
            _pwrite(self._file, secrets.token_bytes(MARK_BYTES), MARK_AT)

    def forget(self, key: bytes, fence: int) -> None:
        """End a lease whose answer was stored, with all failures before it."""
        self._change(key, fence, lambda _: None)

    def mark(self) -> bytes:
        """Changes whenever a lease has ended without an answer."""
        return _pread(self._file, MARK_BYTES, MARK_AT)

    def birth(self) -> bytes:
        """Another one in each file; made now, if there is none."""
        found = _pread(self._file, MARK_BYTES, BIRTH_AT)
        if len(found) == MARK_BYTES and any(found):
            return found
        made = secrets.token_bytes(MARK_BYTES)
        _pwrite(self._file, made, BIRTH_AT)
        return made

    def _change(self, key: bytes, fence: int, change: Callable[[Slot], Slot | None]) -> bool:
        """Replace the slot of a lease, if it is not lost. Returns whether it is not."""
        group = _group_of(key)
        self._lock(group)
        try:
            _, place, slot = self._look(group, key)
            if place is None or slot is None or slot.fence != fence:
                return False
            self._write(group, place, change(slot))
            return True
        finally:
            self._unlock(group)

    def _look(self, group: int, key: bytes) -> tuple[bytes, int | None, Slot | None]:
        """A group, and where in it the slot of a key is, if there is one."""
        data = self._read(group)
        place = _place_of(key, data)
        return data, place, None if place is None else _slot_at(place, data)

    def _read(self, group: int) -> bytes:
        data = _pread(self._file, GROUP_BYTES, SLOTS_AT + group * GROUP_BYTES)
        return data.ljust(GROUP_BYTES, b"\0")

    def _write(self, group: int, place: int, slot: Slot | None) -> None:
        data = EMPTY
        if slot is not None:
            packed = _SLOT.pack(*slot)
            data = packed + _SUM.pack(zlib.crc32(packed)) + _PADDING
        _pwrite(self._file, data, SLOTS_AT + group * GROUP_BYTES + place)

    def _lock(self, group: int) -> None:
        """Keep other processes from changing a group.

        Raises:
            SlotsBusyError: Another process is changing it.
        """
        for _ in range(ATTEMPTS):
            try:
                self._ask(WRITE_LOCK, group)
            except BlockingIOError:
                continue
            return
        raise SlotsBusyError

    def _unlock(self, group: int) -> None:
        self._ask(NO_LOCK, group)

    def _ask(self, kind: int, group: int) -> None:
        if COMMAND is None:
            return
        try:
            asked = _FLOCK.pack(kind, os.SEEK_SET, LOCKS_AT + group, 1, 0)
            fcntl.fcntl(self._file, COMMAND, asked)
        except BlockingIOError:
            raise
        except OSError:
            return  # a file system without such locks


def _group_of(key: bytes) -> int:
    # Knuth's multiplicative hash, since keys that differ in one byte alone may not be spread by the
    # low bits of their CRC ("The Art of Computer Programming", volume 3, 6.4).
    return (zlib.crc32(key) * 0x9E3779B1 & 0xFFFFFFFF) * GROUPS >> 32


def _place_of(key: bytes, data: bytes) -> int | None:
    """Where in its group the slot of a key begins."""
    place = data.find(key)
    while place > 0 and place % SLOT_BYTES:
        place = data.find(key, place + 1)
    return None if place < 0 else place


def _slot_at(place: int, data: bytes) -> Slot | None:
    """A slot; None if it is empty, or was written by halves."""
    packed = data[place : place + _SLOT.size]
    if _SUM.unpack_from(data, place + _SLOT.size)[0] != zlib.crc32(packed):
        return None
    return Slot(*_SLOT.unpack(packed))


def _free_place(data: bytes, now: float) -> int | None:
    """Where there is no lease, or the one that ended first."""
    places = range(0, GROUP_BYTES, SLOT_BYTES)
    for place in places:
        if data[place : place + SLOT_BYTES] == EMPTY:
            return place
    slots = [(_slot_at(place, data), place) for place in places]
    end, place = min((0.0 if slot is None else slot.expires, place) for slot, place in slots)
    return place if end <= now else None

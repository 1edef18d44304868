"""The lock of a file as the system has it, and the queue in front of it.

A process that commits back to back lets go of the lock for microseconds only, and one that waits
needs longer to wake up: it could lose each time. So a process that has waited for some milliseconds
takes its place in a queue, which is another lock: while that is held, no other process tries.

    the lock itself     flock of the whole file, as all versions of llmemo take it
    the queue           an "open file description" lock of its second byte (Linux; fcntl(2))

The process at the head of the queue waits for the lock alone; the others wait for the head.
"""

from __future__ import annotations

import os
import struct
import sys
import time

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

POLL = 0.02
"""Seconds between two attempts where no thread can wait for a lock (Windows)."""


if sys.platform == "win32":

    def try_to_lock(file: int) -> bool:
        """Take the lock, if it is free. Returns whether it was."""
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(file: int) -> None:
        """Let go of the lock."""
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

    def has_queue(file: int) -> bool:  # noqa: ARG001
        """Whether another process is in the queue."""
        return False

    def wait_for_lock(file: int) -> None:
        """Take the lock, however long that takes: not in a thread that has anything else to do."""
        while not try_to_lock(file):
            time.sleep(POLL)

else:

    def try_to_lock(file: int) -> bool:
        """Take the lock, if it is free. Returns whether it was."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(file: int) -> None:
        """Let go of the lock."""
        fcntl.flock(file, fcntl.LOCK_UN)

    # `struct flock` of Linux: type, whence, start, length, process. The lock of the second byte.
    _FLOCK = "hhqqi"
    HEAD = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 1, 1, 0)
    LEFT = struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, 1, 1, 0)
    FREE = struct.pack("h", fcntl.F_UNLCK)
    """How the answer to a question begins where there is no queue."""

    def has_queue(file: int) -> bool:
        """Whether another process, or another store of this one, is in the queue."""
        return not _queue(file, "F_OFD_GETLK", HEAD).startswith(FREE)

    def wait_for_lock(file: int) -> None:
        """Take the lock, however long that takes: not in a thread that has anything else to do.

        Raises:
            OSError: The system has no such lock for this file.
        """
        _queue(file, "F_OFD_SETLKW", HEAD)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        finally:
            _queue(file, "F_OFD_SETLK", LEFT)

    def _queue(file: int, command: str, what: bytes) -> bytes:
        """Ask about the queue, enter or leave it. Where there is none it is always free."""
        try:
            return fcntl.fcntl(file, getattr(fcntl, command), what)
        except (AttributeError, OSError):
            # Not Linux, or a file system without such locks: the order is left to the system.
            return FREE

"""Which pages of a file are in RAM (Linux only).

In a process of its own: closing a file takes away the locks that SQLite has on it in that process
(sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096

PROGRAM = """
import ctypes, mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR)
size = os.fstat(file).st_size
if sys.argv[2:]:
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
mapped = mmap.mmap(file, size)
start = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
found = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
assert not ctypes.CDLL(None).mincore(ctypes.c_void_p(start), ctypes.c_size_t(size), found)
print(*[at for at, one in enumerate(found) if one & 1])
"""


def _run(*args: str) -> set[int]:
    command = [sys.executable, "-c", PROGRAM, *args]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(map(int, done.stdout.split()))


def in_ram(path: Path) -> set[int]:
    """Numbers of the pages that are in RAM, from 0."""
    return _run(str(path))


def drop(path: Path) -> set[int]:
    """Have all pages leave the RAM. Returns the numbers of those that stay."""
    return _run(str(path), "drop")

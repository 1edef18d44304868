"""A lock among the processes of this user: pytest-xdist's workers write to one cassette."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes out of what is done inside about the file at `path`.

    The lock file is in the folder for temporary files, so that a repository has none beside its
    cassettes. The system ends the lock with the process.
    """
    name = hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()
    user = getattr(os, "getuid", int)()
    lock = Path(tempfile.gettempdir()) / f"llmemo-{user}-{name}.lock"
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    file = os.open(lock, flags, 0o600)
    try:
        _lock(file)
        yield
    finally:
        # Closing it ends the lock.
        os.close(file)


if sys.platform == "win32":
    import errno
    import msvcrt

    def _lock(file: int) -> None:
        while True:
            try:
                # Tries for ten seconds.
                msvcrt.locking(file, msvcrt.LK_LOCK, 1)
            except OSError as error:
                if error.errno != errno.EDEADLK:
                    raise
            else:
                return

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

"""The lock file beside a database: made as SQLite makes its own files, or refused."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
import sys

ATTEMPTS = 10
"""Attempts at a lock file that may have been made, or removed, just now."""

PAUSE = 0.005
"""Seconds between them."""

# A link is not followed, nor a terminal taken; a FIFO would wait for its other end.
FLAGS = (
    os.O_RDWR
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
)


async def open_lock(path: str, database: str) -> int:
    """A descriptor of the lock file, which is made if there is none.

    Its mode is that of the database, so that all who share the one share the other; made by root,
    it has the database's owner and group, too.

    Raises:
        OSError: What is there is no regular file, has another name too, or may not be opened.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _opened(path, database)
        except (FileNotFoundError, FileExistsError, PermissionError):
            # It was removed or made by another process meanwhile, or has yet to get its mode.
            if attempt == ATTEMPTS:
                raise
            await asyncio.sleep(PAUSE)
    raise AssertionError


def _opened(path: str, database: str) -> int:
    try:
        file, is_new = os.open(path, FLAGS), False
    except FileNotFoundError:
        file, is_new = os.open(path, FLAGS | os.O_CREAT | os.O_EXCL, 0o600), True
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
            raise
        raise _refused(path) from error
    try:
        found = os.fstat(file)
        if not found.st_nlink:
            raise FileNotFoundError(errno.ENOENT, "it was just removed", path)
        # Of a file with another name, somewhere else, neither mode nor owner is ours to change.
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise _refused(path)
        _share(file, found, database, is_new=is_new)
    except BaseException:
        os.close(file)
        raise
    return file


def _refused(path: str) -> OSError:
    text = "it is no regular file of that name only, such as llmemo makes: remove it"
    return OSError(errno.EINVAL, text, path)


def _share(file: int, found: os.stat_result, database: str, *, is_new: bool) -> None:
    """Give our lock file the mode of its database, and a new one its group and owner."""
    if sys.platform == "win32":
        return
    try:
        wanted = os.stat(database)  # noqa: PTH116 (as in open_files.py)
    except OSError:
        return
    user = os.geteuid()
    # Or one that root made before it did so: an empty one can be no secret of another program.
    if is_new or (user == found.st_uid == found.st_size == 0):
        give(file, wanted)
    mode = stat.S_IMODE(wanted.st_mode) & 0o666
    if (is_new or found.st_uid == user) and stat.S_IMODE(found.st_mode) != mode:
        with contextlib.suppress(OSError):
            os.fchmod(file, mode)


def give(file: int, wanted: os.stat_result) -> None:
    """Give one of our files the group of another one; made by root, the owner, too."""
    if sys.platform != "win32":
        owner = wanted.st_uid if os.geteuid() == 0 else -1
        # Of a group that we are not in: then it keeps ours, as the WAL does.
        with contextlib.suppress(OSError):
            os.fchown(file, owner, wanted.st_gid)

"""What went wrong with a store, in words: for `health()`, which people read. The log has more."""

from __future__ import annotations

import asyncio
import errno

from llmemo.errors import StoreError
from llmemo.stores.base import StoreUnavailableError, StoreUnusableError

BY_NUMBER = {
    errno.ENOENT: "its file or folder is missing",
    errno.ENOTDIR: "its folder is missing",
    errno.EACCES: "access is denied",
    errno.EPERM: "access is denied",
    errno.EROFS: "the disk is read-only",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EIO: "the disk fails to read or write",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
    errno.ECONNREFUSED: "the connection was refused",
    errno.ECONNRESET: "the connection was cut",
    errno.EPIPE: "the connection was cut",
    errno.EHOSTUNREACH: "the host cannot be reached",
    errno.ENETUNREACH: "the host cannot be reached",
}
"""By the number of an error of the operating system."""

BY_TEXT = {
    "database is locked": "another process keeps its file locked",
    "table is locked": "another process keeps its file locked",
    "unable to open": "its file cannot be opened: the folder is missing, or access is denied",
    "malformed": "its file is damaged",
    "not a database": "its file is damaged",
    "no such table": "its file is damaged: a table is missing",
    "disk is full": "the disk is full",
    "readonly": "its file is read-only",
    "disk I/O": "the disk fails to read or write",
}
"""By what SQLite says, whose messages are stable. Codes came with Python 3.11."""


def reason_of(error: BaseException) -> str:
    """Why a store failed. The type's name if the cause is not known. Never raises.

    Stores of ours say it in their own errors. A message of unknown origin may quote a prompt or a
    password, so it is left out.
    """
    import sqlite3  # noqa: PLC0415 (`import llmemo` does without)

    found = None
    if isinstance(error, (sqlite3.Error, StoreUnavailableError)):
        found = _by_text(error)
    if found is None and isinstance(error, (StoreError, StoreUnavailableError, StoreUnusableError)):
        found = _text(error)
    elif isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        found = "it timed out"
    elif isinstance(error, OSError):
        found = BY_NUMBER.get(error.errno or 0)
    return found or type(error).__name__


def _by_text(error: Exception) -> str | None:
    text = _text(error)
    return next((words for part, words in BY_TEXT.items() if part in text), None)


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 (of another's store: its `__str__` may do anything)
        return ""

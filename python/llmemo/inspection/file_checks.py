"""What `llmemo doctor` checks of a file, its folder, and this machine's SQLite."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
from typing import TYPE_CHECKING

from llmemo.inspection.checks import OK, PROBLEM, WARN, Check, fine
from llmemo.inspection.sqlite_view import bytes_of
from llmemo.stores.sqlite.network_files import NETWORK, file_system
from llmemo.stores.sqlite.path_checks import wal_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmemo.inspection.sqlite_view import SQLiteView

FIRST_WITH_BUG = (3, 7, 0)
FIXED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
"""Versions of SQLite without the WAL-reset bug (sqlite.org/wal.html): the first of three lines."""

WAL_LARGE = 64 * 2**20
"""Bytes of a WAL that no service lets come about: what is above reads all the time, or is left."""

SPACE_LOW, SPACE_NONE = 256 * 2**20, 16 * 2**20
"""Free bytes on the disk."""

FREE_LARGE = 0.5
"""Part of a file that is free, above which it pays to give it back: services do from 0.25 on."""

VOLATILE = {"tmpfs", "ramfs", "overlay"}
"""File systems that do not outlive the machine, or the container."""


def check_file(view: SQLiteView, *, is_full: bool) -> Iterator[Check]:
    """All checks but those of entries."""
    path = view.path
    yield _sqlite(path)
    yield _place(path)
    yield from _permissions(path)
    yield _wal(view, bytes_of(wal_of(path)))
    yield _space(path)
    yield _siblings(path)
    # What follows needs the file to be sound.
    facts = view.facts()
    yield _free(facts["file_bytes"], facts["free_bytes"])
    yield _schema(facts["schema"], facts["newest_schema"])
    if is_full:
        yield _integrity(view)


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether this SQLite may corrupt a file whose WAL is reset while another process commits."""
    if version < FIRST_WITH_BUG or version >= FIXED[0]:
        return False
    return not any(version[:2] == fixed[:2] and version >= fixed for fixed in FIXED)


def lock_of(path: Path) -> Path:
    """Where llmemo has the lock file of a database."""
    return path.with_name(f"{path.name}-lock")


def _sqlite(path: Path) -> Check:
    version = sqlite3.sqlite_version
    if not has_wal_reset_bug(sqlite3.sqlite_version_info):
        return fine("sqlite", f"SQLite {version} has no WAL-reset bug")
    lock = lock_of(path)
    text = f"SQLite {version} has the WAL-reset bug; {lock.name} guards against it"
    try:
        found = lock.lstat()
    except FileNotFoundError:
        return fine("sqlite", f"{text}, once a service has made it")
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        text = f"SQLite {version} has the WAL-reset bug, and {lock.name} is no file of llmemo's"
        return Check("sqlite", PROBLEM, text, f"stop the services and remove {lock}")
    return fine("sqlite", text)


def _place(path: Path) -> Check:
    kind = file_system(path.parent)
    if kind in NETWORK:
        text = f"the file is on a network file system ({kind}), where SQLite's WAL does not work"
        return Check("file system", PROBLEM, text, "put it on a local disk, or use a RedisStore")
    if kind in VOLATILE:
        text = f"the file is on {kind}: it does not outlive the machine, or the container"
        return Check("file system", WARN, text, "mount a volume, if the answers are to stay")
    return fine("file system", f"{kind or 'not known here'}, not a network file system")


def _permissions(path: Path) -> Iterator[Check]:
    if sys.platform == "win32":
        return
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        text = f"mode {mode:04o}: other users can get at the answers"
        yield Check("permissions", WARN, text, f"chmod 600 {path}, unless they are meant to")
    else:
        yield fine("permissions", f"mode {mode:04o}, for its owner only")
    odd = [
        one.name
        for one in (wal_of(path), path.with_name(f"{path.name}-shm"), lock_of(path))
        if one.exists() and one.stat().st_uid != found.st_uid
    ]
    if odd:
        text = f"{', '.join(odd)}: another owner than the file, whose services may not write it"
        yield Check("owner", PROBLEM, text, f"chown --reference={path} them")
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK | os.X_OK):
        text = "the file, or its folder, is not writable by this user"
        yield Check("writable", WARN, text, "chown or chmod both, or use read_only=True")
    else:
        yield fine("writable", "the file and its folder are, by this user")


def _wal(view: SQLiteView, size: int) -> Check:
    if lost := view.lost_wal():
        remedy = "a service removes it as it opens the file: keep a copy, if it may hold answers"
        return Check("wal", PROBLEM, lost, remedy)
    if size <= WAL_LARGE:
        return fine("wal", f"{size:,} bytes")
    text = f"{size:,} bytes: something reads all the time, or no service is left to write it back"
    return Check("wal", WARN, text, "llmemo vacuum writes it back; look for long transactions")


def _space(path: Path) -> Check:
    free = shutil.disk_usage(path.parent).free
    text = f"{free:,} bytes are free on the disk"
    if free < SPACE_NONE:
        remedy = "make room: without any, answers are not kept (stats().errors)"
        return Check("space", PROBLEM, text, remedy)
    if free < SPACE_LOW:
        remedy = "make room, or bound the file by max_store_bytes="
        return Check("space", WARN, text, remedy)
    return fine("space", text)


def _free(size: int, free: int) -> Check:
    text = f"{free:,} of {size:,} bytes of the file are free"
    if size > SPACE_NONE and free > FREE_LARGE * size:
        return Check("free pages", WARN, text, "llmemo vacuum gives them back")
    return fine("free pages", text)


def _schema(version: int, newest: int) -> Check:
    if version < newest:
        text = f"schema {version}, older than {newest}: the next service brings it up to date"
        return Check("schema", OK, text)
    return fine("schema", f"schema {version}, the newest that is known here")


def _siblings(path: Path) -> Check:
    """Files that were set aside: after that, caches began with an empty file."""
    aside = sorted(
        one.name
        for one in path.parent.iterdir()
        if one.name.startswith((f"{path.name}.corrupt-", f"{path.name}.replaced-"))
    )
    if not aside:
        text = "no file was set aside (a running cache says by health() if memory alone serves)"
        return fine("set aside", text)
    text = f"{', '.join(aside[:5])}: the file was damaged or replaced, and begun again"
    return Check("set aside", WARN, text, "look at the disk and its log, then remove them")


def _integrity(view: SQLiteView) -> Check:
    problems = view.integrity(10)
    if problems:
        remedy = "stop the services and restore a back-up, or let them begin a new file"
        return Check("integrity", PROBLEM, "; ".join(problems), remedy)
    return fine("integrity", "PRAGMA integrity_check finds nothing")

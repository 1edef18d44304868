"""Files that are renamed, since they are damaged or belong to nothing any more."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from llmemo.telemetry.stats import logger

if TYPE_CHECKING:
    from pathlib import Path


def renamed(path: Path, why: str, *suffixes: str) -> str:
    """Rename those of a database's files that there are. Returns the name, without a suffix."""
    name = aside = f"{path.name}.{why}-{time.strftime('%Y%m%dT%H%M%S')}"
    for number in range(2, 100):
        # Nothing that was set aside within the same second is written over.
        if not any(os.path.lexists(path.with_name(aside + suffix)) for suffix in suffixes):
            break
        aside = f"{name}-{number}"
    for suffix in suffixes:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(path.with_name(aside + suffix))
    return aside


def set_aside(path: Path, reason: object) -> None:
    """Rename a damaged file, and what belongs to it, so that a new one can be started."""
    # The WAL first: if we are killed in between, no process takes it for that of a new file.
    aside = renamed(path, "corrupt", "-wal", "-shm", "")
    text = "llmemo: %s was damaged (%s): it is now %s, and a new file is started"
    logger.error(text, path, reason, aside)


def set_wal_aside(path: Path) -> None:
    """Rename the WAL, and its index, of a file that another one has taken the place of."""
    aside = renamed(path, "replaced", "-wal", "-shm")
    text = (
        "llmemo: %s was replaced by another file while it was open: what had been written to it"
        " last is now in %s-wal"
    )
    logger.warning(text, path, aside)

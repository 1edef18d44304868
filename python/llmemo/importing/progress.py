"""How far a long command is: one line on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

PATIENCE = 1.0
"""Seconds before there is anything to see."""

INTERVAL = 0.1
"""Seconds between two looks of the line."""

WIDTH = 30
"""Characters of the bar."""


class ProgressBar:
    """Draws itself on stderr, if that is a terminal and it takes long; else does nothing.

    A context manager: at its end the line is wiped.
    """

    def __init__(self, title: str) -> None:
        """Begin; nothing is shown yet."""
        self._title = title
        self._start = time.monotonic()
        self._due = self._start + PATIENCE
        self._is_shown = False

    def __call__(self, done: int, total: int) -> None:
        """So much is done."""
        now = time.monotonic()
        if now < self._due or not total:
            return
        self._due = now + INTERVAL
        part = min(done / total, 1.0)
        bar = ("#" * round(part * WIDTH)).ljust(WIDTH, ".")
        left = (now - self._start) * (1 / part - 1) if part else 0.0
        self._is_shown = self._write(
            f"\r{self._title} [{bar}] {part:4.0%}, {left:.0f} s left \33[K"
        )

    def __enter__(self) -> Self:
        """Use as a context manager, to wipe the line at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wipe the line."""
        if self._is_shown:
            self._write("\r\33[K")

    def _write(self, text: str) -> bool:
        # There may be no stderr, or a closed one, or none that takes this.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if sys.stderr.isatty():
                sys.stderr.write(text)
                sys.stderr.flush()
                return True
        return False

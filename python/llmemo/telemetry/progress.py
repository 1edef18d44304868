"""A progress bar: one line on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

DELAY = 1.0
"""Seconds before the bar is shown."""

INTERVAL = 0.1
"""Seconds between two updates of the line."""

WIDTH = 30
"""Characters of the bar."""


class ProgressBar:
    """Draws a bar on stderr, if that is a terminal and the work takes long.

    A context manager: the line is erased at its end.
    """

    def __init__(self, title: str) -> None:
        """Begin; nothing is shown yet."""
        self._title = title
        self._start = time.monotonic()
        self._due = self._start + DELAY
        self._is_shown = False

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` rows are done."""
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
        """Use as a context manager, to erase the line at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Erase the line."""
        if self._is_shown:
            self._write("\r\33[K")

    def _write(self, text: str) -> bool:
        # stderr may be missing, closed, or of an encoding without these characters.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if sys.stderr.isatty():
                sys.stderr.write(text)
                sys.stderr.flush()
                return True
        return False

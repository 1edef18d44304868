"""Progress bars of what runs long: drawn by rich, on a terminal alone."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress
    from typing_extensions import Self

DELAY = 1.0
"""Seconds before the bar is shown."""

INTERVAL = 0.1
"""Seconds between two updates of the bar."""


class ProgressBar:
    """Draws a bar on stderr, if that is a terminal and the work takes long.

    A context manager: the bar is erased at its end. It raises nothing, whatever becomes of stderr.
    rich is imported once the first bar is due.
    """

    def __init__(self, title: str) -> None:
        """Begin; nothing is shown yet."""
        self._title = title
        self._due = time.monotonic() + DELAY
        self._progress: Progress | None = None
        self._is_over = False

    def __call__(self, done: int, total: int | None) -> None:
        """Show that `done` of `total` are done. None: it is not known how many there are."""
        now = time.monotonic()
        if self._is_over or now < self._due or total == 0:
            return
        self._due = now + INTERVAL
        with contextlib.suppress(Exception):
            if self._progress is None:
                self._progress = _bar(self._title)
                self._is_over = self._progress is None
            if self._progress is None:
                return
            self._progress.update(self._progress.task_ids[0], completed=done, total=total)
            # The first time it draws the bar; then it does nothing.
            self._progress.start()
            self._progress.refresh()

    def __enter__(self) -> Self:
        """Use as a context manager, to erase the bar at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Erase the bar."""
        self._is_over = True
        progress, self._progress = self._progress, None
        if progress is not None:
            with contextlib.suppress(Exception):
                progress.stop()


def _bar(title: str) -> Progress | None:
    """A bar for stderr, not shown yet; None if that is no terminal that can erase a line."""
    stream = sys.stderr
    if stream is None or not stream.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        return None
    from rich import progress  # noqa: PLC0415 (a bar is seldom shown)
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    # Without a thread of its own, and without a hand in the program's streams.
    bar = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TaskProgressColumn(show_speed=True),
        progress.TimeRemainingColumn(),
        console=Console(file=stream, force_terminal=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    bar.add_task(Text(title).markup, total=None)
    return bar

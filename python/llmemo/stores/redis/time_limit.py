"""A time limit for a task that nothing else cancels."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class TimeLimit:
    """`async with asyncio.timeout(…)` (Python 3.11), at a fifth of what anyio's costs: 8 us.

    Only for tasks that nothing else cancels, as those of a store's private loop.

    Raises:
        TimeoutError: At the end of the block, if it was interrupted.
    """

    __slots__ = ("_is_over", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        """Begin when the block is entered."""
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> None:
        """Begin."""
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)

    def _expire(self) -> None:
        self._is_over = True
        if self._task is not None:
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        self._timer.cancel()
        if not self._is_over:
            return
        if self._task is not None and hasattr(self._task, "uncancel"):  # Python 3.11
            self._task.uncancel()
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from None

"""A private event loop that is real in a patched process: see `native`."""

from __future__ import annotations

import asyncio
import contextlib
import math
import selectors
from typing import TYPE_CHECKING, Any, TypeVar, cast

from llmemo.concurrency.monkey_patching import original, patched_by

if TYPE_CHECKING:
    import select
    from collections.abc import Coroutine

    from _typeshed import FileDescriptorLike

T = TypeVar("T")

POLLIN, POLLOUT = 1, 4
"""Not in `select` where it is patched; the same on every system (poll.h)."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in a real thread: with a selector that waits for the system, not a hub."""
    if patched_by() is None:
        return asyncio.run(main)
    loop = new()
    try:
        return loop.run_until_complete(main)
    finally:
        close(loop)


def new() -> asyncio.AbstractEventLoop:
    """An event loop for a real thread, to be closed with `close`."""
    if patched_by() is None:
        return asyncio.new_event_loop()
    return asyncio.SelectorEventLoop(_selector())


def close(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what still runs in a loop, and close it, as `asyncio.run` does at its end."""
    try:
        for task in asyncio.all_tasks(loop):
            task.cancel()
            with contextlib.suppress(BaseException):
                loop.run_until_complete(task)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _selector() -> selectors.BaseSelector:
    if patched_by() == "eventlet":
        # Its original `selectors` is one that was imported with its own `select`.
        return PollSelector(original("select", "poll")())
    return cast("selectors.BaseSelector", original("selectors", "DefaultSelector")())


class PollSelector(selectors.BaseSelector):
    """As `selectors.PollSelector`, which eventlet removes."""

    def __init__(self, poll: select.poll) -> None:
        """Of a real `select.poll()`."""
        self._poll = poll
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        """See `selectors.BaseSelector.register`."""
        file = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = selectors.SelectorKey(fileobj, file, events, data)
        wanted = [POLLIN] * bool(events & selectors.EVENT_READ)
        wanted += [POLLOUT] * bool(events & selectors.EVENT_WRITE)
        self._poll.register(file, sum(wanted))
        self._keys[file] = key
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """See `selectors.BaseSelector.unregister`."""
        file = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._poll.unregister(file)
        return self._keys.pop(file)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """See `selectors.BaseSelector.select`."""
        # Rounded up: a timer is not to be found too early again and again.
        wait = None if timeout is None else math.ceil(max(timeout, 0.0) * 1e3)
        ready = []
        for file, found in self._poll.poll(wait):
            key = self._keys[file]
            events = selectors.EVENT_READ * bool(found & ~POLLOUT)
            events |= selectors.EVENT_WRITE * bool(found & ~POLLIN)
            ready.append((key, events & key.events))
        return ready

    def get_map(self) -> dict[int, selectors.SelectorKey]:  # type: ignore[override]
        """See `selectors.BaseSelector.get_map`."""
        return self._keys

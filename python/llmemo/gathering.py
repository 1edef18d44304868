"""What the tasks of an event loop look for in one pass: one read of the store, for them all.

Each has a future of its own, and nothing else: one operation, one timer, one wake-up there and one
message back are for the pass. As a call of its own each took half as long again.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from typing import TYPE_CHECKING, TypeAlias

from llmemo.calls import Call, Get, NotYetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmemo.stores import Record

Found: TypeAlias = "tuple[Record | None, float]"
"""What was read, if anything, and the seconds that are left of the caller's patience."""

Over: TypeAlias = "Callable[[int, Exception | None], object]"
"""Is told of how many reads a pass was that somebody still waits for, and whether it failed."""


class Pass(Call["Mapping[bytes, Record]"]):
    """The reads that begin in one pass of an event loop."""

    __slots__ = (
        "__weakref__",
        "_begun",
        "_futures",
        "_keys",
        "_make",
        "_over",
        "_patience",
        "_timer",
        "is_sent",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float, over: Over) -> None:
        """Of the running loop. `patience`: seconds until they are given up."""
        self.loop = loop
        self._over = over
        self._keys: list[bytes] = []
        self._futures: list[asyncio.Future[Found]] = []
        self.operation = Get(self._keys)
        self._patience = patience
        self._begun = time.monotonic()
        self._timer: asyncio.TimerHandle | None = loop.call_later(patience, self.expire)
        self._make = loop.create_future
        self.is_sent = False
        """Whether it is too late to join: it was sent, or given up before."""

    def join(self, key: bytes) -> asyncio.Future[Found]:
        """Read this, too."""
        future: asyncio.Future[Found] = self._make()
        self._keys.append(key)
        self._futures.append(future)
        return future

    def set(self, result: Mapping[bytes, Record] | None, error: Exception | None) -> None:
        """See `Call.set`."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self.is_sent = True
        left = 0.0
        # It may come early, and what is left then is not worth another wait.
        if not isinstance(error, NotYetError):
            left = max(0.0, self._patience - (time.monotonic() - self._begun))
        found = {} if result is None else result
        waiting = [
            pair for pair in zip(self._keys, self._futures, strict=True) if not pair[1].done()
        ]
        self._over(len(waiting), error)
        for key, future in waiting:
            future.set_result((found.get(key), left))


class _Last(threading.local):
    gathered: weakref.ref[Pass] | None = None
    """Of this thread. Weak: a loop that is closed must go."""


class Gathering:
    """Gathers the reads of each pass of each event loop."""

    def __init__(self, send: Callable[[Pass], object], over: Over, patience: float) -> None:
        """`send` is given each, once the pass is over. `patience`: seconds until it is given up."""
        self._submit = send
        self._over = over
        self._patience = patience
        self._last = _Last()

    def read(self, key: bytes) -> asyncio.Future[Found]:
        """The record of a key, for who awaits it in the running loop. Raises nothing."""
        loop = asyncio.get_running_loop()
        reference = self._last.gathered
        gathered = None if reference is None else reference()
        # (A loop that was stopped may go on in another thread, and come back.)
        if gathered is None or gathered.loop is not loop or gathered.is_sent:
            gathered = Pass(loop, self._patience, self._over)
            self._last.gathered = weakref.ref(gathered)
            loop.call_soon(self._send, gathered)
        return gathered.join(key)

    def _send(self, gathered: Pass) -> None:
        if gathered.is_sent:
            # Given up: uvloop has timers that are due before what was to be done soon.
            return
        gathered.is_sent = True
        try:
            self._submit(gathered)
        except Exception as error:  # noqa: BLE001 (the store may be closed, or find no thread)
            gathered.set(None, error)

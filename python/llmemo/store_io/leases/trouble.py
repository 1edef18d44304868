"""Trouble that a store has with leases: counted, survived, and not run into at every miss."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from llmemo.errors import text_of
from llmemo.store_io.store_opener import TROUBLE
from llmemo.stores.base import StoreRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmemo.telemetry.stats import Tally

REFUSED_PAUSE = 1.0
"""Seconds for which no lease is asked for once one was refused: a server that takes no writes
grants none, and each miss would ask it once more."""


class LeaseTrouble:
    """Counts trouble. On the private loop."""

    def __init__(self, tally: Tally, clock: Callable[[], float] = time.monotonic) -> None:
        """None so far. `clock`: monotonic time in seconds."""
        self._tally = tally
        self._clock = clock
        self._next = 0.0

    @property
    def is_refused(self) -> bool:
        """Whether the store has just refused a lease, and is not to be asked for any."""
        return self._clock() < self._next

    def note(self, verb: str, error: BaseException) -> None:
        """Count and log that the store did not grant, renew or release leases."""
        if isinstance(error, StoreRefusedError):
            self._next = self._clock() + REFUSED_PAUSE
        text = "llmemo: the store failed to %s leases: %s"
        self._tally.note("errors", "store_lease", text, verb, text_of(error))

    @contextlib.contextmanager
    def survived(self, verb: str) -> Iterator[None]:
        """Count what goes wrong with leases, and go on."""
        try:
            yield
        except TROUBLE as error:
            self.note(verb, error)

"""Adds imported answers to a store: in batches, by the store's own write path."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

from llmemo.errors import StoreError, text_of
from llmemo.store_io.calls import Call, run_inline, store_errors
from llmemo.store_io.operations import Add
from llmemo.telemetry import numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmemo.store_io.executor import Executor
    from llmemo.stores import Record

TIMEOUT = 60.0
"""Longest time the store may take for a batch, in seconds: a person is waiting."""

LAST_TIMEOUT = 1.0
"""The same for a batch that is still on its way when another has failed."""

AHEAD = 2
"""Most batches on their way to the store: it writes one while the next is made."""


class StoreWriter:
    """Adds batches of answers, and counts those that came."""

    def __init__(self, executor: Executor, when_added: Callable[[int], object]) -> None:
        """Write by this executor. `when_added`: called with the number of answers of a batch."""
        self.already = 0
        """Answers that the store had. It keeps its own."""
        self._executor = executor
        self._when_added = when_added
        self._under_way: deque[tuple[Call[int], int]] = deque()

    def send(self, records: Sequence[Record]) -> None:
        """Send a batch, of different keys. It is on its way when this returns.

        Raises:
            StoreError: A batch before it failed, or it cannot be sent.
        """
        while len(self._under_way) >= AHEAD:
            self._wait()
        call: Call[int] = Call.blocking(Add(records))
        try:
            self._executor.submit(call)
        except RuntimeError as error:  # no thread to be had
            raise StoreError(f"the store could not be started: {text_of(error)}") from error
        self._under_way.append((call, len(records)))

    def finish(self) -> None:
        """Wait until the store has everything.

        Raises:
            StoreError: It does not take it.
        """
        while self._under_way:
            self._wait()

    def give_up(self) -> None:
        """After a failure: count what is done soon all the same."""
        for call, count in self._under_way:
            with contextlib.suppress(Exception):
                self._settle(run_inline(call.wait(LAST_TIMEOUT)), count)
        self._under_way.clear()

    def _wait(self) -> None:
        call, count = self._under_way.popleft()
        some = numbers.answers(count)
        with store_errors(
            late=f"the store did not take {some} within {TIMEOUT:.0f} s: import again",
            failed="the store could not take answers",
        ):
            added = run_inline(call.wait(TIMEOUT))
        self._settle(added, count)

    def _settle(self, added: int, count: int) -> None:
        self._when_added(added)
        self.already += count - added

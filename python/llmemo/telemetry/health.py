"""The health of a cache, and the spells of trouble that it is read from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Status = Literal["ok", "degraded", "memory_only"]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a cache works as it was set up to. Model calls go on in any case."""

    status: Status
    """`ok`: it does. `degraded`: part of the store is in trouble, for now, and is tried again by
    itself. `memory_only`: the store cannot be used until it is repaired. Memory serves alone."""
    reason: str | None
    """What is wrong, in words; None if nothing is. Holds no prompt and no password."""
    since: float
    """Seconds since the status began."""


class Spell:
    """Whether something is in trouble, why, and since when. From any thread, without a lock."""

    __slots__ = ("_clock", "_state")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without trouble. `clock`: monotonic time in seconds."""
        self._clock = clock
        self._state: tuple[str | None, float] = (None, clock())

    @property
    def reason(self) -> str | None:
        """What is wrong; None if nothing is."""
        return self._state[0]

    @property
    def state(self) -> tuple[str | None, float]:
        """What is wrong, or None; and when this began, by the clock."""
        return self._state

    def begin(self, reason: str, since: float | None = None) -> None:
        """Note trouble; if there is some already, its reason. `since`: when it began, if known."""
        before, start = self._state
        if before is None:
            start = self._clock() if since is None else since
        self._state = (reason, start)

    def end(self) -> None:
        """Note that there is none, or no longer."""
        if self._state[0] is not None:
            self._state = (None, self._clock())


class Writing(Spell):
    """How a store's writes go, as the thread sees it that makes them.

    In trouble from a write that fails, or takes too long, to the next one that succeeds. A caller
    that gives up waiting may be late itself, so callers have no say here.
    """

    __slots__ = ("_started",)

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """As a spell."""
        super().__init__(clock)
        self._started: float | None = None

    def started(self) -> None:
        """Note that a write is under way."""
        self._started = self._clock()

    def stopped(self) -> None:
        """Note that none is."""
        self._started = None

    def state_within(self, patience: float) -> tuple[str | None, float]:
        """As `state`. One that takes longer than `patience` seconds is in trouble."""
        reason, since = self.state
        started, now = self._started, self._clock()
        if reason is None and started is not None and now - started > patience:
            return f"a write takes longer than {patience:.3g} s", started
        return reason, since

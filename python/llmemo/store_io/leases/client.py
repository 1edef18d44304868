"""Leases among processes, for who asks for one, and for who has one: see `stores.leases`."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from llmemo import lifecycle
from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.store_io.calls import Call
from llmemo.store_io.operations import Acquire, Follow, Release
from llmemo.stores.base import Record
from llmemo.stores.lease_store import Grant, LeaseState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from llmemo.store_io.executor import Executor

    Follower = Callable[[Call[Any], float], Coroutine[Any, Any, Any]]

RENEWED_AT = 0.25
"""Part of its time after which the next look renews a lease: at a third, at the latest."""


async def acquire(
    engine: Executor,
    make_call: Callable[..., Call[Any]],
    key: bytes,
    *,
    seconds: float,
    outcome: Callable[[Call[Any]], Coroutine[Any, Any, Any]],
    follow: Follower,
    lease_timeout: float,
) -> Grant | Record | None:
    """Who computes the answer to `key`, among all processes: see `LeaseStore`.

    `outcome` waits for the store to tell, and `follow` for another process, for so many seconds;
    both raise `NotYetError`. Waits while another has the
    lease, for `lease_timeout` seconds at most, the store's time included; not at all if that is 0.
    Whoever gets a `Grant` ends it: by `Set` with its fence, or `release`. It lasts for so many
    `seconds`, or as long as `Executor.keep_alive` says and this process lives.

    Returns None if the caller is to go on without a lease: the store has none, it is in trouble,
    too many attempts have failed, or the patience is at its end.

    Raises:
        StoreError: The engine is closed.
    """
    if not engine.has_leases:
        return None
    deadline = time.monotonic() + lease_timeout
    unclaimed = functools.partial(_give_back, engine, key)
    asking = Acquire(key, seconds, unclaimed)
    found = await _outcome(engine, make_call(asking), outcome)
    rest = deadline - time.monotonic()
    if isinstance(found, LeaseState) and rest > 0:
        following = Follow(key, seconds, unclaimed, found)
        found = await _outcome(engine, make_call(following), lambda call: follow(call, rest))
    return found if isinstance(found, (Grant, Record)) else None


def release(engine: Executor, key: bytes, fence: int, failures: int = 0) -> None:
    """End a lease without an answer; waits for nothing, and raises nothing of its own.

    Args:
        engine: Whose lease it is.
        key: Of the request.
        fence: Of the grant.
        failures: 0 if nobody failed; 1 if the model did: one other tries, and after the second
            time in a row all go on; 2 if nobody is to wait for another's answer.
    """
    # Where it cannot be done (closed; no thread to be had) the lease lapses.
    try:
        engine.submit(Call.blocking(Release(key, fence, failures)))
    except Exception as error:
        if is_interrupt(error):
            raise


async def _outcome(
    engine: Executor, call: Call[Any], outcome: Callable[[Call[Any]], Coroutine[Any, Any, Any]]
) -> Any:
    try:
        engine.submit(call)
        return await outcome(call)
    except NotYetError:
        call.abandon()
        return None
    except GeneratorExit:
        # Garbage, of a loop that was closed: `settle` finds that too. To touch the future now would
        # free the task, which would close this coroutine while it runs.
        raise
    except BaseException:
        call.abandon()
        raise


def _give_back(engine: Executor, key: bytes, outcome: object) -> None:
    if isinstance(outcome, Grant):
        release(engine, key, outcome.fence)


class HeldLease:
    """A lease that this process has."""

    __slots__ = ("fence", "is_kept", "renewed", "seconds")

    def __init__(self, fence: int, seconds: float) -> None:
        """It was granted just now."""
        self.fence = fence
        self.seconds = seconds
        self.renewed = time.monotonic()
        self.is_kept = False

    @property
    def failures(self) -> int:
        """None, if it is given back as it is."""
        return 0

    def is_due(self, now: float) -> bool:
        """Whether it is to be renewed."""
        return self.is_kept and now - self.renewed >= self.seconds * RENEWED_AT


class HeldLeases:
    """The leases of this process, whichever worker got them. From any thread, without a lock."""

    def __init__(self) -> None:
        """None yet."""
        self.is_closed = False
        self.by_key: dict[bytes, HeldLease] = {}
        lifecycle.has_lock(self)

    def after_fork_in_child(self) -> None:
        """They are the parent's."""
        self.by_key = {}

    def keep(self, key: bytes, fence: int, *, is_kept: bool) -> None:
        """Whether to renew a lease, which then goes on until it is ended."""
        hold = self.by_key.get(key)
        if hold is not None and hold.fence == fence:
            hold.is_kept = is_kept

    def drop(self, key: bytes, fence: int) -> None:
        """Have nothing more to do with a lease."""
        hold = self.by_key.get(key)
        if hold is not None and hold.fence == fence:
            self.by_key.pop(key, None)

"""Asking for a lease among processes, waiting for another process's, and ending one."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, TypeAlias

from llmemo.concurrency.blocking_future import NotYetError
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.store_io.calls import Call
from llmemo.store_io.operations import Acquire, Follow, Release
from llmemo.stores.lease_store import Grant, LeaseState
from llmemo.stores.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from llmemo.store_io.operations import Found

    Submit: TypeAlias = Callable[[Call[Any]], None]
    Wait: TypeAlias = Callable[[Call[Any]], Coroutine[Any, Any, Any]]
    Follower: TypeAlias = Callable[[Call[Any], float], Coroutine[Any, Any, Any]]


async def acquire(
    submit: Submit,
    make_call: Callable[..., Call[Any]],
    key: bytes,
    *,
    seconds: float,
    outcome: Wait,
    follow: Follower,
    lease_timeout: float,
    known: LeaseState | None = None,
) -> Grant | Record | None:
    """Ask which process computes the answer to `key`: see `LeaseStore`.

    While another process has the lease, this waits for `lease_timeout` seconds at most, including
    the time that the store takes; 0 for not at all. The receiver of a `Grant` ends it, by `Set`
    with its fence or by `release`.

    Args:
        submit: Sends a call to the store.
        make_call: Makes a call of the caller's kind from an operation.
        key: Of the request.
        seconds: For which the lease lasts, unless it is kept (`HeldLeases.keep`).
        outcome: Waits for the store's answer.
        follow: Waits for another process's answer, for N seconds.
        lease_timeout: See above.
        known: The state of another process's lease, if the caller has just seen it.

    Returns:
        None if the caller is to go on without a lease: the store is in trouble, too many attempts
        have failed, or the time is over.

    Raises:
        StoreError: The store is closed.
    """
    deadline = time.monotonic() + lease_timeout
    unclaimed = functools.partial(give_back, submit, key)
    found: Any = known
    if known is None:
        asking = Acquire(key, seconds, unclaimed)
        found = await _outcome(submit, make_call(asking), outcome)
    rest = deadline - time.monotonic()
    if isinstance(found, LeaseState) and rest > 0:
        following = Follow(key, seconds, unclaimed, found)
        found = await _outcome(submit, make_call(following), lambda call: follow(call, rest))
    return found if isinstance(found, (Grant, Record)) else None


def release(submit: Submit, key: bytes, fence: int, failures: int = 0) -> None:
    """End a lease without an answer; waits for nothing, and raises nothing of its own.

    Args:
        submit: Sends a call to the store.
        key: Of the request.
        fence: Of the grant.
        failures: 0 for no failure; 1 if the model failed: one waiter tries, and after the second
            failure in a row all go on; 2 if no process is to wait for another's answer.
    """
    # Where it cannot be done (closed; no thread to be had) the lease lapses.
    try:
        submit(Call.blocking(Release(key, fence, failures)))
    except Exception as error:
        if is_interrupt(error):
            raise


def give_back(submit: Submit, key: bytes, outcome: object) -> None:
    """End the lease that a caller was given and does not use, if it was."""
    if isinstance(outcome, Grant):
        release(submit, key, outcome.fence)


def give_back_all(submit: Submit, found: Found | None) -> None:
    """The same of all leases that came with a read, and that no caller has taken."""
    for key, lease in () if found is None else found.leases.items():
        give_back(submit, key, lease)


async def _outcome(submit: Submit, call: Call[Any], outcome: Wait) -> Any:
    try:
        submit(call)
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

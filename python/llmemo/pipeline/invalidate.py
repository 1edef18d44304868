"""Removing answers from every tier: `delete`, `clear` and `invalidate`."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

from llmemo.config.validation import check_seconds
from llmemo.errors import CacheClosedError, ConfigurationError
from llmemo.store_io.calls import Call, store_errors
from llmemo.store_io.operations import Delete, Invalidate, forget
from llmemo.stores.records import Selection

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from llmemo._core import Memory
    from llmemo.pipeline.tiers import Tiers
    from llmemo.store_io.operations import Operation

TIMEOUT = 30.0
"""Longest time a removal waits for the store, in seconds."""

SWEEP_TIMEOUT = 600.0
"""The same where the store looks at each of its records: about 20 s for a million."""

SWEPT_AT_ONCE = 256
"""Most entries that are looked through in the thread of an event loop: each may have a model of its
own, which takes some microseconds to name."""


async def remove(tiers: Tiers, key: bytes | None, make_call: Callable[..., Call[int]]) -> bool:
    """Remove one entry, or every entry, from every tier. Returns whether there was any."""
    delete = Delete(None if key is None else [key])
    found, removed = await _remove(tiers, delete, make_call, TIMEOUT)
    return bool(found or removed)


async def invalidate(
    tiers: Tiers,
    namespace: str | None,
    llm_string: str | None,
    older_than: float | timedelta | None,
    make_call: Callable[..., Call[int]],
) -> int:
    """Remove what matches from every tier; see `LLMCache.invalidate`."""
    if namespace is None and llm_string is None and older_than is None:
        msg = (
            "invalidate() needs namespace=, llm_string= or older_than=: clear() removes everything"
        )
        raise ConfigurationError(msg)
    for name, text in (("namespace", namespace), ("llm_string", llm_string)):
        if text is not None and not isinstance(text, str):
            # Not its value: an llm_string may hold tokens.
            msg = f"{name} is not a str but of type {type(text).__name__}"
            raise ConfigurationError(msg)
    if older_than is not None:
        older_than = check_seconds("older_than", older_than)
    selection = Selection(
        None if namespace is None else tiers.memory.label(namespace),
        None if llm_string is None else tiers.memory.llm_label(llm_string),
        None if older_than is None else tiers.clock() - older_than,
    )
    operation = Invalidate(selection)
    found, removed = await _remove(tiers, operation, make_call, SWEEP_TIMEOUT)
    return found if removed is None else removed


async def _begun(
    tiers: Tiers, operation: Operation, make_call: Callable[..., Call[int]]
) -> tuple[int, Call[int] | None]:
    """Remove from memory, and send the operation to the store, after the large answers before it.

    Returns how many entries memory had, and the call.
    """
    has_to_wait = bool(tiers.large_writes.jobs)
    if make_call != Call.awaited:
        work = functools.partial(_begin, tiers, operation, make_call)
        return tiers.large_writes.wait(work) if has_to_wait else work()
    if not has_to_wait and not (isinstance(operation, Invalidate) and _is_long(tiers.memory)):
        return _begin(tiers, operation, make_call)
    make_call = functools.partial(Call[int], loop=asyncio.get_running_loop())
    work = functools.partial(_begin, tiers, operation, make_call, at_once=True)
    return await tiers.large_writes.run(work)


def _begin(
    tiers: Tiers,
    operation: Operation,
    make_call: Callable[..., Call[int]],
    *,
    at_once: bool = False,
) -> tuple[int, Call[int] | None]:
    found = forget(tiers.memory, operation)
    tiers.recent_misses.forget(operation.keys if isinstance(operation, Delete) else None)
    if tiers.semantic is not None and isinstance(operation, Delete):
        # Of what `Invalidate` removes, the vectors go when they are met.
        tiers.semantic.forget(operation.keys)
    if tiers.executor is None:
        return found, None
    call = make_call(operation)
    tiers.executor.submit(call, at_once=at_once)
    return found, call


def _is_long(memory: Memory) -> bool:
    return memory.counts().entries > SWEPT_AT_ONCE


async def _remove(
    tiers: Tiers, operation: Operation, make_call: Callable[..., Call[int]], timeout: float
) -> tuple[int, int | None]:
    """Remove entries. Returns how many memory had, and how many the store removed, if any."""
    if tiers.is_closed:
        msg = "the cache is closed: nothing can be removed from it any more"
        raise CacheClosedError(msg)
    with store_errors(
        late=f"the store did not confirm the removal within {timeout:.0f} s",
        failed="the store could not remove anything",
    ):
        found, call = await _begun(tiers, operation, make_call)
        return found, None if call is None else await call.wait(timeout)

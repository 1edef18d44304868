"""Removals by a command: through the store itself, so that running services forget, too."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import time
from typing import TYPE_CHECKING, TypeVar

from llmemo.errors import StoreError, text_of
from llmemo.stores.base import StoreUnavailableError, StoreUnusableError
from llmemo.stores.records import Selection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping

    from llmemo.inspection.entries import View
    from llmemo.stores.base import Store

T = TypeVar("T")
StoreT = TypeVar("StoreT", bound="Store")

KEYS_AT_ONCE, BYTES_AT_ONCE = 256, 2**22
"""What one transaction removes at most, unless one entry is larger: some milliseconds' work."""

REST_MAX = 0.03
"""Longest pause between two transactions, in seconds, in which services write."""

ATTEMPTS = 5
"""Times that a step is tried while another process is in the way; each waits some seconds."""

TIMEOUT = 5.0
"""Seconds for an exchange with a server."""


def remove_keys(view: View, sizes: Mapping[bytes, int]) -> int:
    """Remove the entries of these keys, each with its bytes. Returns how many there were.

    Raises:
        StoreError: The store could not do it; part of it may be done.
    """

    async def work(store: Store) -> int:
        removed = 0
        for some in _steps(sizes):
            begun = time.monotonic()
            removed += await patiently(functools.partial(store.delete, some))
            await asyncio.sleep(min(time.monotonic() - begun, REST_MAX))
        return removed

    return run(view.writable(), work)


def _steps(sizes: Mapping[bytes, int]) -> Iterator[list[bytes]]:
    """The keys, as many at a time as one transaction removes."""
    some: list[bytes] = []
    total = 0
    for key, size in sizes.items():
        if some and (len(some) == KEYS_AT_ONCE or total + size > BYTES_AT_ONCE):
            yield some
            some, total = [], 0
        some.append(key)
        total += size
    if some:
        yield some


def remove_all(view: View) -> int:
    """Remove all entries that there are. Returns how many. Raises as `remove_keys`.

    In steps, unlike `Store.delete(None)`: services write in between.
    """
    return remove_matching(view, None, None)


def remove_matching(view: View, namespace: bytes | None, before: float | None) -> int:
    """Remove the entries of a namespace (its digest), made before a time (Unix, in seconds).

    Returns how many there were. Raises as `remove_keys`.
    """
    selection = Selection(namespace, None, before)

    async def work(store: Store) -> int:
        while True:
            removed = await patiently(functools.partial(store.invalidate, selection))
            if removed is not None:
                return removed

    return run(view.writable(), work)


def run(store: StoreT, work: Callable[[StoreT], Coroutine[None, None, T]]) -> T:
    """Open a store, do something with it, and close it.

    Raises:
        StoreError: The store cannot do it.
    """
    store.timeout = TIMEOUT
    try:
        return asyncio.run(_run(store, work))
    except StoreError:
        raise
    except (StoreUnavailableError, StoreUnusableError) as error:
        raise StoreError(str(error)) from error
    except sqlite3.Error as error:
        msg = f"the file cannot be used: {error}"
        raise StoreError(msg) from error
    except Exception as error:
        raise StoreError(text_of(error)) from error


async def _run(store: StoreT, work: Callable[[StoreT], Coroutine[None, None, T]]) -> T:
    await patiently(store.open)
    try:
        return await work(store)
    finally:
        await store.close()


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Do something as often as it takes while another process is in the way."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await work()
        except StoreUnavailableError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError

"""One lock for all processes that use a file, held around all that writes to it.

SQLite's own lock is not fair: of four processes that commit back to back one may get nothing for
seconds (docs/decisions/fair-writers.md). Besides, SQLite 3.7.0 to 3.51.2 may corrupt a database in
WAL mode when one connection resets the WAL in a checkpoint while another commits ("WAL-reset bug",
fixed in 3.51.3, 3.50.7 and 3.44.6: sqlite.org/wal.html). So what commits or may checkpoint holds
this lock: closing the last connection, too. It also serves to set a damaged file aside only once.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from llmemo import lifecycle
from llmemo.concurrency import unpatched
from llmemo.stores.base import StoreUnavailableError
from llmemo.stores.sqlite.lock_queue import has_queue, try_to_lock, unlock, wait_for_lock
from llmemo.stores.sqlite.process_lock_file import open_lock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FIRST_PAUSE = 0.0005
"""Seconds before the second attempt to take the lock; each pause is twice the one before."""

PATIENCE = 0.005
"""Seconds of such attempts, after which it is time for the queue. Most locks are free before: a
commit takes a tenth of a millisecond, and a place in the queue a change of threads."""

PASS_AFTER = 0.1
"""Seconds in the queue after which a lock that is free is taken past it: the process at its head
was stopped, or is not let run."""

PASS_FOR = 1.0
"""Seconds for which the queue is not asked after that."""


class FileLock:
    """An advisory lock on a file of its own beside the database: `cache.db-lock`.

    Of its own since a process that closes a database file by any descriptor loses SQLite's locks
    on it (sqlite.org/howtocorrupt.html, 2.2). It is never removed; if another program does that, it
    is made again: a lock on a file that is gone keeps no process out.

    All of it runs on one event loop. Not reentrant.
    """

    def __init__(self, path: Path, timeout: float) -> None:
        """For the database at `path`; `timeout`: seconds to wait for other processes."""
        self._database, self._path, self._name = str(path), f"{path}-lock", f"{path.name}-lock"
        self._timeout = timeout
        self.file: int | None = None
        """A descriptor of it, while it is open."""
        self._identity: tuple[int, ...] = ()
        self._waiter: LockWaiter | None = None
        self._passes_until = -math.inf
        self.is_held = False
        """Whether this store holds it."""
        lifecycle.has_lock(self)

    def try_hold(self) -> bool:
        """Take it, if that waits for nothing, and no other process has waited for long.

        Returns whether it is held now: then `release` it.
        """
        file = self.file
        if file is None or self.is_held or self._has_queue(file) or not try_to_lock(file):
            return False
        if not self._is_there():
            unlock(file)
            return False
        self.is_held = True
        return True

    def release(self) -> None:
        """Let go of it."""
        self.is_held = False
        if self.file is not None:
            unlock(self.file)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Held by this store, and no other, in any process.

        Raises:
            StoreUnavailableError: Another process holds it for too long.
            OSError: It cannot be had: see `open_lock`.
        """
        if not self.try_hold():
            await self._take()
        try:
            yield
        finally:
            self.release()

    async def open(self) -> int:
        """Open the file, unless it is open, and still has its name. Returns a descriptor.

        Raises:
            OSError: It cannot be had: see `open_lock`.
        """
        if self.file is not None and not self._is_there():
            self.close()
        if self.file is None:
            self.file = await open_lock(self._path, self._database)
            self._identity = os.fstat(self.file)[1:3]
        return self.file

    def is_open(self) -> bool:
        """Whether it is open, and still has its name."""
        return self.file is not None and self._is_there()

    async def _take(self) -> None:
        while True:
            file = await self.open()
            await self._wait(file)
            if self._is_there():
                break
            self.close()
        self.is_held = True

    async def _wait(self, file: int) -> None:
        begun, pause = time.monotonic(), FIRST_PAUSE
        while not self._has_queue(file):
            if try_to_lock(file):
                return
            rest = begun + min(PATIENCE, self._timeout) - time.monotonic()
            if rest <= 0:
                break
            await asyncio.sleep(min(pause, rest))
            pause *= 2
        await self._queue(file, begun + self._timeout)

    async def _queue(self, file: int, deadline: float) -> None:
        waiter = self._waiter
        if waiter is None or waiter.is_over:
            # With a lock of its own: that of `file` may be taken past the queue meanwhile.
            waiter = LockWaiter(await open_lock(self._path, self._database))
            self._waiter = waiter
        # Or it waits since an earlier call gave up, and has its place in the queue.
        while True:
            rest = deadline - time.monotonic()
            lock = await waiter.lock_within(min(rest, PASS_AFTER))
            if lock is not None:
                break
            if try_to_lock(file):
                self._passes_until = time.monotonic() + PASS_FOR
                return
            if rest <= PASS_AFTER:
                msg = f"another process holds {self._name!r}"
                raise StoreUnavailableError(msg)
        self._waiter, self.file = None, lock
        self._identity = os.fstat(lock)[1:3]
        os.close(file)

    def _has_queue(self, file: int) -> bool:
        """Whether this store is not to try: others have waited for longer, or itself has."""
        if time.monotonic() < self._passes_until:
            return False
        return (self._waiter is not None and not self._waiter.is_over) or has_queue(file)

    def _is_there(self) -> bool:
        try:
            return os.lstat(self._path)[1:3] == self._identity
        except FileNotFoundError:
            return False
        except OSError:
            return True  # as far as one can tell

    def close(self) -> None:
        """Let go of the file."""
        waiter, self._waiter = self._waiter, None
        file, self.file = self.file, None
        self.is_held = False
        if waiter is not None:
            waiter.abandon()
        if file is not None:
            os.close(file)

    def after_fork_in_child(self) -> None:
        """Close the copies, which would hold the lock if the parent were killed."""
        self._waiter = None
        self.close()


class LockWaiter:
    """A thread that waits for a lock, which an event loop cannot do.

    It cannot be interrupted: a lock that comes after the caller has left is given back at once.
    """

    def __init__(self, file: int) -> None:
        """Begin to wait. `file`: a descriptor of the waiter's own, with its own lock.

        Raises:
            StoreUnavailableError: There is no thread to be had.
        """
        self.is_over = False
        """Whether it waits no more, and has nothing to hand over."""
        self._loop = asyncio.get_running_loop()
        self._lock: asyncio.Future[int] = self._loop.create_future()
        self._is_awaited = False
        self._file = file
        self._mutex = unpatched.RLock()
        self._is_abandoned = self._is_done = False
        lifecycle.has_lock(self)
        try:
            unpatched.thread(self._main, "llmemo-lock").start()
        except RuntimeError as error:
            self._let_go()
            msg = f"no thread can wait for its lock: {error}"
            raise StoreUnavailableError(msg) from error

    async def lock_within(self, timeout: float) -> int | None:
        """Wait, for `timeout` seconds at most. Returns the descriptor, once it has the lock.

        Raises:
            OSError: The lock cannot be had.
        """
        self._is_awaited = True
        try:
            await asyncio.wait([self._lock], timeout=max(0.0, timeout))
        finally:
            self._is_awaited = False
        return self._lock.result() if self._lock.done() else None

    def abandon(self) -> None:
        """Have the lock given back when it comes."""
        with self._mutex:
            self._is_abandoned = self.is_over = True
            if self._is_done:
                self._give_back()

    def after_fork_in_child(self) -> None:
        """Close the copy, which would keep the lock, or the place, if the parent were killed."""
        self._let_go()

    def _let_go(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _main(self) -> None:
        error = None
        try:
            wait_for_lock(self._file)
        except OSError as failed:
            error = failed
        with self._mutex:
            self._is_done = True
            if self._is_abandoned:
                self._give_back()
                return
        try:
            self._loop.call_soon_threadsafe(self._hand_over, error)
        except RuntimeError:  # it has closed
            self.abandon()

    def _hand_over(self, error: OSError | None) -> None:
        with self._mutex:
            if self._is_abandoned:
                return
            if not self._is_awaited:
                self.abandon()
                return
            self.is_over = True
            if error is None:
                file, self._file = self._file, -1
                self._lock.set_result(file)
                return
            self._let_go()
        self._lock.set_exception(error)

    def _give_back(self) -> None:
        if self._file >= 0:
            unlock(self._file)
            self._let_go()

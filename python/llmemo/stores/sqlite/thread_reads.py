"""Reads in the threads of callers that block, each with a connection of its own."""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING

from llmemo import _core, lifecycle
from llmemo.concurrency.monkey_patching import patched_by
from llmemo.stores.sqlite.fast_reads import FastReader
from llmemo.stores.sqlite.inherited_files import inherit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmemo.stores.records import Record
    from llmemo.stores.sqlite.fast_reads import Rest

READERS_MAX = 32
"""Threads that have a connection; the others ask the private thread. Each takes two descriptors."""

READ_WAIT = 0.25
"""Seconds for which `close` waits for reads that are under way: they take microseconds. The private
thread does nothing else meanwhile."""

READ_PAUSE = 0.001
"""Seconds between two looks at them."""


class _OwnReader(threading.local):
    """The reader of one thread."""

    reader: FastReader | None = None


class ThreadReaders:
    """Connections of threads that read for themselves: a change of threads takes longer.

    Such a caller has no timer, so it does only what `FastReader` does: it waits for no lock. After
    a read that took long no thread reads here for a while (`Rest`). `open`, `close` and
    `after_fork_in_child` are for the private thread, `get` is for any.
    """

    def __init__(self, rest: Rest) -> None:
        """Nothing is open yet."""
        self._rest = rest
        self._path: Path | None = None
        self._opening: object = None
        """Another one each time that the file is opened: what was connected before is not used."""
        self._identity: object = None
        self._own = _OwnReader()
        self._all: weakref.WeakSet[FastReader] = weakref.WeakSet()
        lifecycle.has_lock(self)

    def open(self, path: Path, identity: object) -> None:
        """Have threads read this file from now on; each connects when it first does."""
        self.close()
        self._identity, self._opening = identity, object()
        self._path = path

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Record] | None:
        """The records of those keys that there are; None if that takes longer, or is not open."""
        if self._path is None or patched_by() is not None:
            return None
        reader = self._own.reader
        if reader is None:
            if len(self._all) >= READERS_MAX:
                return None
            reader = self._own.reader = FastReader(self._rest)
            self._all.add(reader)
        try:
            # In this order, and in the other one in `close`: one of both sees the other.
            reader.is_reading = True
            path, opening = self._path, self._opening
            if path is None:
                return None
            if reader.opening is not opening:
                reader.close()
                reader.opening = opening
            reader.hold(path)
            found = reader.get(keys)
        except BaseException:
            # A signal handler's, whose traceback would keep the read open, and so an old view.
            reader.close()
            raise
        else:
            # Held up for so long, it may have read what is not there any more.
            return found if self._opening is opening else None
        finally:
            if self._path is None or reader.opening is not self._opening:
                reader.close()
            reader.is_reading = False

    def close(self) -> None:
        """Close all connections, but for one that is held up: its own thread closes that."""
        self._path = self._opening = None
        end = time.monotonic() + READ_WAIT
        for reader in list(self._all):
            while reader.is_reading and time.monotonic() < end:
                time.sleep(READ_PAUSE)
            if not reader.is_reading:
                reader.close()

    def after_fork_in_child(self) -> None:
        """Give up what a fork has copied in the middle of a read."""
        left = [reader.forget() for reader in list(self._all)]
        if any(one is not None for one in left):
            inherit(self._identity)
            _core.leak(left)
        self._path = self._opening = None
        self._own, self._all = _OwnReader(), weakref.WeakSet()

"""What has to happen when the process ends, or forks, while caches are open."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmemo.engine import Engine

EXIT_TIMEOUT = 5.0
"""Seconds that a cache which nobody closed may take to write its queue at interpreter exit."""

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_lock = threading.Lock()
_watcher: threading.Thread | None = None


def register(engine: Engine) -> None:
    """Have an engine told of forks and of the end."""
    with _lock:
        _engines.add(engine)


def watch_exit() -> None:
    """See to it that engines which are running rest when the main thread has ended.

    `atexit` comes too late: the interpreter first joins all threads that are not daemons, and
    aiosqlite's are not, so that a connection nobody closed would keep the process alive for
    ever. A thread of our own that waits for the main thread is told in time, on every Python.
    """
    global _watcher  # noqa: PLW0603 (one per process)
    with _lock:
        if _watcher is None or not _watcher.is_alive():
            _watcher = threading.Thread(target=_wait_for_exit, name="llmemo-exit", daemon=False)
            _watcher.start()


def _wait_for_exit() -> None:
    global _watcher  # noqa: PLW0603
    threading.main_thread().join()
    with _lock:
        # Threads other than the main one may go on using a cache: that starts a new watcher.
        _watcher = None
        engines = list(_engines)
    for engine in engines:
        engine.rest(EXIT_TIMEOUT)


_forking: list[Engine] = []


def _before_fork() -> None:
    with _lock:
        _forking[:] = _engines
    for engine in _forking:
        engine.before_fork()


def _after_fork_in_parent() -> None:
    while _forking:
        _forking.pop().after_fork_in_parent()


def _after_fork_in_child() -> None:
    global _lock, _watcher
    _lock, _watcher = threading.Lock(), None
    while _forking:
        _forking.pop().after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )

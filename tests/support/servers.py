"""What tests of servers share: programs, ports, patience, and a connection for looking in."""

from __future__ import annotations

import os
import random
import shutil
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

MUST_RUN = bool(os.environ.get("CI") or os.environ.get("LLMEMO_NEEDS_SERVERS"))
"""Whether a test without a server fails, instead of being skipped."""

START_SECONDS = 30.0
PORTS = range(20_000, 32_000)
"""Below those that the system gives to clients: a port is still free when its server restarts."""

_dice = random.Random(os.urandom(8))


def missing(reason: str) -> None:
    """Skip the test, or fail it where servers must be there."""
    if MUST_RUN:
        pytest.fail(f"{reason}; CI or LLMEMO_NEEDS_SERVERS is set", pytrace=False)
    pytest.skip(reason)


def program(name: str) -> str:
    """Path of a program that the tests need; the test is skipped where it is missing."""
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is not installed (Debian: apt-get install redis-server redis-sentinel)")
    return str(path)


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on."""
    for port in _dice.sample(PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise AssertionError("no port is free")


def wait_until(is_so: Callable[[], Any], what: str, seconds: float = START_SECONDS) -> None:
    """Ask again every few milliseconds until it is so. Connection errors count as "not yet"."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        with suppress(OSError, EOFError):
            if is_so():
                return
        time.sleep(0.005)
    raise AssertionError(f"{what}: not within {seconds:g} s")


class Replies:
    """A connection that sends one command at a time, for tests to look at a server themselves."""

    def __init__(self, port: int, database: int = 0, seconds: float = START_SECONDS) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), seconds)
        self._file = self._socket.makefile("rb")
        if database:
            self("SELECT", database)

    def __call__(self, *words: object) -> Any:
        """The reply to a command: text as bytes.

        Raises:
            ReplyError: The server answered with an error.
        """
        parts = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        lines = [b"*%d\r\n" % len(parts), *(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)]
        self._socket.sendall(b"".join(lines))
        return self._reply()

    def _reply(self) -> Any:
        line = self._file.readline()
        if not line:
            raise EOFError
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise ReplyError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self._reply() for _ in range(int(rest))]
        return rest

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ReplyError(OSError):
    """A server's error reply: while it starts (LOADING, CLUSTERDOWN), it counts as "not yet"."""

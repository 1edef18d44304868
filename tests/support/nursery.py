"""Processes that start at once: forked from one that has done their imports, which take seconds.

For tests of what processes do. How a process begins is not to be tested with these: that takes an
interpreter of its own, as `doubles.run` gives if it is told so, and gives all in a soak. They end
as any other does: what they run is the rest of their main module.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from typing import TYPE_CHECKING, Any

from support import TESTS
from support.doubles import LIMIT, PYTHON

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVER = """
import asyncio, gc, json, logging, multiprocessing, os, socket, struct, sys, types
import aiosqlite, langchain_core.outputs, langchain_core.language_models.fake_chat_models

link = socket.socket(fileno=int(sys.argv[1]))
gc.collect()
# The children are not to copy what they share, nor to finalize it at their ends: that takes most of
# a second. What follows is finalized: it is what the tests are about.
gc.freeze()
sys.path.insert(0, sys.argv[2])
from support import flight_worker
import llmemo.store_io.executor, llmemo.store_io.leases.client, llmemo.stores.sqlite
while True:
    head, files, *_ = socket.recv_fds(link, 4, 3)
    if not head:
        os._exit(0)
    asked = json.loads(link.recv(*struct.unpack("!I", head), socket.MSG_WAITALL))
    if "pid" in asked:
        answer = os.waitstatus_to_exitcode(os.waitpid(asked["pid"], 0)[1])
    elif not (answer := os.fork()):
        break
    for file in files:
        os.close(file)
    link.sendall(struct.pack("!q", answer))

link.close()
if asked["is_leader"]:
    os.setsid()
for number, file in enumerate(files):
    os.dup2(file, number)
    os.close(file)
sys.argv = ["-c", *asked["arguments"]]
program = compile(asked["program"], "program", "exec")
main = types.ModuleType("__main__")  # Another than this one, which is frozen.
sys.modules["__main__"] = main
exec(program, vars(main))
"""


class _Nursery:
    def __init__(self, python: Sequence[str]) -> None:
        self._link, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            # It ends when this process does, and with it the link.
            atexit.register(self._end)
            self._server = subprocess.Popen(
                [*python, "-c", SERVER, str(theirs.fileno()), str(TESTS)],
                pass_fds=[theirs.fileno()],
            )

    def _end(self) -> None:
        self._link.close()
        self._server.wait(LIMIT)

    def ask(self, files: list[int], **asked: Any) -> int:
        message = json.dumps(asked).encode()
        with self._lock:
            socket.send_fds(self._link, [struct.pack("!I", len(message))], files)
            self._link.sendall(message)
            answer = self._link.recv(8, socket.MSG_WAITALL)
        return int(struct.unpack("!q", answer)[0])


_nursery = functools.cache(_Nursery)


def run(
    python: tuple[str, ...], program: str, arguments: Sequence[str], timeout: float
) -> tuple[str, str, int | None]:
    """What a program printed, what it complained of, and its exit code; None if it did not end.

    It is then killed, with the processes that it has forked.
    """
    nursery = _nursery(python)
    source, sink = os.pipe()
    with (
        open(source) as printed,  # noqa: PTH123 (no path)
        tempfile.TemporaryFile("w+") as noise,
        open(os.devnull) as nothing,  # noqa: PTH123 (it need not be one)
    ):
        files = [nothing.fileno(), sink, noise.fileno()]
        pid = nursery.ask(files, program=program, arguments=arguments, is_leader=True)
        os.close(sink)
        hangs = threading.Event()

        def end() -> None:
            hangs.set()
            os.killpg(pid, signal.SIGKILL)

        timer = threading.Timer(timeout, end)
        timer.start()
        try:
            said = printed.read()
            code = nursery.ask([], pid=pid)
        finally:
            timer.cancel()
            timer.join()
        noise.seek(0)
        return said, noise.read(), None if hangs.is_set() else code


class Child:
    """What is used here of a `subprocess.Popen` of `python -c program arguments…`, with pipes."""

    def __init__(self, program: str, *arguments: object) -> None:
        (read, self_write), (self_read, write) = os.pipe(), os.pipe()
        words = list(map(str, arguments))
        self.pid = _nursery(PYTHON).ask(
            [read, write], program=program, arguments=words, is_leader=False
        )
        os.close(read)
        os.close(write)
        self.stdin, self.stdout = os.fdopen(self_write, "w"), os.fdopen(self_read)
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 10 * LIMIT) -> tuple[str, None]:
        """What it has yet to say until its end. Should that take too long, it is killed."""
        if self.returncode is not None:
            return "", None
        self.stdin.close()
        end = threading.Timer(timeout, self.kill)
        end.start()
        try:
            printed = self.stdout.read()
            self.returncode = _nursery(PYTHON).ask([], pid=self.pid)
        finally:
            end.cancel()
            end.join()
        self.stdout.close()
        return printed, None

"""Real servers for tests: redis-server (or valkey-server) on 127.0.0.1, without persistence.

They start when a test asks for one, and none outlives the process that started it.
"""

from __future__ import annotations

import atexit
import mmap
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from support.servers import Replies, free_port, program, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

BINARY = os.environ.get("LLMEMO_REDIS_SERVER", "redis-server")
"""The server's program: `make soak` names valkey-server where there is one."""

DATABASES = 64

_running: set[Server] = set()


@cache
def frozen_time_library() -> Path:
    """The library that replaces a server's clock, compiled once a process."""
    folder = Path(tempfile.mkdtemp(prefix="llmemo-clock-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = folder / "frozen_time.so"
    source = Path(__file__).with_name("frozen_time.c")
    subprocess.run([program("cc"), "-shared", "-fPIC", "-O1", "-o", made, source], check=True)
    return made


class Server:
    """One server. As a context manager it is stopped at the end; otherwise with the process.

    `options` are lines of redis.conf (`maxmemory="8mb"`, `tls_port=…`), `password` that of the
    default user. With `frozen` the server's time stands still at `now`.
    """

    def __init__(
        self,
        *,
        frozen: bool = False,
        password: str | None = None,
        words: tuple[str, ...] = (),
        folder: Path | None = None,
        **options: object,
    ) -> None:
        self.password = password
        self.folder = folder or Path(tempfile.mkdtemp(prefix="llmemo-redis-"))
        self.port = free_port()
        self._words, self._options, self._database = words, options, 0
        self._environment = dict(os.environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._clock: mmap.mmap | None = None
        self._urls: dict[object, str] = {}
        if frozen:
            self._clock = self._stop_the_clock()
        self.start()

    def _stop_the_clock(self) -> mmap.mmap:
        path = self.folder / "time"
        path.write_bytes(struct.pack("<q", 1_800_000_000_000_000))
        self._environment |= {
            "LD_PRELOAD": str(frozen_time_library()),
            "FROZEN_TIME": str(path),
        }
        with path.open("r+b") as file:
            return mmap.mmap(file.fileno(), 8)

    @property
    def now(self) -> float:
        """Unix time in seconds, by the frozen clock of the server."""
        assert self._clock is not None, "only with frozen=True"
        return float(struct.unpack("<q", self._clock[:])[0]) / 1e6

    @now.setter
    def now(self, seconds: float) -> None:
        assert self._clock is not None, "only with frozen=True"
        self._clock[:] = struct.pack("<q", round(seconds * 1e6))

    def command_line(self) -> list[str]:
        """What starts it: settings for tests first, then those that were given."""
        settings: Mapping[str, object] = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "loglevel": "warning",
            "logfile": self.folder / "log",
            "databases": DATABASES,
            **({"requirepass": self.password} if self.password else {}),
            **{name.replace("_", "-"): value for name, value in self._options.items()},
        }
        made = [program(BINARY), *self._words]
        for name, value in settings.items():
            made += [f"--{name}", *(value if isinstance(value, (list, tuple)) else [str(value)])]
        # Killed when this process ends, however that happens (or the thread that started it).
        setpriv = shutil.which("setpriv")
        if setpriv and sys.platform == "linux" and _is_main_thread():
            made[:0] = [setpriv, "--pdeathsig", "KILL"]
        return made

    def start(self) -> None:
        """Start it on its port, empty; return when it answers."""
        assert self._process is None
        self._process = subprocess.Popen(
            self.command_line(),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _running.add(self)
        wait_until(self._answers, f"a server on port {self.port}, {self._log()}")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the server ended at once, {self._log()}")
        with socket.create_connection(("127.0.0.1", self.port), 1) as one:
            one.settimeout(1)
            one.sendall(b"PING\r\n")
            # An error is an answer too: of one that wants a password.
            return one.recv(100)[:5] in (b"+PONG", b"-NOAU")

    def _log(self) -> str:
        path = self.folder / "log"
        return f"which says {path.read_text()!r}" if path.exists() else "which says nothing"

    def kill(self) -> None:
        """End it as `kill -9` does: all that it had is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        _running.discard(self)

    def restart(self) -> None:
        """Kill it and start it again, empty, on the same port."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Have it answer nothing; the system still accepts connections for it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on after `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, and remove its folder."""
        self.kill()
        if self._clock is not None:
            self._clock.close()
            self._clock = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: int = 0, **query: object) -> str:
        """A URL of one of its databases; with the password, if there is one."""
        user = f":{self.password}@" if self.password else ""
        words = "&".join(f"{name}={value}" for name, value in query.items())
        return f"redis://{user}127.0.0.1:{self.port}/{database}" + (f"?{words}" if words else "")

    def fresh_url(self, owner: object = None) -> str:
        """A URL of a database that is empty, the same one for the same owner (if it is not None).

        There are 64: what was given out 64 calls ago is emptied.
        """
        if owner is not None and owner in self._urls:
            return self._urls[owner]
        self._database = (self._database + 1) % DATABASES
        with self.ask(self._database) as ask:
            ask("FLUSHDB", "SYNC")
        made = self.url(self._database)
        self._urls = {one: url for one, url in self._urls.items() if url != made}
        if owner is not None:
            self._urls[owner] = made
        return made

    def ask(self, database: int = 0) -> Replies:
        """A connection for commands of the test's own: `with server.ask() as ask: ask("PING")`."""
        made = Replies(self.port, 0)
        if self.password:
            made("AUTH", self.password)
        if database:
            made("SELECT", database)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


_SHARED: dict[bool, Server] = {}


def shared(*, frozen: bool = False) -> Server:
    """The server that the tests of this process share, started by the first; or skip the test."""
    if frozen not in _SHARED:
        _SHARED[frozen] = Server(frozen=frozen)
    return _SHARED[frozen]


def _stop_all(pid: int) -> None:
    if pid == os.getpid():  # not in a fork
        for server in list(_running):
            server.stop()


atexit.register(_stop_all, os.getpid())

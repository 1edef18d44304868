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
from urllib.parse import quote

from support.servers import Replies, free_port, program, wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

    from support.certificates import Certificates

BINARY = os.environ.get("LLMEMO_REDIS_SERVER", "redis-server")
"""The server's program: `make soak` names valkey-server where there is one."""

DATABASES = 64
NOW = 1_800_000_000.0
"""Unix time in seconds where a frozen clock begins."""

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

    `options` are lines of redis.conf (`maxmemory="8mb"`, `replicaof=("127.0.0.1", 6379)`),
    `password` is that of the default user. `frozen`: the server's time stands still, at `now`.
    `tls`: it speaks TLS too, on `tls_port`, with `certificates`.
    """

    def __init__(
        self,
        *,
        frozen: bool = False,
        password: str | None = None,
        tls: bool = False,
        sentinel_conf: str | None = None,
        **options: object,
    ) -> None:
        self.password = password
        self.folder = Path(tempfile.mkdtemp(prefix="llmemo-redis-"))
        self._sentinel_conf = sentinel_conf
        self.port = free_port()
        self._options, self._database = options, 0
        self._environment = dict(os.environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._clock: mmap.mmap | None = None
        self._urls: dict[object, str] = {}
        self.certificates: Certificates | None = None
        if tls:
            from support.certificates import make_certificates  # which takes 0.1 s to import

            self.certificates, self.tls_port = make_certificates(self.folder), free_port()
        if frozen:
            self._clock = self._stop_the_clock()
        self.start()

    def _stop_the_clock(self) -> mmap.mmap:
        path = self.folder / "time"
        path.write_bytes(struct.pack("<q", round(NOW * 1e6)))
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

    def option(self, name: str) -> object:
        """A setting that it was given."""
        return self._options[name]

    def _settings(self) -> dict[str, object]:
        made: dict[str, object] = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.folder,
            "daemonize": "no",
            "loglevel": "warning",
            "logfile": self.folder / "log",
        }
        if self._sentinel_conf is None:
            made |= {"save": "", "appendonly": "no", "databases": DATABASES}
        if self.password:
            made["requirepass"] = self.password
        if self.certificates:
            made |= {
                "tls-port": self.tls_port,
                "tls-ca-cert-file": self.certificates.authority,
                "tls-cert-file": self.certificates.certificate,
                "tls-key-file": self.certificates.key,
                "tls-auth-clients": "no",
            }
        return made | {name.replace("_", "-"): value for name, value in self._options.items()}

    def _command_line(self) -> list[str]:
        made = [program(BINARY)]
        if self._sentinel_conf is not None:
            path = self.folder / "sentinel.conf"
            path.write_text(self._sentinel_conf)
            made += [str(path), "--sentinel"]
        for name, value in self._settings().items():
            values = value if isinstance(value, (list, tuple)) else [value]
            made += [f"--{name}", *map(str, values)]
        # Killed when this process ends, however that happens (or the thread that started it).
        setpriv = shutil.which("setpriv")
        if setpriv and sys.platform == "linux" and _is_main_thread():
            made[:0] = [setpriv, "--pdeathsig", "KILL"]
        return made

    def start(self) -> None:
        """Start it on its port, empty; return when it answers."""
        assert self._process is None
        self._process = subprocess.Popen(
            self._command_line(),
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
        user = f":{quote(self.password)}@" if self.password else ""
        words = "&".join(f"{name}={value}" for name, value in query.items())
        return f"redis://{user}127.0.0.1:{self.port}/{database}" + (f"?{words}" if words else "")

    def tls_url(self, database: int = 0) -> str:
        """As `url`, through TLS; the certificate's authority is named in it."""
        assert self.certificates is not None, "only with tls=True"
        user = f":{quote(self.password)}@" if self.password else ""
        return (
            f"rediss://{user}127.0.0.1:{self.tls_port}/{database}"
            f"?ssl_ca_certs={self.certificates.authority}"
        )

    def fresh_url(self, owner: object = None) -> str:
        """A URL of a database that is empty, the same one for the same owner (if it is not None).

        There are 64: what was given out 64 calls ago is emptied. A frozen clock begins again.
        """
        if owner is not None and owner in self._urls:
            return self._urls[owner]
        self._database = (self._database + 1) % DATABASES
        if self._clock is not None:
            self.now = NOW
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
